//! Ten thousand packets a second that look like fwknop's, or `POSTERN_PACE`, with as many users of fwknop as there may be: a knock that
//! is resent each second opens within ten seconds, and a knock of ours at once.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_fwknop::{Allow, Key, MacKind, Message, Port, Protocol, Request};
use postern_harness::process::{memory, processor_time};
use postern_harness::{
    Family, GateConfig, KnockMaker, LookAlikes, Random, SERVICE, Sources, World, now, number, say,
    seed,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From a million sources.
    Spoofed,
    /// The same, as long as a packet can be: each costs the most.
    Long,
    /// From one source.
    One,
    /// From a million sources, at a gate with few users, none of whom has knocked before.
    Few,
    /// A packet that opened, again and again, from the source of its user.
    Replay,
}

/// Look-alikes a second.
const PACE: u32 = 10_000;
/// Users of fwknop beside alice.
const OTHERS: u32 = 1023;
const FEW_OTHERS: u32 = 1;
const WITHIN: Duration = Duration::from_secs(10);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
/// What a gate may write to its log of junk, in bytes a second.
const LOG_GROWTH: f64 = 1024.0;
/// What the engine may need more in a flood, in kB: the table of sources, and packets that wait.
const MEMORY_GROWTH: u64 = 12 * 1024;

/// Both keys of a user.
fn keys(user: &str) -> [[u8; 32]; 2] {
    ["key", "mac"].map(|which| seed(&format!("fwknop {which} of {user}")))
}

fn plan(backend: &str, kind: Kind) -> GateConfig {
    let others = if kind == Kind::Few {
        FEW_OTHERS
    } else {
        OTHERS
    };
    let names = (0..others).map(|n| format!("other{n}"));
    let plan = GateConfig::empty(backend)
        .quiet()
        .member("bob", "quota = \"1000/s\"");
    // the last one: all other keys are tried before
    names.chain(["alice".to_owned()]).fold(plan, |plan, name| {
        let [key, hmac] = keys(&name).map(|key| STANDARD.encode(key));
        let lines = format!(
            "fwknop = {{ key = \"{key}\", hmac_key = \"{hmac}\" }}\nservices = [\"tcp/{SERVICE}\"]\nquota = \"1000/s\""
        );
        plan.user_with(&name, &lines)
    })
}

fn packet(user: &str, random: &mut Random) -> Vec<u8> {
    let [key, hmac] = keys(user);
    let key = Key::new(&key, MacKind::Sha256, &hmac).unwrap();
    let request = Request {
        user: user.to_owned(),
        timestamp_s: now().as_millis() / 1000,
        allow: Allow::Source,
        message: Message::Access(vec![Port {
            protocol: Protocol::Tcp,
            number: NonZeroU16::new(SERVICE).unwrap(),
        }]),
        timeout_s: None,
    };
    let random = std::array::from_fn(|_| random.below(256) as u8);
    key.seal(&request, &random).unwrap().into_bytes()
}

pub(crate) fn knocks_open(backend: &'static str, kind: Kind) {
    let world = World::start(&plan(backend, kind));
    let mut random = Random(1);
    let ours = KnockMaker::new("bob");
    let close = || {
        world.at_gate(&["close", "--all"]);
        world.wait_until_closed();
    };
    let captured = packet("alice", &mut random);
    if kind != Kind::Few {
        world.first.time_to_open(&captured);
        close();
    }
    let junk = packet("eve", &mut random);
    let (payload, sources) = match kind {
        Kind::Spoofed | Kind::Few => (junk, Sources::Million),
        // of a length that has a mac of 43 characters and a whole number of blocks
        Kind::Long => ([&b"8"[..], &[b'A'; 1462]].concat(), Sources::Million),
        Kind::One => (junk, Sources::One(STRANGER)),
        Kind::Replay => (captured, Sources::One(CLIENT)),
    };
    let vary = kind != Kind::Replay;
    let engine = world.daemon.engine();
    let (held, logged, began) = (memory(engine), world.daemon.log().len(), Instant::now());
    let used = processor_time(engine);
    let asked = number("POSTERN_PACE", PACE);
    let flood = LookAlikes::start(&world.second, &payload, sources, vary, asked);

    let rounds = number("POSTERN_FLOODS", 3);
    let (mut opened, mut slowest) = (0, Duration::ZERO);
    for _ in 0..rounds {
        let (start, mut sent) = (Instant::now(), 0);
        while start.elapsed() < WITHIN {
            if start.elapsed().as_secs() >= sent {
                let packet = packet("alice", &mut random);
                world.first.send(Family::V4, &packet);
                sent += 1;
            }
            if !world.daemon.grants().is_empty() {
                opened += 1;
                slowest = slowest.max(start.elapsed());
                close();
                break;
            }
        }
        let took = world
            .first
            .time_to_open(&ours.open(CLIENT.into(), SERVICE, 30));
        assert!(took < Duration::from_secs(2), "a knock of ours: {took:?}");
        close();
    }
    let (sent, pace) = flood.end();
    let took = began.elapsed().as_secs_f64();
    let grown = memory(engine).saturating_sub(held);
    let used = (processor_time(engine) - used).as_secs_f64() / took;
    let status = world.daemon.status();
    let log = world.daemon.log();
    let wanted = |line: &&str| !line.contains(": grant ");
    let unwanted: Vec<&str> = log[logged..].lines().filter(wanted).collect();
    let growth = unwanted.iter().map(|line| line.len() + 1).sum::<usize>() as f64 / took;
    let count = |reason| status.count(&format!("drop {reason}"));
    let tried = count("fwknop (mac)") + count("replay") + count("duplicate");
    let busy = count("fwknop-busy");
    say(&format!(
        "{backend}, {kind:?}: {pace:.0} packets/s; {opened} of {rounds} opened, the slowest after {slowest:?}; \
         {tried} tried, {busy} not tried; {grown} kB more; log {growth:.0} B/s; {:.0} % of a processor",
        used * 100.0
    ));
    assert!(opened * 20 >= rounds * 19, "{opened} of {rounds}");
    assert!(growth < LOG_GROWTH, "{unwanted:?}");
    assert!(grown < MEMORY_GROWTH, "the engine grew by {grown} kB");
    assert!(
        tried > 0 && tried + busy > sent / 2,
        "of {sent}: {status:?}"
    );
    if !cfg!(debug_assertions) && asked == PACE {
        assert!(pace > 0.95 * f64::from(PACE), "{pace}");
        // a fifth for the keys, and what it takes to receive so many
        assert!(used < 0.5, "{used}");
    }
}
