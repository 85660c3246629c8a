//! The vectors, which were made without this crate: every intermediate value to the byte, and every outcome that
//! steps 6.1 to 6.6 of the specification decide. Steps 6.7 and on are the gate's.
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
use postern_proto::{
    GateName, KeyMaterial, Malformed, OpenBuffer, Packet, Request, SharedKey, Step, UserKeys, seal,
};
use vector::{Vector, read_all};

/// The steps that this crate can decide, and what they say.
const DECIDED_HERE: [(u8, &str); 6] = [
    (1, "length"),
    (2, "unknown-hint"),
    (3, "bad-mac"),
    (4, "bad-seal"),
    (5, "malformed"),
    (6, "step-mismatch"),
];

fn user_keys(vector: &Vector) -> UserKeys {
    let [material, _] = vector.key.material();
    UserKeys::derive(&GateName::new(&vector.gate_name).unwrap(), &material)
}

/// The packet that the intermediate values make up, before any damage on the way.
fn as_made(vector: &Vector) -> Vec<u8> {
    [&vector.hint, &vector.nonce, &vector.mac, &vector.sealed]
        .map(|hex| hex.0.as_slice())
        .concat()
}

fn reason(vector: &Vector) -> &str {
    vector.outcome.reason.as_deref().unwrap_or_default()
}

#[test]
fn keys_and_hints_are_the_vectors() {
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
        // A packet of these two kinds may lie about its time.
        if !matches!(reason(&vector), "step-mismatch" | "malformed") {
            assert_eq!(Step::of(vector.timestamp_ms), Step(vector.step), "{name}");
        }
    }
}

#[test]
fn mac_and_seal_are_the_vectors() {
    for vector in read_all() {
        let name = &vector.name;
        assert_eq!(
            STANDARD.encode(&vector.packet_hex.0),
            vector.packet_base64,
            "{name}"
        );
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
fn requests_encode_to_the_vectors_bodies_and_seal_to_their_packets() {
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
        assert_eq!(
            Request::decode(&vector.body.0).as_ref(),
            Ok(&request),
            "{name}"
        );

        // Nobody who keeps to the rules makes a packet with a broken seal or with another step's hint.
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
            assert_eq!(
                sealed.as_bytes(),
                vector.packet_hex.0,
                "{name}: nothing was damaged"
            );
            whole += 1;
        }
    }
    assert!(whole > 0, "some vector's packet is whole");
}

/// Steps 6.1 to 6.6 for a gate with this one user: the request, or the step, the reason and the rule that stopped it.
fn take_in(vector: &Vector) -> Result<Request, (u8, &'static str, Option<Malformed>)> {
    let stop = |step: u8| {
        let (_, reason) = DECIDED_HERE
            .into_iter()
            .find(|(decided, _)| *decided == step)
            .unwrap();
        (step, reason, None)
    };
    let gate = &vector.gate;
    let gate_name = GateName::new(gate.gate_name.as_deref().unwrap_or(&vector.gate_name)).unwrap();
    let [_, at_gate] = vector.key.material();
    let material = match &gate.shared_key {
        Some(other) => KeyMaterial::shared(&SharedKey::from_bytes(other.array())),
        None => at_gate,
    };
    let user = UserKeys::derive(&gate_name, &material);

    let packet = Packet::parse(&vector.packet_hex.0).map_err(|_| stop(1))?;
    let step = Step::touching(gate.now_ms, gate.window_ms)
        .find(|step| user.hint_key().hint(*step) == packet.hint())
        .ok_or_else(|| stop(2))?;
    if !user.verify(&packet) {
        return Err(stop(3));
    }
    let mut buffer = OpenBuffer::new();
    let body = user.open(&packet, &mut buffer).map_err(|_| stop(4))?;
    let request = Request::decode(body).map_err(|rule| (5, "malformed", Some(rule)))?;
    if request.step() != step {
        return Err(stop(6));
    }
    Ok(request)
}

#[test]
fn each_vector_stops_at_the_step_and_the_rule_it_names() {
    for vector in read_all() {
        let (name, outcome) = (&vector.name, &vector.outcome);
        match take_in(&vector) {
            Ok(request) => {
                assert!(
                    outcome.step > 6,
                    "{name} should stop at step {}",
                    outcome.step
                );
                assert_eq!(outcome.verdict == "admit", outcome.step == 12, "{name}");
                let fields = vector
                    .request
                    .as_ref()
                    .expect("an accepted body is a request");
                assert_eq!(request, fields.request(vector.timestamp_ms), "{name}");
            }
            Err((step, reason, rule)) => {
                let expected = (
                    outcome.step,
                    outcome.reason.as_deref(),
                    outcome.rule.as_deref(),
                );
                assert_eq!(
                    (step, Some(reason), rule.map(Malformed::as_str)),
                    expected,
                    "{name}"
                );
                assert_eq!(outcome.verdict, "drop", "{name}");
            }
        }
    }
}

#[test]
fn every_reason_and_every_rule_has_a_vector() {
    let vectors = read_all();
    let reasons: BTreeSet<_> = vectors.iter().map(reason).collect();
    for (_, reason) in DECIDED_HERE {
        assert!(reasons.contains(reason), "no vector for {reason}");
    }
    let rules: BTreeSet<_> = vectors
        .iter()
        .filter_map(|vector| vector.outcome.rule.as_deref())
        .collect();
    assert_eq!(rules, Malformed::ALL.map(Malformed::as_str).into());
}
