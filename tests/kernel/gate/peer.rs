//! The independent implementation in `tests/peer` against the running gate: its knocks open, and each of its broken ones
//! raises the one counter that is its own and opens nothing.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::PrivateKey;
use serde_json::{Value, json};

use postern_harness::{
    Client, FAMILIES, Family, GATE_NAME, GateConfig, KNOCK, SERVICE, World, key, peer, seed,
    wait_for,
};

/// Users `shared`, `pair` and `psk`, each with another kind of key.
fn plan(backend: &str) -> GateConfig {
    let service = format!("services = [\"tcp/{SERVICE}\"]\nquota = \"1000/min\"");
    let public = |name: &str| private(name).public().to_base64().to_owned();
    GateConfig::empty(backend)
        .gate("private_key = \"gate.key\"\nwindow = \"5m\"")
        .user("shared", &service)
        .user_with(
            "pair",
            &format!("public_key = \"{}\"\n{service}", public("pair")),
        )
        .user_with(
            "psk",
            &format!(
                "public_key = \"{}\"\npsk = \"{}\"\n{service}",
                public("psk"),
                key("psk")
            ),
        )
}

fn private(name: &str) -> PrivateKey {
    PrivateKey::from_bytes(seed(&format!("the private key of {name}")))
}

fn start(backend: &str) -> World {
    let mut world = World::prepare(&plan(backend));
    let key = format!("{}\n", private("the gate").to_base64().to_owned());
    postern::adapters::files::write_private(&world.folder().join("gate.key"), key.as_bytes(), true)
        .unwrap();
    world.start_again();
    world
}

/// The client's side of a user's key, as the peer reads it.
fn key_of(user: &str) -> Value {
    let pair = json!({
        "kind": "pair",
        "client_private": private(user).to_base64().to_owned(),
        "gate_public": private("the gate").public().to_base64().to_owned(),
    });
    match user {
        "pair" => pair,
        "psk" => {
            let mut pair = pair;
            pair["psk"] = key(user).into();
            pair
        }
        user => json!({ "kind": "shared", "shared_key": key(user) }),
    }
}

/// A description for the peer's `send.py`.
fn describe(user: &str, family: Family, knocks: &Value) -> Value {
    let service = json!([{ "service": { "protocol": 6, "first": SERVICE, "last": SERVICE } }]);
    json!({
        "key": key_of(user), "gate_name": GATE_NAME, "host": family.address(1).to_string(), "port": KNOCK,
        "request": { "items": service }, "knocks": knocks,
    })
}

/// Makes packets without sending them.
fn made(client: &Client, description: &Value) -> Vec<Vec<u8>> {
    let lines = peer::run(&client.space, &["send.py", "--print"], description);
    lines
        .iter()
        .map(|line| {
            STANDARD
                .decode(line["packet_base64"].as_str().unwrap())
                .unwrap()
        })
        .collect()
}

pub(crate) fn peer_opens_with_every_kind_of_key(backend: &'static str) {
    let world = start(backend);
    let mut admitted = 0;
    for user in ["shared", "pair", "psk"] {
        for family in FAMILIES {
            world.first.expect_shut_out(family);
            peer::run(
                &world.first.space,
                &["send.py"],
                &describe(user, family, &json!([{}])),
            );
            admitted += 1;
            world.daemon.wait_for_admitted(admitted);
            assert_eq!(world.wait_for_grants(1)[0].user, user);
            world.first.expect_let_in(family);
            peer::run(
                &world.first.space,
                &["send.py"],
                &describe(
                    user,
                    family,
                    &json!([{ "request": { "action": "close", "items": [] } }]),
                ),
            );
            world.wait_until_closed();
        }
    }
    assert_eq!(world.daemon.status().reasons, BTreeMap::new());
}

pub(crate) fn each_damaged_packet_has_its_reason(backend: &'static str) {
    let world = start(backend);
    let other = json!({ "kind": "shared", "shared_key": key("a stranger") });
    // Where the regions of a packet lie, in bits: hint, nonce, mac, sealed.
    let cases = [
        (json!({ "flip_bit": 0 }), "drop unknown-hint"),
        (json!({ "flip_bit": 63 }), "drop unknown-hint"),
        (json!({ "flip_bit": 64 }), "drop bad-mac"),
        (json!({ "flip_bit": 159 }), "drop bad-mac"),
        (json!({ "flip_bit": 160 }), "drop bad-mac"),
        (json!({ "flip_bit": 415 }), "drop bad-mac"),
        (json!({ "flip_bit": 416 }), "drop bad-mac"),
        (json!({ "flip_bit": 1055 }), "drop bad-mac"),
        (json!({ "flip_sealed_bit": 0 }), "drop bad-seal"),
        (json!({ "gate_name": "gate.tesu" }), "drop unknown-hint"),
        (json!({ "key": other }), "drop unknown-hint"),
        (json!({ "hint_step_offset": 1 }), "drop step-mismatch"),
        (json!({ "hint_step_offset": -1 }), "drop step-mismatch"),
        (
            json!({ "timestamp_offset_ms": -3_600_000 }),
            "drop unknown-hint",
        ),
        (
            json!({ "timestamp_offset_ms": 3_600_000 }),
            "drop unknown-hint",
        ),
        (json!({ "length": 64, "truncate": 131 }), "drop length"),
        (json!({ "length": 448, "pad": 517 }), "drop length"),
        (json!({ "truncate": 1 }), "drop length"),
        (json!({ "length": 100, "pad": 169 }), "drop bad-mac"),
        (json!({ "length": 100, "truncate": 167 }), "drop bad-mac"),
    ];
    for (user, family) in [("shared", Family::V4), ("psk", Family::V6)] {
        let knocks: Value = cases.iter().map(|(knock, _)| knock.clone()).collect();
        for (packet, (knock, reason)) in made(&world.first, &describe(user, family, &knocks))
            .iter()
            .zip(&cases)
        {
            expect_only(&world, family, packet, reason, &knock.to_string());
        }
    }
    for (offset, reason) in [(-310_000, "drop too-old"), (310_000, "drop too-new")] {
        wait_until_its_step_is_known(offset);
        let packet = made(
            &world.first,
            &describe(
                "pair",
                Family::V4,
                &json!([{ "timestamp_offset_ms": offset }]),
            ),
        )
        .remove(0);
        expect_only(&world, Family::V4, &packet, reason, &offset.to_string());
    }
    world.expect_nothing_open();
}

/// Ten seconds outside the window of 300 s, and still in a step that the window touches: outside of these the hint is unknown.
fn wait_until_its_step_is_known(offset_ms: i64) {
    wait_for("the right part of a step", || {
        let now = i64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap();
        let edge = now + offset_ms.signum() * 300_000;
        // A few seconds more, for the packet has yet to be made and sent.
        let margin = if offset_ms < 0 { 0 } else { 5_000 };
        ((edge + margin).div_euclid(64_000)
            == (edge + offset_ms.signum() * 15_000).div_euclid(64_000))
        .then_some(())
    });
}

/// Sends it and expects that it raises this counter by one, no other, and opens nothing.
fn expect_only(world: &World, family: Family, packet: &[u8], reason: &str, what: &str) {
    let before = world.daemon.status();
    world.first.send(family, packet);
    let after = wait_for(&format!("a verdict on {what}"), || {
        Some(world.daemon.status())
            .filter(|now| (now.admitted, &now.reasons) != (before.admitted, &before.reasons))
    });
    let mut expected = before.reasons;
    *expected.entry(reason.to_owned()).or_default() += 1;
    assert_eq!(
        (after.admitted, after.reasons),
        (before.admitted, expected),
        "{what}"
    );
    assert_eq!(world.daemon.grants(), [], "{what} opened something");
}
