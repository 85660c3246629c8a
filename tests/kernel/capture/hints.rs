//! The hint filter in the kernel: what passes, what is counted, and how its map follows the hint table.

use std::os::fd::{AsFd, OwnedFd};

use postern::adapters::capture::frame;
use postern::adapters::capture::hint_filter::{
    Dropped, FilterCounters, HintFilter, Hints, UsedPackets,
};
use postern::adapters::capture::packet::{self, PacketCapture};
use postern::core::gate::{HintKeys, HintTable};
use postern_harness::packets::{RawLink, Tun, framed, udp4, udp6, with};
use postern_harness::{Namespace, wait_until};
use postern_proto::{GateName, KeyMaterial, SharedKey, Step, UserKeys};

use super::{END, PORT, PORTS, delivered, gate_and_peer, mutated, named};

/// A socket under the hint filter, and the engine's half of the filter.
struct Filtered {
    socket: OwnedFd,
    _capture: PacketCapture,
    hints: Hints,
    counters: FilterCounters,
    used: UsedPackets,
}

fn filtered(gate: &Namespace, interface: Option<&'static str>, room: u32) -> Filtered {
    filtered_for(gate, interface, room, false)
}

fn filtered_for(
    gate: &Namespace,
    interface: Option<&'static str>,
    room: u32,
    fwknop: bool,
) -> Filtered {
    gate.run(move || {
        let socket = packet::open(&PORTS).unwrap();
        let filter = HintFilter::load(&PORTS, room, fwknop).unwrap();
        filter.attach(socket.as_fd()).unwrap();
        let maps = filter.maps().map(|map| map.try_clone_to_owned().unwrap());
        let [hints, counters, used] = Vec::from_iter(maps).try_into().unwrap();
        let inside = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let interface = interface.map(|name| named(&inside, name));
        let duplicate = socket.try_clone().unwrap();
        Filtered {
            socket,
            _capture: PacketCapture::new(duplicate, interface, PORTS.to_vec()).unwrap(),
            hints: Hints::adopt(hints).unwrap(),
            counters: FilterCounters::adopt(counters).unwrap(),
            used: UsedPackets::adopt(used).unwrap(),
        }
    })
}

fn keys(count: u32) -> HintKeys {
    let gate = GateName::new("gate.example.org").unwrap();
    let key = |number: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        UserKeys::derive(&gate, &KeyMaterial::shared(&SharedKey::from_bytes(bytes)))
            .hint_key()
            .clone()
    };
    (0..count).map(key).collect()
}

fn hint(keys: &HintKeys, user: usize, step: u64) -> [u8; 8] {
    keys.iter().nth(user).unwrap().hint(Step(step)).0
}

/// A payload of this length with this hint.
fn payload(hint: [u8; 8], length: usize) -> Vec<u8> {
    let mut payload = [&hint[..], &[7; 1600]].concat();
    payload.truncate(length);
    payload
}

/// The end, with a hint that passes.
fn end(hint: [u8; 8]) -> Vec<u8> {
    [payload(hint, 132), END.to_vec()].concat()
}

pub(crate) fn only_known_hints_of_knock_length_pass() {
    let (gate, peer) = gate_and_peer();
    let mut filtered = filtered(&gate, Some("gate0"), 64);
    let mut link = RawLink::open(&peer, "peer0");
    let keys = keys(3);
    let (known, unknown) = (hint(&keys, 1, 10), hint(&keys, 1, 12));
    // the map is still empty
    link.send_ip(&udp4(PORT, &payload(known, 132)));
    filtered
        .hints
        .update(&HintTable::build(&keys, 10..=11))
        .unwrap();
    let four = udp4(PORT, &payload(known, 200));
    let options = [&four[..20], &[1; 40], &four[20..]].concat();
    let mut passed = vec![
        with(options, &[(0, 0x4f), (2, 0x01), (3, 0x0c)]),
        with(four.clone(), &[(6, 0x40)]),
    ];
    for port in PORTS {
        for (user, step, length) in [(0, 10, 132), (1, 11, 516), (2, 10, 132), (2, 11, 516)] {
            let payload = payload(hint(&keys, user, step), length);
            passed.extend([udp4(port, &payload), udp6(port, &payload)]);
        }
    }
    let uncounted = [
        udp4(PORT + 1, &payload(known, 132)),
        udp6(PORT + 1, &payload(known, 132)),
        with(four.clone(), &[(9, 6)]),
        with(four.clone(), &[(6, 0x20)]),
        with(four.clone(), &[(7, 0x01)]),
        with(four.clone(), &[(0, 0x44)]),
        with(udp6(PORT, &payload(known, 132)), &[(6, 44)]),
        four[..25].to_vec(),
    ];
    for packet in passed.iter().chain(&uncounted) {
        link.send_ip(packet);
    }
    link.send(&framed(&[0x0800], &udp6(PORT, &payload(known, 132))));
    link.send(&framed(&[0x88b5], &four));
    for length in [1, 7, 8, 16, 131, 517, 600, 1400] {
        link.send_ip(&udp4(PORT, &payload(known, length)));
        link.send_ip(&udp6(PORT, &payload(known, length)));
    }
    for length in [132, 300, 516] {
        link.send_ip(&udp4(PORT, &payload(unknown, length)));
        link.send_ip(&udp6(PORT, &payload([0; 8], length)));
    }
    link.send_ip(&udp4(PORT, &end(known)));
    assert_eq!(delivered(&filtered.socket), passed);
    let expected = Dropped {
        length: 16,
        unknown_hint: 7,
        ..Dropped::default()
    };
    assert_eq!(filtered.counters.count().unwrap(), expected);
}

pub(crate) fn look_alikes_of_fwknop_pass_without_a_hint() {
    let (gate, peer) = gate_and_peer();
    for fwknop in [true, false] {
        let mut filtered = filtered_for(&gate, Some("gate0"), 64, fwknop);
        let mut link = RawLink::open(&peer, "peer0");
        let keys = keys(1);
        let table = HintTable::build(&keys, 10..=10);
        filtered.hints.update(&table).unwrap();
        let mut passed = Vec::new();
        for (length, is_right) in [
            (139, false),
            (140, true),
            (300, true),
            (1500, true),
            (1501, false),
        ] {
            for first in *b"8 9+/A" {
                let packet = udp4(PORT, &payload([first; 8], length));
                link.send_ip(&packet);
                let passes = fwknop && is_right && b"89+/".contains(&first);
                passed.extend(passes.then_some(packet));
            }
        }
        link.send_ip(&udp4(PORT, &end(hint(&keys, 0, 10))));
        assert_eq!(delivered(&filtered.socket), passed, "{fwknop}");
    }
}

pub(crate) fn only_copies_of_used_packets_are_dropped() {
    let (gate, peer) = gate_and_peer();
    let mut filtered = filtered_for(&gate, Some("gate0"), 64, true);
    let mut link = RawLink::open(&peer, "peer0");
    let keys = keys(1);
    let table = HintTable::build(&keys, 10..=10);
    filtered.hints.update(&table).unwrap();
    // What both kinds of packets have in common is where the kernel looks.
    let packet = |first: [u8; 8], identity: u8| {
        let mut packet = payload(first, 200);
        packet[20..36].fill(identity);
        packet
    };
    let known = hint(&keys, 0, 10);
    for first in [known, [b'8'; 8]] {
        let [new, recent, old] = [1, 2, 3].map(|n| packet(first, n + first[0]));
        filtered.used.used_now(&recent);
        filtered.used.used_before(&old);
        filtered.used.tell_kernel();
        for one in [&new, &recent, &old] {
            link.send_ip(&udp4(PORT, one));
            link.send_ip(&udp6(PORT, one));
        }
        let mut changed = old.clone();
        changed[35] ^= 1;
        link.send_ip(&udp4(PORT, &changed));
        link.send_ip(&udp4(PORT, &end(known)));
        let passed = [udp4(PORT, &new), udp6(PORT, &new), udp4(PORT, &changed)];
        assert_eq!(delivered(&filtered.socket), passed);
    }
    let mut dropped = filtered.counters.count().unwrap();
    // A slow machine may send the recent ones late.
    assert_eq!(dropped.duplicate + dropped.replay, 8, "{dropped:?}");
    assert!(dropped.replay >= 4, "{dropped:?}");
    (dropped.duplicate, dropped.replay) = (0, 0);
    assert_eq!(dropped, Dropped::default());
}

pub(crate) fn mutated_packets_pass_if_the_gate_would_look_them_up() {
    let (gate, peer) = gate_and_peer();
    let mut filtered = filtered(&gate, Some("gate0"), 64);
    let mut link = RawLink::open(&peer, "peer0");
    let keys = keys(1);
    let known = hint(&keys, 0, 10);
    filtered
        .hints
        .update(&HintTable::build(&keys, 10..=10))
        .unwrap();
    let sent = mutated(
        |random| payload(known, 100 + random.below(450) as usize),
        60,
    );
    sent.iter().for_each(|packet| link.send_ip(packet));
    link.send_ip(&udp4(PORT, &end(known)));
    let delivered = delivered(&filtered.socket);
    let mut rest = delivered.iter().peekable();
    for packet in &sent {
        let is_looked_up = frame::parse(packet, &PORTS).is_some_and(|datagram| {
            let payload = datagram.payload();
            (132..=516).contains(&payload.len()) && payload.starts_with(&known)
        });
        if rest.next_if(|next| packet.starts_with(next)).is_none() {
            assert!(!is_looked_up, "{packet:x?}");
        }
    }
    assert_eq!(rest.next(), None, "each is delivered once, in order");
    assert!(
        (1001..3800).contains(&delivered.len()),
        "{}",
        delivered.len()
    );
}

pub(crate) fn map_follows_the_hint_table() {
    let (gate, peer) = gate_and_peer();
    let mut filtered = filtered(&gate, Some("gate0"), 10);
    let mut link = RawLink::open(&peer, "peer0");
    let keys = keys(2);
    let mut expected = Vec::new();
    for first in 10..30 {
        let table = HintTable::build(&keys, first..=first + 2);
        filtered.hints.update(&table).unwrap();
        for step in first - 1..=first + 3 {
            let packet = udp4(PORT, &payload(hint(&keys, 1, step), 132));
            link.send_ip(&packet);
            if (first..=first + 2).contains(&step) {
                expected.push(packet);
            }
        }
        // the next table must come after the kernel has judged these
        let dropped = 2 * (first - 9);
        wait_until("dropped packets", || {
            filtered.counters.count().unwrap().unknown_hint >= dropped
        });
    }
    let table = HintTable::build(&keys, 40..=40);
    filtered.hints.update(&table).unwrap();
    link.send_ip(&udp4(PORT, &end(hint(&keys, 0, 40))));
    assert_eq!(delivered(&filtered.socket), expected);
    // In full buckets everything passes, and nobody who knocks is shut out.
    let too_long = HintTable::build(&self::keys(200), 50..=50);
    filtered.hints.update(&too_long).unwrap();
    let unknown = udp4(PORT, &payload(hint(&keys, 0, 51), 132));
    link.send_ip(&unknown);
    link.send_ip(&udp4(PORT, &end(hint(&self::keys(200), 199, 50))));
    assert_eq!(delivered(&filtered.socket), [unknown]);
    // One system call for up to 4,096 buckets.
    let calls = |room: u32| {
        let mut filtered = self::filtered(&gate, None, room);
        filtered.hints.update(&table).unwrap()
    };
    assert_eq!([64, 60_000].map(calls), [1, 2]);
}

pub(crate) fn tunnel_and_vlan_packets_pass_the_hint_filter() {
    let (gate, peer) = gate_and_peer();
    let mut tun = Tun::new(&gate);
    let mut filtered = filtered(&gate, None, 8);
    let known = hint(&keys(1), 0, 10);
    let table = HintTable::build(&keys(1), 10..=10);
    filtered.hints.update(&table).unwrap();
    let four = udp4(PORT, &payload(known, 132));
    let six = udp6(PORT, &payload(known, 132));
    tun.receives(&four);
    tun.receives(&udp4(PORT, &payload([3; 8], 132)));
    tun.receives(&udp6(PORT, &end(known)));
    assert_eq!(delivered(&filtered.socket), [four]);
    let mut link = RawLink::open(&peer, "peer0");
    link.send(&framed(&[0x8100, 7, 0x86dd], &six));
    link.send_ip(&udp4(PORT, &end(known)));
    assert_eq!(delivered(&filtered.socket), [six]);
}
