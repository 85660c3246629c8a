//! Properties of every request, body and packet.
//!
//! Bodies are encoded requests with a little damage, so that many are accepted and the others are near misses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::cell::Cell;
use std::net::Ipv6Addr;

use postern_proto::limits::{BODY_MAX, BODY_MIN, NAME_MAX};
use postern_proto::{
    Action, Allow, Code, GateName, Item, KeyMaterial, OpenBuffer, Packet, Protocol, Request,
    Service, ServiceName, SharedKey, UserKeys, seal,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn keys() -> UserKeys {
    let material = KeyMaterial::shared(&SharedKey::from_bytes([7; 32]));
    UserKeys::derive(&GateName::new("gate.example.org").unwrap(), &material)
}

fn service() -> impl Strategy<Value = Item> {
    let ports = (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        4 => (prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]), ports)
            .prop_map(|(protocol, (first, last))| Service::new(protocol, first, last).unwrap()),
        1 => prop::sample::select(vec![Protocol::Icmp, Protocol::Icmpv6])
            .prop_map(|protocol| Service::new(protocol, 0, 0).unwrap()),
    ]
    .prop_map(Item::Service)
}

fn name() -> impl Strategy<Value = Item> {
    let letters = |set: &'static [u8]| prop::sample::select(set);
    let first = letters(b"abcxyz0189");
    let rest = vec(letters(b"abcxyz0189-_"), 0..NAME_MAX);
    (first, rest).prop_map(|(first, rest)| {
        let name: Vec<u8> = std::iter::once(first).chain(rest).collect();
        Item::Name(ServiceName::new(std::str::from_utf8(&name).unwrap()).unwrap())
    })
}

fn code() -> impl Strategy<Value = Item> {
    (0..100_000_000_u32, 6..=8_usize)
        .prop_map(|(number, len)| Item::Code(Code::new(&format!("{number:08}")[..len]).unwrap()))
}

fn skipped() -> impl Strategy<Value = Item> {
    let value = prop_oneof![3 => vec(any::<u8>(), 0..6), 1 => vec(any::<u8>(), 0..=255)];
    (128..=255_u8, value).prop_map(|(kind, value)| Item::Skipped { kind, value })
}

fn address() -> impl Strategy<Value = Ipv6Addr> {
    let v4 = any::<[u8; 4]>().prop_map(|octets| std::net::Ipv4Addr::from(octets).to_ipv6_mapped());
    let v6 = any::<u128>().prop_map(Ipv6Addr::from_bits);
    prop_oneof![v4, v6].prop_filter("the all-zero address is not one", |address| {
        !address.is_unspecified()
    })
}

fn allow() -> impl Strategy<Value = Allow> {
    let network = (address(), 0..=128_u8).prop_map(|(address, prefix)| {
        let beyond = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        let address = Ipv6Addr::from_bits(address.to_bits() & !beyond);
        if address.is_unspecified() {
            Allow::Source { prefix }
        } else {
            Allow::Network { address, prefix }
        }
    });
    prop_oneof![
        (0..=128_u8).prop_map(|prefix| Allow::Source { prefix }),
        network
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let items = (
        vec(prop_oneof![service(), name()], 0..=16),
        prop::option::of(code()),
        vec(skipped(), 0..4),
    )
        .prop_map(|(mut items, code, skipped)| {
            items.extend(code);
            items.extend(skipped);
            items
        })
        .prop_shuffle()
        .prop_map(|items| {
            let mut distinct = Vec::new();
            for item in items {
                if !distinct.contains(&item) {
                    distinct.push(item);
                }
            }
            distinct
        });
    (
        allow(),
        any::<u64>(),
        any::<u32>(),
        prop::option::of(address()),
        items,
    )
        .prop_map(|(allow, timestamp_ms, duration_s, target, items)| {
            let service = items
                .iter()
                .any(|item| matches!(item, Item::Service(_) | Item::Name(_)));
            let action = if service && timestamp_ms % 4 != 0 {
                Action::Open
            } else {
                Action::Close
            };
            Request {
                action,
                allow,
                timestamp_ms,
                duration_s,
                target,
                items,
            }
        })
        .prop_filter("fits into a body", |request| {
            request.encoded_len() <= BODY_MAX
        })
}

fn request_and_len() -> impl Strategy<Value = (Request, usize)> {
    request().prop_flat_map(|request| {
        let least = request.encoded_len().max(BODY_MIN);
        (Just(request), prop_oneof![Just(least), least..=BODY_MAX])
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    (
        request_and_len(),
        vec(change, 0..3),
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
    )
        .prop_map(|((request, len), changes, cut)| {
            let mut body = vec![0; len];
            request.encode(&mut body).unwrap();
            for (at, byte, whole) in changes {
                let at = at.index(body.len());
                body[at] = if whole {
                    byte
                } else {
                    body[at] ^ (1 << (byte % 8))
                };
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len() + 1));
            }
            body
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sealed_request_opens_to_itself((request, len) in request_and_len(), nonce: [u8; 12]) {
        let keys = keys();
        let sealed = seal(&keys, &request, nonce, len).unwrap();
        let packet = Packet::parse(sealed.as_bytes()).unwrap();
        prop_assert!(keys.verify(&packet));
        prop_assert_eq!(packet.hint(), keys.hint_key().hint(request.step()));
        let shown = format!("{sealed:?}");
        prop_assert_eq!(shown, format!("Sealed({} bytes)", sealed.as_bytes().len()));
        let mut buffer = OpenBuffer::default();
        let body = keys.open(&packet, &mut buffer).unwrap();
        let has_code = request.items.iter().any(|item| matches!(item, Item::Code(_)));
        prop_assert_eq!(request.code().is_some(), has_code);
        prop_assert_eq!(Request::decode(body), Ok(request));
    }

    #[test]
    fn no_random_input_panics_or_passes(bytes in vec(any::<u8>(), 0..2000)) {
        take_in(&bytes);
    }
}

/// The checks of a gate. No bytes pass, because they were made without the key.
fn take_in(bytes: &[u8]) {
    let _ = Request::decode(bytes);
    let Ok(packet) = Packet::parse(bytes) else {
        return;
    };
    let (keys, mut buffer) = (keys(), OpenBuffer::new());
    assert!(!keys.verify(&packet));
    assert!(keys.open(&packet, &mut buffer).is_err());
}

#[test]
fn an_accepted_body_encodes_to_itself() {
    let config = ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let accepted = Cell::new(0);
    let refused = Cell::new(0);
    TestRunner::new(config)
        .run(&body(), |body| {
            let Ok(request) = Request::decode(&body) else {
                refused.set(refused.get() + 1);
                return Ok(());
            };
            accepted.set(accepted.get() + 1);
            prop_assert!(request.encoded_len() <= body.len());
            let mut again = vec![0xaa; body.len()];
            prop_assert_eq!(request.encode(&mut again), Ok(()));
            prop_assert_eq!(again, body);
            Ok(())
        })
        .unwrap();
    assert!(
        accepted.get() > 1000,
        "only {} of the bodies were accepted",
        accepted.get()
    );
    assert!(
        refused.get() > 500,
        "only {} of the bodies were refused",
        refused.get()
    );
}

fn packets() -> Vec<Vec<u8>> {
    let request = |action, items| Request {
        action,
        allow: Allow::Network {
            address: "2001:db8::".parse().unwrap(),
            prefix: 32,
        },
        timestamp_ms: 1_760_000_000_000,
        duration_s: 30,
        target: None,
        items,
    };
    let ssh = Item::Service(Service::new(Protocol::Tcp, 22, 22).unwrap());
    let code = Item::Code(Code::new("123456").unwrap());
    [
        (request(Action::Close, vec![]), 64),
        (request(Action::Open, vec![ssh.clone()]), 101),
        (request(Action::Open, vec![ssh, code]), 448),
    ]
    .iter()
    .map(|(request, len)| {
        seal(&keys(), request, [*len as u8; 12], *len)
            .unwrap()
            .as_bytes()
            .to_vec()
    })
    .collect()
}

#[test]
fn the_mac_refuses_each_changed_bit() {
    let keys = keys();
    for mut bytes in packets() {
        assert!(
            keys.verify(&Packet::parse(&bytes).unwrap()),
            "the original packet"
        );
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.verify(&Packet::parse(&bytes).unwrap()), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn the_cipher_refuses_each_changed_bit() {
    let keys = keys();
    let mut buffer = OpenBuffer::new();
    for mut bytes in packets() {
        for bit in (0..20 * 8).chain(52 * 8..bytes.len() * 8) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                keys.open(&Packet::parse(&bytes).unwrap(), &mut buffer)
                    .is_err(),
                "bit {bit}"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_cut_or_lengthened_packet_is_refused() {
    let keys = keys();
    for bytes in packets() {
        for len in 0..bytes.len() {
            assert!(
                !Packet::parse(&bytes[..len]).is_ok_and(|packet| keys.verify(&packet)),
                "{len}"
            );
            assert!(!Packet::parse(&bytes[len + 1..]).is_ok_and(|packet| keys.verify(&packet)));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(!Packet::parse(&longer).is_ok_and(|packet| keys.verify(&packet)));
    }
}
