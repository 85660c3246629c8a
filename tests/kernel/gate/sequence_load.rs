//! Many knocks with sequences, copies of their packets, and a flood of spoofed sources.

use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etherparse::PacketBuilder;
use postern_harness::packets::RawLink;
use postern_harness::process::memory;
use postern_harness::world::{CLIENT_INTERFACE, Client};
use postern_harness::{
    FAMILIES, Family, GateConfig, Random, SERVICE, World, number, say, seed, wait_at_most,
};

use super::sequences::{keyed_hits, knock, knock_with, member};

/// Kinds of sequences, each with a user of its own.
const KINDS: [(&str, [&str; 3]); 3] = [
    ("TCP", ["7000:tcp", "7001:tcp", "7002:tcp"]),
    ("UDP", ["8000:udp", "8001:udp", "8002:udp"]),
    ("mixed", ["9000:udp", "9001:tcp", "9002:udp"]),
];

/// Each knock of knockd's client is admitted. `POSTERN_KNOCKS` says how many of each kind.
pub(crate) fn each_knock_of_knockd_opens(backend: &'static str) {
    let mut config = GateConfig::empty(backend).quiet();
    for (name, hits) in KINDS {
        let hits = hits.map(|hit| {
            let (port, protocol) = hit.split_once(':').unwrap();
            format!("\"{protocol}/{port}\"")
        });
        let hits = hits.join(", ");
        let lines =
            format!("services = [\"tcp/{SERVICE}\"]\nquota = \"1000/s\"\nsequence = [{hits}]");
        config = config.user_with(name, &lines);
    }
    let world = World::start(&config);
    let each = number("POSTERN_KNOCKS", 10);
    let all = |client: &Client, delay: &str| {
        for (name, hits) in KINDS {
            for family in FAMILIES {
                let began = Instant::now();
                for _ in 0..each {
                    knock_with(client, family, &[&["-d", delay], &hits[..]].concat());
                }
                let took = began.elapsed();
                say(&format!(
                    "{each} of {name}, {family:?}, -d {delay}: {took:?}"
                ));
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| all(&world.second, "100"));
        all(&world.first, "0");
    });
    let status = world.daemon.wait_for_admitted(u64::from(each) * 12);
    assert_eq!(status.reasons, [].into(), "nothing else was decided");
    say(&format!("{} admitted", status.admitted));
    // Of 1,000 with a delay, the first grants are over.
    for (family, (_, hits)) in FAMILIES.into_iter().zip(KINDS) {
        knock_with(&world.first, family, &hits);
    }
    world.first.expect_both_let_in();
}

/// A SYN from a client to the gate.
fn syn(client: &Client, source: &[u8], from: u16, port: u16, sequence: u32) -> Vec<u8> {
    let (mut frame, gate) = (Vec::new(), [client.mac(2), client.mac(1)]);
    let builder = PacketBuilder::ethernet2(gate[0], gate[1]);
    let address = |family: Family| match family.address(1) {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let builder = match <[u8; 4]>::try_from(source) {
        Ok(v4) => builder.ipv4(v4, address(Family::V4).try_into().unwrap(), 64),
        Err(_) => {
            let gate = address(Family::V6).try_into().unwrap();
            builder.ipv6(source.try_into().unwrap(), gate, 64)
        }
    };
    let segment = builder.tcp(from, port, sequence, 1024).syn();
    segment.write(&mut frame, &[]).unwrap();
    frame
}

/// Copies, retransmissions of older hits, and a second SYN from another port.
pub(crate) fn doubled_syns_break_nothing(backend: &'static str) {
    // The last port is also an earlier one.
    const PORTS: [u16; 4] = [7000, 8000, 9000, 7000];
    let hits = PORTS.map(|port| format!("\"tcp/{port}\"")).join(", ");
    let world = World::start(&member(backend, &format!("sequence = [{hits}]")));
    let mut link = RawLink::open(&world.first.space, CLIENT_INTERFACE);
    let sources = FAMILIES.map(|family| match world.first.address(family) {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    });
    let mut admitted = 0;
    for round in 0..20_u32 {
        for source in &sources {
            let mut sent: Vec<Vec<u8>> = Vec::new();
            for (at, port) in (0_u16..).zip(PORTS) {
                let from = 20_000 + at * 2;
                let first = syn(&world.first, source, from, port, round * 100);
                let other = syn(&world.first, source, from + 1, port, round * 100 + 1);
                link.send(&first);
                link.send(&first);
                // The second packet of the last hit would begin the next round.
                if at < 3 {
                    link.send(&other);
                    sent.iter().for_each(|older| link.send(older));
                    sent.extend([first, other]);
                }
            }
            admitted += 1;
        }
        let status = world.daemon.wait_for_admitted(admitted);
        assert_eq!(status.reasons, [].into(), "round {round}");
    }
    world.first.expect_both_let_in();
}

/// Spoofed packets a second, for a debug build on a busy machine.
const PACE: u32 = 20_000;
/// After so many sources the table of attempts is full.
const FULL: u32 = 140_000;
const KEYED: u32 = 20;

/// Memory stays flat, and each keyed sequence opens at its first attempt. `POSTERN_SOURCES` says how many sources.
pub(crate) fn keyed_sequences_open_under_spoofed_sources(backend: &'static str) {
    let mut config = member(backend, "sequence = [\"tcp/7000\", \"tcp/8000\"]").quiet();
    let key = |n: u32| STANDARD.encode(seed(&format!("keyed {n}")));
    for n in 0..KEYED {
        let lines = format!(
            "services = [\"tcp/{SERVICE}\"]\nsequence = {{ key = \"{}\", ports = \"20000-60000\", hits = 6 }}",
            key(n)
        );
        config = config.user_with(&format!("keyed{n}"), &lines);
    }
    let sources = number("POSTERN_SOURCES", 100_000);
    let world = World::start(&config);
    let engine = world.daemon.engine();
    let empty = memory(engine);
    let mut link = RawLink::open(&world.second.space, CLIENT_INTERFACE);
    let mut dice = Random(15);
    let mut frames = [
        syn(&world.second, &[192, 0, 2, 1], 40_000, 7000, 1),
        syn(&world.second, &[0x20; 16], 40_000, 7000, 1),
    ];
    // A first hit, and a port in the range of the keyed sequences.
    let mut flood = |count: u32| {
        let began = Instant::now();
        for sent in 0..count {
            let [v4, v6] = &mut frames;
            let (frame, source, port) = if sent % 4 < 3 {
                (v4, 26..30, 36)
            } else {
                (v6, 26..34, 56)
            };
            let number = dice.below(1 << 63).to_be_bytes();
            frame[source.clone()].copy_from_slice(&number[8 - source.len()..]);
            let to = if sent % 2 == 0 {
                7000
            } else {
                u16::try_from(20_000 + dice.below(40_000)).unwrap()
            };
            frame[port..port + 2].copy_from_slice(&to.to_be_bytes());
            link.send(frame);
            if sent % 32 == 0 {
                let due = Duration::from_secs_f64(f64::from(sent) / f64::from(PACE));
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
        }
        began.elapsed()
    };
    flood(FULL);
    let full = memory(engine);
    let opened = thread::scope(|scope| {
        let knocks = scope.spawn(|| {
            let mut opened = 0;
            for n in 0..KEYED {
                let hits = keyed_hits(&key(n));
                let hits: Vec<&str> = hits.iter().map(String::as_str).collect();
                knock(&world, Family::V4, &hits);
                wait_at_most(Duration::from_secs(10), "a keyed sequence to open", || {
                    let grants = world.daemon.grants();
                    let user = format!("keyed{n}");
                    grants.iter().any(|grant| grant.user == user).then_some(())
                });
                opened += 1;
            }
            opened
        });
        let took = flood(sources);
        let status = world.daemon.status();
        say(&format!(
            "{sources} sources in {took:?}, {} wrong hits",
            status.count("drop wrong-hit")
        ));
        knocks.join().unwrap()
    });
    let after = memory(engine);
    say(&format!(
        "{opened} of {KEYED} opened; memory {empty} kB empty, {full} kB full, {after} kB after"
    ));
    assert!(after < full + 4096, "{full} kB grew to {after} kB");
}
