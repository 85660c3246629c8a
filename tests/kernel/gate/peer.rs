//! The independent implementation in `tests/peer` against the running gate: it opens and closes with each kind of key.

use std::collections::BTreeMap;

use postern_proto::PrivateKey;
use serde_json::{Value, json};

use postern_harness::{FAMILIES, GATE_NAME, GateConfig, KNOCK, SERVICE, World, key, peer, seed};

fn private(name: &str) -> PrivateKey {
    PrivateKey::from_bytes(seed(&format!("the private key of {name}")))
}

/// Users `shared`, `pair` and `psk`, each with another kind of key.
fn start(backend: &str) -> World {
    let services = format!("services = [\"tcp/{SERVICE}\"]");
    let public = |name: &str| {
        let key = private(name).public().to_base64().to_owned();
        format!("public_key = \"{key}\"\n{services}")
    };
    let psk = format!("psk = \"{}\"\n{}", key("psk"), public("psk"));
    let plan = GateConfig::empty(backend)
        .gate("private_key = \"gate.key\"\nwindow = \"5m\"")
        .member("shared", "")
        .user_with("pair", &public("pair"))
        .user_with("psk", &psk);
    let mut world = World::prepare(&plan);
    let key = format!("{}\n", private("the gate").to_base64().to_owned());
    world.write("gate.key", &key);
    world.start_again();
    world
}

/// The client's side of a user's key, as the peer reads it.
fn key_of(user: &str) -> Value {
    if user == "shared" {
        return json!({ "kind": "shared", "shared_key": key(user) });
    }
    let mut pair = json!({
        "kind": "pair",
        "client_private": private(user).to_base64().to_owned(),
        "gate_public": private("the gate").public().to_base64().to_owned(),
    });
    if user == "psk" {
        pair["psk"] = key(user).into();
    }
    pair
}

pub(crate) fn peer_opens_with_every_kind_of_key(backend: &'static str) {
    let world = start(backend);
    let service = json!([{ "service": { "protocol": 6, "first": SERVICE, "last": SERVICE } }]);
    let knocks = ["shared", "pair", "psk"].map(|user| FAMILIES.map(|family| (user, family)));
    for (admitted, (user, family)) in (1..).zip(knocks.into_iter().flatten()) {
        // A description for the peer's `send.py`.
        let send = |knock: Value| {
            let described = json!({
                "key": key_of(user), "gate_name": GATE_NAME, "host": family.address(1).to_string(), "port": KNOCK,
                "request": { "items": service }, "knocks": [knock],
            });
            peer::run(&world.first.space, &["send.py"], &described);
        };
        world.first.expect_shut_out(family);
        send(json!({}));
        world.daemon.wait_for_admitted(admitted);
        assert_eq!(world.wait_for_grants(1)[0].user, user);
        world.first.expect_let_in(family);
        send(json!({ "request": { "action": "close", "items": [] } }));
        world.wait_until_closed();
    }
    assert_eq!(world.daemon.status().reasons, BTreeMap::new());
}
