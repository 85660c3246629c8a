//! The hint filter in the kernel: what it drops, what it lets through, what it counts, and how its map follows the hint table.

use std::os::fd::{AsFd, OwnedFd};

use postern::adapters::capture::frame;
use postern::adapters::capture::hint_filter::{Dropped, Drops, HintFilter, Hints};
use postern::adapters::capture::packet::{self, PacketCapture};
use postern::core::gate::{HintKeys, HintTable};
use postern_proto::{GateName, Hint, KeyMaterial, SharedKey, Step, UserKeys};

use crate::filter::delivered;
use crate::{END, PORT, PORTS, gate_and_peer};
use postern_harness::Namespace;
use postern_harness::packets::{RawLink, Tun, framed, udp4, udp6, with};

/// The engine's half of a filter.
struct Half {
    hints: Hints,
    drops: Drops,
}

impl Half {
    fn hold(&mut self, table: &HintTable) -> std::io::Result<()> {
        self.hints.hold(table)
    }

    fn dropped(&self) -> std::io::Result<Dropped> {
        self.drops.count()
    }
}

/// A socket under the hint filter, and the engine's half of it.
fn filtered(
    gate: &Namespace,
    interface: Option<&'static str>,
    room: u32,
) -> (OwnedFd, PacketCapture, Half) {
    gate.run(move || {
        let socket = packet::open(&PORTS).unwrap();
        let filter = HintFilter::load(&PORTS, room).unwrap();
        filter.attach(socket.as_fd()).unwrap();
        let [hints, counters] = filter.maps().map(|map| map.try_clone_to_owned().unwrap());
        let capture = PacketCapture::new(
            socket.try_clone().unwrap(),
            interface.map(str::to_owned),
            PORTS.to_vec(),
        )
        .unwrap();
        (
            socket,
            capture,
            Half {
                hints: Hints::adopt(hints).unwrap(),
                drops: Drops::adopt(counters).unwrap(),
            },
        )
    })
}

fn keys(count: u32) -> HintKeys {
    let gate = GateName::new("gate.example.org").unwrap();
    let key = |n: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        UserKeys::derive(&gate, &KeyMaterial::shared(&SharedKey::from_bytes(bytes)))
            .hint_key()
            .clone()
    };
    (0..count).map(key).collect()
}

fn hint(keys: &HintKeys, user: usize, step: Step) -> Hint {
    keys.iter().nth(user).unwrap().hint(step)
}

/// A payload of this length with this hint.
fn payload(hint: [u8; 8], len: usize) -> Vec<u8> {
    let mut payload = vec![7; len];
    payload
        .iter_mut()
        .zip(hint)
        .for_each(|(byte, hint)| *byte = hint);
    payload
}

fn last(hint: [u8; 8]) -> Vec<u8> {
    [payload(hint, 132), END.to_vec()].concat()
}

pub(crate) fn only_a_known_hint_in_a_knocks_length_leaves_the_kernel_and_the_rest_is_counted() {
    let (gate, peer) = gate_and_peer();
    let (socket, _capture, mut hints) = filtered(&gate, Some("gate0"), 64);
    let mut wire = RawLink::open(&peer, "peer0");
    let keys = keys(3);
    let known = hint(&keys, 1, Step(10)).0;
    wire.send_ip(&udp4(PORT, &payload(known, 132)));
    hints.hold(&HintTable::build(&keys, 10..=11)).unwrap();
    let unknown = hint(&keys, 1, Step(12)).0;
    let four = udp4(PORT, &payload(known, 200));
    let options = with(
        [&four[..20], &[1; 40], &four[20..]].concat(),
        &[(0, 0x4f), (2, 0x01), (3, 0x0c)],
    );
    let mut passed = vec![options, with(four.clone(), &[(6, 0x40)])];
    for port in PORTS {
        for key in keys.iter() {
            for step in [10, 11] {
                let payload = payload(key.hint(Step(step)).0, if step == 10 { 132 } else { 516 });
                passed.extend([udp4(port, &payload), udp6(port, &payload)]);
            }
        }
    }
    let wrong_length = [1, 7, 8, 16, 131, 517, 600, 1400];
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
    passed
        .iter()
        .chain(&uncounted)
        .for_each(|packet| wire.send_ip(packet));
    wire.send(&framed(&[0x0800], &udp6(PORT, &payload(known, 132))));
    wire.send(&framed(&[0x88b5], &four));
    for len in wrong_length {
        wire.send_ip(&udp4(PORT, &payload(known, len)));
        wire.send_ip(&udp6(PORT, &payload(known, len)));
    }
    for len in [132, 300, 516] {
        wire.send_ip(&udp4(PORT, &payload(unknown, len)));
        wire.send_ip(&udp6(PORT, &payload([0; 8], len)));
    }
    wire.send_ip(&udp4(PORT, &last(known)));
    assert_eq!(delivered(&socket), passed);
    // One came before the map had any hint.
    assert_eq!(
        hints.dropped().unwrap(),
        Dropped {
            length: 16,
            unknown_hint: 7
        }
    );
}

pub(crate) fn of_mutated_packets_the_hint_filter_delivers_just_those_that_we_would_look_up() {
    let (gate, peer) = gate_and_peer();
    let (socket, _capture, mut hints) = filtered(&gate, Some("gate0"), 64);
    let mut wire = RawLink::open(&peer, "peer0");
    let key = &keys(1);
    let known = hint(key, 0, Step(10)).0;
    hints.hold(&HintTable::build(key, 10..=10)).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    let sent: Vec<Vec<u8>> = (0..4000)
        .map(|_| {
            let payload = payload(known, 100 + random(450));
            let packet = if random(2) == 0 {
                udp4(PORT, &payload)
            } else {
                udp6(PORT, &payload)
            };
            let changes: Vec<_> = (0..random(3))
                .map(|_| (random(60.min(packet.len())), random(256) as u8))
                .collect();
            with(packet, &changes)
        })
        .collect();
    sent.iter().for_each(|packet| wire.send_ip(packet));
    wire.send_ip(&udp4(PORT, &last(known)));
    let delivered = delivered(&socket);
    let mut rest = delivered.iter().peekable();
    for packet in &sent {
        let is_looked_up = frame::parse(packet, &PORTS).is_some_and(|datagram| {
            (132..=516).contains(&datagram.payload().len())
                && datagram.payload().starts_with(&known)
        });
        if rest.next_if(|next| packet.starts_with(next)).is_none() {
            assert!(!is_looked_up, "{packet:x?}");
        }
    }
    assert_eq!(rest.next(), None, "each was delivered once, in order");
    assert!(
        delivered.len() > 1000 && delivered.len() < 3800,
        "{} delivered",
        delivered.len()
    );
}

pub(crate) fn the_map_follows_the_hint_table_and_never_loses_a_hint_of_both() {
    let (gate, peer) = gate_and_peer();
    let (socket, _capture, mut hints) = filtered(&gate, Some("gate0"), 10);
    let mut wire = RawLink::open(&peer, "peer0");
    let keys = keys(2);
    let mut wanted = Vec::new();
    for first in 10..30 {
        hints
            .hold(&HintTable::build(&keys, first..=first + 2))
            .unwrap();
        for step in first - 1..=first + 3 {
            let packet = udp4(PORT, &payload(hint(&keys, 1, Step(step)).0, 132));
            wire.send_ip(&packet);
            if (first..=first + 2).contains(&step) {
                wanted.push(packet);
            }
        }
        // The map is changed only after the kernel has seen these.
        let seen = first - 9;
        while hints.dropped().unwrap().unknown_hint < 2 * seen {
            std::thread::yield_now();
        }
    }
    hints.hold(&HintTable::build(&keys, 40..=40)).unwrap();
    wire.send_ip(&udp4(PORT, &last(hint(&keys, 0, Step(40)).0)));
    assert_eq!(delivered(&socket), wanted);
    let full = hints
        .hold(&HintTable::build(&self::keys(11), 50..=50))
        .unwrap_err();
    assert_eq!(
        full.raw_os_error(),
        Some(rustix::io::Errno::TOOBIG.raw_os_error()),
        "a map that is full says so"
    );
}

pub(crate) fn a_user_without_any_privilege_keeps_the_map_and_can_put_the_classic_filter_back() {
    let (gate, peer) = gate_and_peer();
    let (socket, _capture, mut hints) = filtered(&gate, Some("gate0"), 8);
    let known = hint(&keys(1), 0, Step(10)).0;
    let kept = socket.try_clone().unwrap();
    let unprivileged = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
        caps::clear(None, caps::CapSet::Effective).unwrap();
        caps::clear(None, caps::CapSet::Permitted).unwrap();
        assert!(
            HintFilter::load(&PORTS, 8).is_err(),
            "this user has no right to load"
        );
        hints.hold(&HintTable::build(&keys(1), 10..=10)).unwrap();
        assert_eq!(hints.dropped().unwrap(), Dropped::default());
        move || packet::filter_classically(&kept, &PORTS).unwrap()
    });
    let put_back = unprivileged.join().unwrap();
    let mut wire = RawLink::open(&peer, "peer0");
    let (right, wrong) = (
        udp4(PORT, &payload(known, 132)),
        udp4(PORT, &payload([9; 8], 132)),
    );
    wire.send_ip(&right);
    wire.send_ip(&wrong);
    wire.send_ip(&udp4(PORT, &last(known)));
    assert_eq!(delivered(&socket), [right]);
    put_back();
    wire.send_ip(&wrong);
    wire.send_ip(&udp4(PORT, END));
    assert_eq!(delivered(&socket), [wrong]);
}

pub(crate) fn packets_of_tunnels_and_with_vlan_tags_pass_the_hint_filter() {
    let (gate, peer) = gate_and_peer();
    let mut tun = Tun::new(&gate);
    let (socket, _capture, mut hints) = filtered(&gate, None, 8);
    let known = hint(&keys(1), 0, Step(10)).0;
    hints.hold(&HintTable::build(&keys(1), 10..=10)).unwrap();
    let (four, six) = (
        udp4(PORT, &payload(known, 132)),
        udp6(PORT, &payload(known, 132)),
    );
    tun.receives(&four);
    tun.receives(&udp4(PORT, &payload([3; 8], 132)));
    tun.receives(&udp6(PORT, &last(known)));
    assert_eq!(delivered(&socket), std::slice::from_ref(&four));
    let mut wire = RawLink::open(&peer, "peer0");
    wire.send(&framed(&[0x8100, 7, 0x86dd], &six));
    wire.send_ip(&udp4(PORT, &last(known)));
    assert_eq!(delivered(&socket), [six]);
}
