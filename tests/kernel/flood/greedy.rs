//! One user sends thousands of valid knocks. Each knock of another user opens meanwhile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use postern_harness::{
    Family, GateConfig, KNOCK, KnockMaker, SERVICE, World, number, say, socket_for, wait_for,
};

/// As many as `max_grants`: the rest are renewals.
const ADDRESSES: u32 = 64;
const OTHERS: u32 = 20;

pub(crate) fn leaves_others_their_knocks(backend: &'static str) {
    let plan = GateConfig::empty(backend)
        .quiet()
        .member("alice", "quota = \"1000000/s\"")
        .member("bob", "quota = \"1000/s\"");
    let world = World::start(&plan);
    let quiet = median((0..OTHERS).map(|n| opens(&world, n)).collect());
    let (count, pace) = (
        number("POSTERN_KNOCKS", 20_000),
        number("POSTERN_PACE", 5_000),
    );
    let maker = KnockMaker::new("alice");
    let allow = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a90_0000 + n % ADDRESSES));
    let knocks: Vec<Vec<u8>> = (0..count)
        .map(|n| maker.open(allow(n), SERVICE, 60 + n / 100))
        .collect();
    let to = SocketAddr::new(Family::V4.address(1), KNOCK);
    let socket = world.second.space.run(move || socket_for(to));
    let greedy = thread::spawn(move || {
        let start = Instant::now();
        for (n, knock) in (0..).zip(&knocks) {
            socket.send_to(knock, to).unwrap();
            let due = start + n * Duration::from_secs(1) / pace;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    });
    let busy = median((OTHERS..2 * OTHERS).map(|n| opens(&world, n)).collect());
    assert!(!greedy.is_finished(), "the knocks of alice ended too early");
    greedy.join().unwrap();
    say(&format!(
        "{backend}: a knock of bob opened after {quiet:?}, and after {busy:?} beside {pace} knocks of alice a second"
    ));
}

/// How long it takes from the knock to the line in the log.
fn opens(world: &World, n: u32) -> Duration {
    let allow = IpAddr::from(Ipv4Addr::from_bits(0x0aa0_0000 + n));
    let knock = KnockMaker::new("bob").open(allow, SERVICE, 60);
    let to = SocketAddr::new(Family::V4.address(1), KNOCK);
    let socket = world.first.space.run(move || socket_for(to));
    let start = Instant::now();
    socket.send_to(&knock, to).unwrap();
    let line = format!(": bob, {allow}/32");
    wait_for("a knock of bob to open", || {
        let opened = world.daemon.log().contains(&line);
        opened.then(|| start.elapsed())
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
