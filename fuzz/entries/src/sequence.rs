//! Packets of a few sources to a few ports: a sequence is complete only after all its hits, in order and in time.
//!
//! Each packet is four bytes: which source and which port; the source port and the TCP sequence number; flags and what
//! else happens; how long after the packet before.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use postern::core::sequence::{
    Expected, Flags, Hit, Machine, Outcome, Sequence, SequenceId, Tcp, conflict,
};
use postern::model::time::Timestamp;
use postern_proto::Protocol;

const TIMEOUT: Duration = Duration::from_secs(15);
const SYN: Flags = Flags { set: 2, clear: 16 };
const SOURCES: usize = 4;

/// The sequence of a number: of its digits to base 8, each a port. The digit 0 is a hit of four ports.
fn sequence(number: u32) -> Sequence {
    let mut hits = Vec::new();
    let mut rest = number;
    while rest > 0 || hits.is_empty() {
        let port = (rest % 8) as u16;
        hits.push(match port {
            0 => Expected {
                protocol: Protocol::Udp,
                first: 1,
                last: 4,
            },
            _ => Expected::port(Protocol::Tcp, port),
        });
        rest /= 8;
    }
    Sequence::new(hits, TIMEOUT, SYN).expect("a sequence")
}

#[derive(Clone, Copy)]
struct Counted {
    at: Timestamp,
    protocol: Protocol,
    port: u16,
}

pub fn run(data: &[u8]) {
    let watched = [Protocol::Tcp, Protocol::Udp].map(|protocol| Expected {
        protocol,
        first: 1,
        last: 7,
    });
    let mut machine = Machine::new(watched);
    // What is in the machine, by the number that is also its id.
    let mut present: Vec<u32> = Vec::new();
    let mut counted: [Vec<Counted>; SOURCES] = Default::default();
    let mut now = Timestamp::from_millis(1 << 40);

    let (packets, _) = data.as_chunks::<4>();
    for [place, from, what, wait] in packets {
        now = now.plus(Duration::from_millis(u64::from(*wait) * u64::from(*wait)));
        if what & 0xc0 != 0 {
            let number = u32::from(*place) << 11 | u32::from(*from) << 3 | u32::from(what & 7);
            change(&mut machine, &mut present, number, what & 0x40 != 0);
            continue;
        }
        let source = usize::from(place & 3);
        let protocol = if place & 4 == 0 {
            Protocol::Tcp
        } else {
            Protocol::Udp
        };
        let flags = if what & 3 == 3 { 16 } else { 2 };
        let tcp = Tcp {
            flags,
            sequence: (what & 8 != 0).then_some(u32::from(from >> 4)),
        };
        let hit = Hit {
            source: IpAddr::V4(Ipv4Addr::from_bits(source as u32)),
            protocol,
            port: u16::from(place >> 3 & 7),
            source_port: u16::from(from & 15),
            tcp: (protocol == Protocol::Tcp).then_some(tcp),
        };
        let outcome = machine.hit(now, &hit);
        assert!(machine.sources() <= SOURCES);
        match outcome {
            Outcome::Unwatched => assert_eq!(hit.port, 0),
            Outcome::Ignored => {}
            Outcome::Wrong => counted[source].clear(),
            Outcome::Started | Outcome::Advanced | Outcome::Completed(_) => {
                assert!(protocol == Protocol::Udp || flags == 2, "the flags fit");
                counted[source].push(Counted {
                    at: now,
                    protocol,
                    port: hit.port,
                });
            }
        }
        if let Outcome::Completed(done) = outcome {
            let number = u32::try_from(done.id.0).expect("a number");
            assert!(present.contains(&number), "it was not removed");
            let hits = sequence(number);
            let hits = hits.hits();
            let made = &mut counted[source];
            let last = made.split_off(made.len().checked_sub(hits.len()).expect("as many hits"));
            for ((hit, made), offset) in hits.iter().zip(&last).zip(done.offsets()) {
                assert!(hit.contains(Expected::port(made.protocol, made.port)));
                assert_eq!(made.port, hit.first + u16::from(*offset));
            }
            assert!(now.since(last[0].at) <= TIMEOUT, "in time");
        }
    }
}

/// Adds or removes a sequence; it can be added exactly if it conflicts with no other.
fn change(machine: &mut Machine, present: &mut Vec<u32>, number: u32, add: bool) {
    let id = |number| SequenceId(u64::from(number));
    if !add {
        machine.remove(id(number));
        present.retain(|other| *other != number);
        return;
    }
    let all: Vec<(SequenceId, Sequence)> = present
        .iter()
        .copied()
        .chain([number])
        .map(|number| (id(number), sequence(number)))
        .collect();
    let expected = conflict(all.iter().map(|(id, sequence)| (*id, sequence)));
    let inserted = machine.insert(id(number), &sequence(number));
    assert_eq!(
        inserted.is_ok(),
        expected.is_ok(),
        "{inserted:?} {expected:?}"
    );
    if inserted.is_ok() {
        let hits = |number| sequence(number).hits().to_vec();
        for other in present.iter() {
            let (a, b) = (hits(*other), hits(number));
            assert!(!a.starts_with(&b) && !b.starts_with(&a), "one is no prefix");
        }
        present.push(number);
    }
}
