//! Scenarios of sequences.

mod limits;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use postern_proto::Protocol;

use super::*;
use crate::model::time::Timestamp;

const SYN: u8 = 2;
const ACK: u8 = 16;
const ID: SequenceId = SequenceId(7);

fn tcp(port: u16) -> Expected {
    Expected::port(Protocol::Tcp, port)
}

fn udp(port: u16) -> Expected {
    Expected::port(Protocol::Udp, port)
}

fn sequence(hits: &[Expected]) -> Sequence {
    let syn = Flags {
        set: SYN,
        clear: ACK,
    };
    Sequence::new(hits.to_vec(), Duration::from_secs(15), syn).unwrap()
}

fn machine(sequences: &[&[Expected]]) -> Machine {
    let mut machine = Machine::new(sequences.concat());
    for (id, hits) in (7..).zip(sequences) {
        machine.insert(SequenceId(id), &sequence(hits)).unwrap();
    }
    machine
}

fn source(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(number))
}

/// A machine, and a client that waits and hits. Each hit has its own source port.
struct Client {
    machine: Machine,
    source: IpAddr,
    now: Timestamp,
    source_port: u16,
}

impl Client {
    fn of(machine: Machine) -> Self {
        Self {
            machine,
            source: source(1),
            now: Timestamp::from_millis(1_000_000),
            source_port: 40_000,
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now.plus(Duration::from_millis(millis));
    }

    fn packet(&mut self, to: Expected) -> Hit {
        self.source_port += 1;
        Hit {
            source: self.source,
            protocol: to.protocol,
            port: to.first,
            source_port: self.source_port,
            tcp: (to.protocol == Protocol::Tcp).then_some(Tcp {
                flags: SYN,
                sequence: Some(u32::from(self.source_port) * 77),
            }),
        }
    }

    fn send(&mut self, hit: Hit) -> Outcome {
        self.machine.hit(self.now, &hit)
    }

    fn hit(&mut self, to: Expected) -> Outcome {
        let packet = self.packet(to);
        self.send(packet)
    }

    fn completes(&mut self, hits: &[Expected]) -> bool {
        let outcomes: Vec<Outcome> = hits.iter().map(|to| self.hit(*to)).collect();
        matches!(outcomes.last(), Some(Outcome::Completed(_)))
    }
}

#[test]
fn hits_in_order_complete_a_sequence() {
    let hits = [tcp(7000), udp(8000), tcp(7000), tcp(9000)];
    let mut client = Client::of(machine(&[&hits]));
    assert_eq!(client.hit(hits[0]), Outcome::Started);
    assert_eq!(client.hit(hits[1]), Outcome::Advanced);
    assert_eq!(client.hit(hits[2]), Outcome::Advanced);
    let Outcome::Completed(done) = client.hit(hits[3]) else {
        panic!("not complete");
    };
    assert_eq!((done.id, done.source), (ID, client.source));
    assert_eq!(done.offsets(), [0; 4]);
    assert!(client.completes(&hits), "a second time");
    client.source = IpAddr::V6(Ipv6Addr::LOCALHOST);
    assert!(client.completes(&hits), "from IPv6");
}

#[test]
fn one_syn_can_be_a_sequence() {
    let mut client = Client::of(machine(&[&[tcp(7000)]]));
    let syn = client.packet(tcp(7000));
    assert!(matches!(client.send(syn), Outcome::Completed(_)));
    assert_eq!(client.send(syn), Outcome::Ignored, "a copy counts once");
    client.wait(3_001);
    assert!(matches!(client.send(syn), Outcome::Completed(_)));
}

#[test]
fn a_wrong_hit_breaks_an_attempt() {
    let hits = [tcp(1), tcp(2), tcp(3)];
    let mut client = Client::of(machine(&[&hits]));
    assert!(!client.completes(&[tcp(1), tcp(3), tcp(2), tcp(3)]));
    assert_eq!(client.machine.sources(), 0);
    assert!(!client.completes(&[tcp(1), tcp(2), tcp(1), tcp(3)]));
    assert!(!client.completes(&[tcp(2), tcp(3)]), "not the rest of it");
    assert!(client.completes(&hits));
}

#[test]
fn a_first_hit_starts_anew() {
    let mut client = Client::of(machine(&[&[tcp(7000), tcp(8000), tcp(9000)]]));
    assert!(client.completes(&[tcp(7000), tcp(8000), tcp(7000), tcp(8000), tcp(9000)]));
    assert!(client.completes(&[tcp(7000), tcp(9000), tcp(7000), tcp(8000), tcp(9000)]));
}

#[test]
fn doubled_packets_break_nothing() {
    let hits = [tcp(1), udp(2), tcp(2), udp(3)];
    let mut client = Client::of(machine(&[&hits]));
    let packets = hits.map(|to| client.packet(to));
    for (at, packet) in packets.iter().enumerate() {
        let outcome = client.send(*packet);
        assert_eq!(matches!(outcome, Outcome::Completed(_)), at == 3);
        for earlier in &packets[..=at] {
            client.wait(10);
            assert_eq!(client.send(*earlier), Outcome::Ignored);
        }
    }
}

#[test]
fn late_retransmissions_break_nothing() {
    let mut client = Client::of(machine(&[&[tcp(1), tcp(2), tcp(3)]]));
    let first = client.packet(tcp(1));
    let _ = client.send(first);
    client.wait(5_000);
    assert_eq!(client.hit(tcp(2)), Outcome::Advanced);
    client.wait(2_000);
    assert_eq!(client.send(first), Outcome::Ignored);
    assert!(client.completes(&[tcp(3)]));
}

#[test]
fn a_repeat_from_another_port_breaks_nothing() {
    let mut client = Client::of(machine(&[&[tcp(1), tcp(2), tcp(3)]]));
    let doubled = [tcp(1), tcp(1), tcp(2), tcp(2), tcp(2), tcp(3)];
    assert!(client.completes(&doubled));
}

#[test]
fn retransmissions_of_repeats_break_nothing() {
    let mut client = Client::of(machine(&[&[tcp(1), tcp(2), tcp(3)]]));
    let doubled = [tcp(1), tcp(1), tcp(2), tcp(2)].map(|to| client.packet(to));
    for (at, packet) in doubled.iter().enumerate() {
        let _ = client.send(*packet);
        client.wait(3_001);
        let earlier = if at < 2 { 0..0 } else { 0..at };
        for earlier in &doubled[earlier] {
            assert_eq!(client.send(*earlier), Outcome::Ignored, "{at}");
        }
    }
    assert!(client.completes(&[tcp(3)]));
}

#[test]
fn a_source_port_may_come_again() {
    let mut client = Client::of(machine(&[&[udp(1), udp(2), udp(3)], &[udp(4)]]));
    let packets = [udp(1), udp(2), udp(3)].map(|to| client.packet(to));
    for round in 0..3 {
        let outcomes = packets.map(|packet| {
            client.wait(100);
            client.send(packet)
        });
        assert_eq!(outcomes[1], Outcome::Advanced, "{round}");
        assert!(matches!(outcomes[2], Outcome::Completed(_)), "{round}");
        assert_eq!(client.send(packets[2]), Outcome::Ignored, "{round}");
    }
    let single = client.packet(udp(4));
    assert!(matches!(client.send(single), Outcome::Completed(_)));
    assert_eq!(client.send(single), Outcome::Ignored);
}

#[test]
fn a_port_can_be_hit_twice() {
    let hits = [tcp(1), tcp(1), udp(1), udp(1)];
    let mut client = Client::of(machine(&[&hits]));
    assert!(client.completes(&hits));
    let packet = client.packet(tcp(1));
    assert_eq!(client.send(packet), Outcome::Started);
    assert_eq!(
        client.send(packet),
        Outcome::Ignored,
        "a copy is no second hit"
    );
    client.wait(3_001);
    assert_eq!(
        client.send(packet),
        Outcome::Advanced,
        "and later it is one"
    );
}

#[test]
fn time_counts_from_the_first_hit() {
    let hits = [tcp(1), tcp(2), tcp(3)];
    let mut client = Client::of(machine(&[&hits]));
    let mut spread = |millis| {
        let _ = client.hit(tcp(1));
        client.wait(millis);
        let _ = client.hit(tcp(2));
        client.wait(1_000);
        matches!(client.hit(tcp(3)), Outcome::Completed(_))
    };
    assert!(spread(14_000));
    assert!(!spread(14_001));
    assert!(!spread(20_000));
    // An attempt that was given up does not spoil the next one.
    let _ = client.hit(tcp(1));
    client.wait(14_000);
    let _ = client.hit(tcp(1));
    client.wait(2_000);
    assert!(client.completes(&[tcp(2), tcp(3)]));
}

#[test]
fn packets_with_other_flags_neither_count_nor_break() {
    let mut client = Client::of(machine(&[&[tcp(1), udp(2), tcp(3)]]));
    let mut with = |to, flags| {
        let mut packet = client.packet(to);
        packet.tcp = packet.tcp.map(|tcp| Tcp { flags, ..tcp });
        client.send(packet)
    };
    assert_eq!(with(tcp(1), ACK), Outcome::Ignored);
    assert_eq!(with(tcp(1), SYN | ACK), Outcome::Ignored);
    assert_eq!(with(tcp(1), SYN | 64), Outcome::Started);
    assert_eq!(with(tcp(3), ACK), Outcome::Ignored);
    assert_eq!(with(udp(2), 0), Outcome::Advanced);
    assert_eq!(with(tcp(3), 4), Outcome::Ignored);
    assert!(matches!(with(tcp(3), SYN), Outcome::Completed(_)));
    let unknown = Hit {
        tcp: None,
        ..client.packet(tcp(1))
    };
    assert_eq!(client.send(unknown), Outcome::Ignored);
}

#[test]
fn unwatched_ports_neither_count_nor_break() {
    let hits = [tcp(1), tcp(2)];
    let mut client = Client::of(machine(&[&hits]));
    assert_eq!(client.hit(udp(1)), Outcome::Unwatched);
    let _ = client.hit(tcp(1));
    assert_eq!(client.hit(tcp(22)), Outcome::Unwatched);
    assert!(client.completes(&[tcp(2)]));
}

#[test]
fn a_scan_of_a_watched_range_completes_nothing() {
    let range = Expected {
        protocol: Protocol::Tcp,
        first: 20_000,
        last: 20_999,
    };
    let mut client = Client::of(Machine::new([range]));
    let hits = [tcp(20_300), tcp(20_900), tcp(20_500)];
    client.machine.insert(ID, &sequence(&hits)).unwrap();
    for _ in 0..4 {
        for port in 20_000..=20_999 {
            assert!(!matches!(client.hit(tcp(port)), Outcome::Completed(_)));
        }
    }
    assert!(client.completes(&hits));
}

#[test]
fn sequences_that_begin_alike_are_told_apart() {
    let (a, b, c) = (
        [tcp(1), tcp(2), tcp(3)],
        [tcp(1), tcp(2), tcp(4)],
        [tcp(1), udp(2)],
    );
    let mut client = Client::of(machine(&[&a, &b, &c]));
    for (hits, id) in [(&a[..], 7), (&b, 8), (&c, 9)] {
        assert!(!client.completes(&hits[..hits.len() - 1]));
        let Outcome::Completed(done) = client.hit(hits[hits.len() - 1]) else {
            panic!("{hits:?}");
        };
        assert_eq!(done.id, SequenceId(id));
    }
}

#[test]
fn a_hit_can_have_several_ports() {
    let any = Expected {
        protocol: Protocol::Tcp,
        first: 61_000,
        last: 61_255,
    };
    let mut client = Client::of(machine(&[&[tcp(61_083), any, any]]));
    let _ = client.hit(tcp(61_083));
    let _ = client.hit(tcp(61_255));
    let Outcome::Completed(done) = client.hit(tcp(61_000)) else {
        panic!("not complete");
    };
    assert_eq!(done.offsets(), [0, 255, 0]);

    let _ = client.hit(tcp(61_083));
    let second = client.packet(tcp(61_007));
    assert_eq!(client.send(second), Outcome::Advanced);
    client.wait(3_001);
    assert_eq!(
        client.send(second),
        Outcome::Ignored,
        "a late copy is no hit"
    );
    assert!(client.completes(&[tcp(61_007)]), "and a new packet is one");
}

#[test]
fn steps_come_and_go_during_an_attempt() {
    let hits: Vec<Expected> = (1..=9).map(tcp).collect();
    let mut client = Client::of(Machine::new(hits));
    let [now, next] =
        [[tcp(1), tcp(2), tcp(3)], [tcp(4), tcp(5), tcp(6)]].map(|hits| sequence(&hits));
    client.machine.insert(SequenceId(1), &now).unwrap();
    let _ = client.hit(tcp(1));
    client.machine.insert(SequenceId(2), &next).unwrap();
    assert_eq!(client.hit(tcp(2)), Outcome::Advanced, "the attempt goes on");
    client.machine.remove(SequenceId(1));
    assert_eq!(client.hit(tcp(3)), Outcome::Wrong, "its step is over");
    assert!(client.completes(&[tcp(4), tcp(5), tcp(6)]));
    for step in 0..1_000 {
        client.machine.insert(SequenceId(step + 3), &now).unwrap();
        client.machine.remove(SequenceId(step + 3));
    }
    assert_eq!(
        client.machine.slots_and_nodes().1,
        4,
        "removed nodes are gone"
    );
}
