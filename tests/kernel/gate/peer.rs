//! The independent implementation in `tests/peer` against the running gate: its knocks open, and each of its broken ones
//! raises the one counter that is its own and opens nothing.

use std::collections::BTreeMap;

use postern_proto::PrivateKey;
use serde_json::{Value, json};

use postern_harness::{
    FAMILIES, Family, GATE_NAME, GateConfig, KNOCK, SERVICE, World, key, peer, seed,
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
