//! What holds for every request, every packet and every sequence.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use crate::support::{KEY, MAC_KEY, open};
use postern_fwknop::{Allow, Key, MacKind, Message, Mode, Port, Protocol, Request, Target};
use postern_fwknop::{Packet, looks_like, sequence};
use proptest::prelude::*;

fn allow() -> impl Strategy<Value = Allow> {
    prop_oneof![
        Just(Allow::Source),
        (1..=u32::MAX).prop_map(|bits| Allow::Address(Ipv4Addr::from_bits(bits))),
    ]
}

fn ports() -> impl Strategy<Value = Vec<Port>> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let port = (protocol, 1..=u16::MAX).prop_map(|(protocol, number)| Port {
        protocol,
        number: NonZeroU16::new(number).unwrap(),
    });
    proptest::collection::vec(port, 1..=16)
}

fn target() -> impl Strategy<Value = Target> {
    ("([a-z][a-z0-9.:-]{0,40}|::1|10\\.0\\.0\\.1)", 1..=u16::MAX).prop_map(|(host, port)| Target {
        host,
        port: NonZeroU16::new(port).unwrap(),
    })
}

fn request() -> impl Strategy<Value = Request> {
    let timeout = proptest::option::of(0..=65_536_u32);
    let message = prop_oneof![
        "[a-zA-Zé0-9 ,;:/-]{1,60}".prop_map(|text| (Message::Command(text), None)),
        (ports(), timeout.clone()).prop_map(|(ports, t)| (Message::Access(ports), t)),
        (ports(), target(), timeout.clone())
            .prop_map(|(ports, target, t)| (Message::Nat(ports, target), t)),
        (ports(), target(), timeout)
            .prop_map(|(ports, target, t)| (Message::LocalNat(ports, target), t)),
    ];
    (
        "[a-z0-9 .@_-]{1,48}",
        0..1_000_000_000_000_u64,
        allow(),
        message,
    )
        .prop_map(|(user, timestamp_s, allow, (message, timeout_s))| Request {
            user,
            timestamp_s,
            allow,
            message,
            timeout_s,
        })
}

fn key() -> impl Strategy<Value = Key> {
    (0..9_usize).prop_map(|at| match MacKind::ALL.get(at) {
        Some(kind) => Key::new(KEY, *kind, MAC_KEY).unwrap(),
        None if at == 7 => Key::without_mac(b"short", Mode::Legacy).unwrap(),
        None => Key::without_mac(KEY, Mode::Cbc).unwrap(),
    })
}

proptest! {
    #[test]
    fn a_sealed_request_opens(key in key(), request in request(), random: [u8; 16]) {
        let wire = key.seal(&request, &random).unwrap();
        prop_assert!(looks_like(wire.as_bytes()));
        let opened = open(&key, wire.as_bytes()).unwrap();
        prop_assert_eq!(opened.request, request);
        prop_assert_eq!(opened.server_auth, None);
    }

    #[test]
    fn a_changed_packet_is_refused(
        key in key(), request in request(), random: [u8; 16], at: usize, new in "[A-Za-z0-9+/=]",
    ) {
        let mut wire = key.seal(&request, &random).unwrap().into_bytes();
        let at = at % wire.len();
        prop_assume!(wire[at] != new.as_bytes()[0]);
        wire[at] = new.as_bytes()[0];
        prop_assert!(open(&key, &wire).is_err());
        wire.remove(at);
        prop_assert!(open(&key, &wire).is_err());
    }

    #[test]
    fn random_characters_are_refused(key in key(), payload in "[89+/][A-Za-z0-9+/]{120,400}") {
        prop_assert!(open(&key, payload.as_bytes()).is_err());
    }

    #[test]
    fn random_bytes_are_no_packet(payload: Vec<u8>) {
        prop_assert_eq!(looks_like(&payload), Packet::parse(&payload).is_ok());
    }

    #[test]
    fn a_sequence_opens(
        allow in allow(), port in 1..=u16::MAX, user in "[!-~]{0,7}", random: [u8; 8],
        offset in 1..=65_280_u16, hit in 0..32_usize, byte in 1..=255_u8,
    ) {
        let key = sequence::Key::new(b"passphrase", offset).unwrap();
        let access = sequence::Access { allow, protocol: sequence::Protocol::Tcp, port, user };
        let ports = key.ports(&access, &random).unwrap();
        prop_assert_eq!(key.open_ports(&ports), Ok(access));

        // By chance a changed salt or block opens to something else; a changed start never opens.
        let mut run = ports.map(|port| (port - offset) as u8);
        run[hit] ^= byte;
        if let Ok(opened) = key.open(&run) {
            prop_assert!(hit >= 8, "{:?}", opened);
        }
    }
}

#[test]
fn requests_that_would_be_refused_are_not_sealed() {
    let key = Key::new(KEY, MacKind::Sha256, MAC_KEY).unwrap();
    let request = Request {
        user: "alice".into(),
        timestamp_s: 1_795_333_319,
        allow: Allow::Source,
        message: Message::Access(vec![Port {
            protocol: Protocol::Tcp,
            number: NonZeroU16::MIN,
        }]),
        timeout_s: None,
    };
    assert!(key.seal(&request, &[7; 16]).is_ok());
    let changed = |change: fn(&mut Request)| {
        let mut request = request.clone();
        change(&mut request);
        key.seal(&request, &[7; 16]).is_err()
    };
    assert!(changed(|request| request.user = "a:b".into()));
    assert!(changed(|request| request.timestamp_s = 1_000_000_000_000));
    assert!(changed(
        |request| request.allow = Allow::Address(Ipv4Addr::UNSPECIFIED)
    ));
    assert!(changed(|request| request.message = Message::Access(vec![])));
    assert!(changed(|request| request.timeout_s = Some(65_537)));
    assert!(changed(|request| {
        request.message = Message::Command("a".into());
        request.timeout_s = Some(60);
    }));
}
