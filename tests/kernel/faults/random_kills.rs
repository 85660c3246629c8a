//! `kill -9` of the engine, of the monitor or of both at random moments of a stream of knocks. After each, all knocks are sent again:
//! none that opened opens a second time. `POSTERN_KILLS` says how many there are.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use postern_harness::world::checks::{USER, in_kernel, is_gone, kill, opened};
use postern_harness::{
    Family, GateConfig, KNOCK, KnockMaker, Random, SERVICE, World, number, say, socket_for,
    wait_at_most, wait_for, wait_until,
};

/// A knock, for an address of its own.
struct Knock {
    packet: Vec<u8>,
    made: Instant,
    has_opened: bool,
}

/// Within this time a packet may have a fresh timestamp or a known hint.
const FRESH: Duration = Duration::from_secs(100);
/// Packets that the sockets of a new engine hold.
const BURST: usize = 64;

pub(crate) fn no_kill_opens_a_knock_twice(backend: &'static str) {
    let lines = "quota = \"1000000/min\"\nmax_grants = 32768\ngrant_to = \"claimed\"";
    let mut world = World::start(&GateConfig::empty(backend).quiet().member(USER, lines));
    let (maker, mut random) = (KnockMaker::new(USER), Random(u64::from(std::process::id())));
    let to = SocketAddr::new(Family::V4.address(1), KNOCK);
    let socket = world.first.space.run(move || socket_for(to));
    let mut knocks: HashMap<IpAddr, Knock> = HashMap::new();
    let (kills, mut replays, mut late) = (number("POSTERN_KILLS", 6), 0, 0);
    for round in 0..kills {
        for _ in 0..=random.below(60) {
            let number = u32::try_from(knocks.len()).unwrap();
            let allow = IpAddr::from(Ipv4Addr::from_bits(0x0a80_0000 + number));
            let packet = maker.open(allow, SERVICE, 2);
            let _ = socket.send_to(&packet, to);
            let made = Instant::now();
            let has_opened = false;
            let knock = Knock {
                packet,
                made,
                has_opened,
            };
            knocks.insert(allow, knock);
            sleep(Duration::from_micros(random.below(2_000)));
        }
        kill_some(&mut world, round, &mut |world| {
            note(&mut knocks, &in_log(world));
            note(&mut knocks, &in_firewall(world, backend));
        });

        let before = in_log(&world);
        let is_last = round + 1 == kills;
        let again = knocks.values();
        let again = again.filter(|knock| is_last || knock.made.elapsed() < FRESH);
        let again: Vec<&[u8]> = again.map(|knock| &knock.packet[..]).collect();
        send_again(&world, &socket, to, &again);
        replays += again.len();
        let admitted = usize::try_from(world.daemon.status().admitted).unwrap();
        let opened = || -> HashSet<IpAddr> { &in_log(&world) - &before };
        let new = wait_for("what was admitted to open", || {
            Some(opened()).filter(|new| new.len() >= admitted)
        });
        let twice = new.iter().filter(|allow| knocks[allow].has_opened);
        let log = || world.daemon.log();
        assert_eq!(
            (twice.count(), new.len()),
            (0, admitted),
            "kill {round}: {}",
            log()
        );
        // The mark was not durable.
        note(&mut knocks, &new);
        late += new.len();
    }
    let all = knocks.len();
    let opened = knocks.values().filter(|knock| knock.has_opened).count();
    say(&format!(
        "{backend}: {kills} kills; of {all} knocks {opened} opened, {late} of them when they were sent again; {replays} packets sent again"
    ));
    assert!(opened > all / 10, "{opened} of {all}");
}

/// Kills, waits until nobody is left who could report an opening, calls `at_rest`, and waits until an engine serves.
fn kill_some(world: &mut World, round: u32, at_rest: &mut dyn FnMut(&World)) {
    let engine = world.daemon.engine();
    let serves = world.daemon.logged(&["the engine serves"]).len();
    if round.is_multiple_of(3) {
        kill(engine);
        world
            .daemon
            .wait_for_lines(serves + 1, &["the engine serves"]);
        at_rest(world);
        return;
    }
    kill(world.daemon.pid());
    if round % 3 == 1 {
        kill(engine);
    }
    world.daemon.wait();
    wait_until("the engine to go with its monitor", || is_gone(engine));
    at_rest(world);
    world.start_again();
}

/// The addresses of grants in the log of this daemon.
fn in_log(world: &World) -> HashSet<IpAddr> {
    opened(world)
        .into_values()
        .map(|grant| grant.allow)
        .collect()
}

fn in_firewall(world: &World, backend: &'static str) -> HashSet<IpAddr> {
    let grants = in_kernel(world, backend);
    grants.iter().map(|grant| grant.allow.addr()).collect()
}

fn note(knocks: &mut HashMap<IpAddr, Knock>, opened: &HashSet<IpAddr>) {
    for allow in opened {
        knocks.get_mut(allow).unwrap().has_opened = true;
    }
}

/// Sends these, and waits until the gate has decided on each.
fn send_again(world: &World, socket: &UdpSocket, to: SocketAddr, packets: &[&[u8]]) {
    for burst in packets.chunks(BURST) {
        let before = world.daemon.status().judged();
        for packet in burst {
            socket.send_to(packet, to).unwrap();
        }
        let all = before + burst.len() as u64;
        wait_at_most(Duration::from_secs(20), "a verdict on each", || {
            (world.daemon.status().judged() >= all).then_some(())
        });
    }
}
