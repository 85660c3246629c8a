//! The time from a packet to the open port, with a connection attempt each 200 µs: for a packet of fwknop, for a knock of
//! ours, and for a knock of ours among ten thousand packets a second that look like fwknop's.
//!
//! It runs a whole posternd in network namespaces, needs root, and prints medians. `cargo bench --bench opening`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::num::NonZeroU16;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_fwknop::{Allow, Key, MacKind, Message, Port, Protocol, Request};
use postern_harness::{
    Family, GateConfig, KnockMaker, LookAlikes, Random, SERVICE, Sources, World, now, seed,
};

const ROUNDS: usize = 200;
/// Users of fwknop, as many as there may be.
const USERS: u32 = 1024;
const LOOK_ALIKES: u32 = 10_000;

fn main() {
    for backend in ["nftables", "iptables"] {
        let (few, many) = (
            World::start(&plan(backend, 1)),
            World::start(&plan(backend, USERS)),
        );
        let mut random = Random(1);
        let fwknop = measure(&few, ROUNDS, || packet("user0", &mut random));
        say(backend, "a packet of fwknop", &fwknop);
        let last = format!("user{}", USERS - 1);
        let fwknop = measure(&many, ROUNDS, || packet(&last, &mut random));
        say(
            backend,
            "a packet of fwknop, the last of 1,024 users",
            &fwknop,
        );

        let maker = KnockMaker::new("bob");
        let allow = many.first.address(Family::V4);
        let ours = || maker.open(allow, SERVICE, 30);
        let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
        // in turns, so that what else the machine does counts for both
        for _ in 0..10 {
            quiet.extend(measure(&many, ROUNDS / 10, &ours));
            let junk = packet("nobody", &mut random);
            let flood = LookAlikes::start(&many.second, &junk, Sources::Million, true, LOOK_ALIKES);
            flooded.extend(measure(&many, ROUNDS / 10, &ours));
            let (_, pace) = flood.end();
            assert!(pace > 9_500.0, "{pace} look-alikes a second");
        }
        say(backend, "a knock of ours", &quiet);
        say(backend, "a knock of ours among look-alikes", &flooded);
    }
}

fn plan(backend: &str, users: u32) -> GateConfig {
    let quota = "quota = \"1000/s\"";
    let plan = GateConfig::empty(backend).quiet().member("bob", quota);
    (0..users).map(|n| format!("user{n}")).fold(plan, |plan, name| {
        let [key, hmac] = keys(&name).map(|key| STANDARD.encode(key));
        let lines = format!("fwknop = {{ key = \"{key}\", hmac_key = \"{hmac}\" }}\nservices = [\"tcp/{SERVICE}\"]\n{quota}");
        plan.user_with(&name, &lines)
    })
}

/// Both keys of a user.
fn keys(user: &str) -> [[u8; 32]; 2] {
    ["key", "mac"].map(|which| seed(&format!("{which} of {user}")))
}

fn packet(user: &str, random: &mut Random) -> Vec<u8> {
    let [key, hmac] = keys(user);
    let key = Key::new(&key, MacKind::Sha256, &hmac).unwrap();
    let port = Port {
        protocol: Protocol::Tcp,
        number: NonZeroU16::new(SERVICE).unwrap(),
    };
    let request = Request {
        user: user.to_owned(),
        timestamp_s: now().as_millis() / 1000,
        allow: Allow::Source,
        message: Message::Access(vec![port]),
        timeout_s: None,
    };
    let random = std::array::from_fn(|_| random.below(256) as u8);
    key.seal(&request, &random).unwrap().into_bytes()
}

fn measure(world: &World, rounds: usize, mut packet: impl FnMut() -> Vec<u8>) -> Vec<Duration> {
    let once = |_| {
        let took = world.first.time_to_open(&packet());
        world.at_gate(&["close", "--all"]);
        world.wait_until_closed();
        took
    };
    (0..rounds).map(once).collect()
}

fn say(backend: &str, what: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{backend}: {what}: {:.2} ms, of 95 in 100 at most {:.2} ms, at most {:.2} ms",
        at(50),
        at(95),
        at(100)
    );
}
