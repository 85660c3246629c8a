//! The vectors, which an independent implementation made: every intermediate value to the byte.
//!
//! `tests/vectors.rs` of the main crate checks every outcome.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod vector;

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::vectors::{ikm, keys, prk};
use postern_proto::{GateName, Malformed, OpenBuffer, Packet, Request, Step, UserKeys, seal};
use vector::{Vector, read_all};

fn user_keys(vector: &Vector) -> UserKeys {
    let [material, _] = vector.key.material();
    UserKeys::derive(&GateName::new(&vector.gate_name).unwrap(), &material)
}

fn as_made(vector: &Vector) -> Vec<u8> {
    [&vector.hint, &vector.nonce, &vector.mac, &vector.sealed]
        .map(|hex| hex.0.as_slice())
        .concat()
}

fn reason(vector: &Vector) -> &str {
    vector.outcome.reason.as_deref().unwrap_or_default()
}

#[test]
fn keys_and_hints_match_the_vectors() {
    for vector in read_all() {
        let name = &vector.name;
        let gate = GateName::new(&vector.gate_name).unwrap();
        for material in vector.key.material() {
            assert_eq!(ikm(&material), vector.ikm.0, "{name}");
            assert_eq!(prk(&gate, &material)[..], vector.prk.0, "{name}");
            let user = UserKeys::derive(&gate, &material);
            let expected = [&vector.k_hint, &vector.k_seal, &vector.k_mac].map(|hex| hex.array());
            assert_eq!(keys(&user).map(|key| *key), expected, "{name}");
            let hint = user.hint_key().hint(Step(vector.step));
            assert_eq!(hint.0[..], vector.hint.0, "{name}");
        }
        match &vector.z {
            Some(z) => assert_eq!(vector.ikm.0[1..33], z.0, "{name}"),
            None => assert_eq!(vector.ikm.0[0], 1, "{name}: only a shared key has no z"),
        }
        // Packets of these two kinds may have a wrong time.
        if !matches!(reason(&vector), "step-mismatch" | "malformed") {
            assert_eq!(Step::of(vector.timestamp_ms), Step(vector.step), "{name}");
        }
    }
}

#[test]
fn mac_and_seal_match_the_vectors() {
    for vector in read_all() {
        let name = &vector.name;
        let found = STANDARD.encode(&vector.packet_hex.0);
        assert_eq!(found, vector.packet_base64, "{name}");
        assert_eq!(vector.mac.0[..16], vector.mark.0, "{name}");
        let made = as_made(&vector);
        let Ok(packet) = Packet::parse(&made) else {
            assert_eq!(reason(&vector), "length", "{name}");
            continue;
        };
        assert_eq!(packet.mark().0[..], vector.mark.0, "{name}");
        let (keys, mut buffer) = (user_keys(&vector), OpenBuffer::new());
        assert!(
            keys.verify(&packet),
            "{name}: the mac is over hint, nonce and seal"
        );
        match keys.open(&packet, &mut buffer) {
            Ok(body) => assert_eq!(body, vector.body.0, "{name}"),
            Err(_) => assert_eq!(reason(&vector), "bad-seal", "{name}"),
        }
    }
}

#[test]
fn requests_seal_to_the_vectors_packets() {
    let mut whole = 0;
    for vector in read_all() {
        let name = &vector.name;
        let Some(fields) = &vector.request else {
            assert!(
                matches!(reason(&vector), "malformed" | "length"),
                "{name} has a request"
            );
            continue;
        };
        let request = fields.request(vector.timestamp_ms);
        let mut body = vec![0xaa; vector.body.0.len()];
        request
            .encode(&mut body)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(body, vector.body.0, "{name}");
        let expected = Ok(&request);
        assert_eq!(Request::decode(&vector.body.0).as_ref(), expected, "{name}");

        // No right client makes a broken seal or another step's hint.
        if matches!(reason(&vector), "bad-seal" | "step-mismatch") {
            continue;
        }
        let sealed = seal(
            &user_keys(&vector),
            &request,
            vector.nonce.array(),
            body.len(),
        )
        .unwrap();
        assert_eq!(sealed.as_bytes(), as_made(&vector), "{name}");
        if !matches!(reason(&vector), "length" | "unknown-hint" | "bad-mac") {
            let found = sealed.as_bytes();
            assert_eq!(found, vector.packet_hex.0, "{name}: nothing was damaged");
            whole += 1;
        }
    }
    assert!(whole > 0, "some vector's packet is whole");
}

#[test]
fn each_malformed_body_breaks_its_rule() {
    let mut rules = BTreeSet::new();
    for vector in read_all() {
        if let Some(rule) = &vector.outcome.rule {
            let decoded = Request::decode(&vector.body.0).map_err(Malformed::as_str);
            assert_eq!(decoded.unwrap_err(), rule, "{}", vector.name);
            rules.insert(rule.clone());
        }
    }
    let all = Malformed::ALL.map(|rule| rule.as_str().to_owned());
    assert_eq!(rules, all.into(), "every rule has a vector");
}
