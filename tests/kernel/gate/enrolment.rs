//! From `posternd init` to an open port: with a shared key and with a key pair, then with none.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use postern_harness::{Family, GateConfig, SERVICE, World, text, wait_until};

const V4: Family = Family::V4;

/// A gate that `init` has set up and that runs; no user is there yet.
fn set_up(backend: &str) -> World {
    let lines = "private_key = \"gate.key\"\naddress = \"10.77.0.1\"";
    let mut world = World::prepare(&GateConfig::empty(backend).gate(lines));
    let said = text(&world.daemon.asked(&["init"]));
    for part in ["  key    made ", "posternd user add NAME -s tcp/22"] {
        assert!(said.contains(part), "{said}");
    }
    world.start_again();
    world
}

fn posternd(world: &World, arguments: &[&str]) -> Value {
    let said = world.daemon.asked(&[arguments, &["--json"]].concat());
    serde_json::from_slice(&said.stdout).unwrap()
}

/// Adds a user at the gate and imports the token at the first client, into this user's own config.
fn add_and_import(world: &World, user: &str, options: &[&str]) -> Value {
    let service = format!("tcp/{SERVICE}");
    let added = posternd(
        world,
        &[&["user", "add", user, "-s", &service], options].concat(),
    );
    assert_eq!(added["reload"], "done", "{added}");
    let token = added["token"].as_str().unwrap();
    let file = world.write("token", token);
    let import = ["import", file.to_str().unwrap()];
    let ran = world.first.postern(user, &import);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    assert!(ran.out.contains("next: postern knock "), "{}", ran.out);
    added
}

/// Knocks with a profile and returns once the gate has judged it.
fn knock(world: &World, user: &str, profile: &str) {
    let judged = || world.daemon.status().judged();
    // An engine that a reload replaced counts knocks of its own until it ends.
    wait_until("one engine", || world.daemon.engines().len() == 1);
    let before = judged();
    let words = ["knock", profile, "--for", "10m"];
    let ran = world.first.postern(user, &words);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    wait_until("the knock to be judged", || judged() > before);
}

pub(crate) fn enrolled_key_pair_opens(backend: &'static str) {
    let world = set_up(backend);
    let enrolled = world.first.postern("alice", &["enroll"]);
    assert_eq!(enrolled.code, Some(0), "{}", enrolled.err);
    let request = enrolled.out.trim();
    let added = add_and_import(&world, "alice", &["--request", request]);
    knock(&world, "alice", "home");
    world.first.expect_let_in(V4);
    world.second.expect_shut_out(V4);

    let read = |name: &str| fs::read_to_string(world.folder().join(name)).unwrap();
    let token = added["token"].as_str().unwrap();
    assert!(
        token.starts_with("postern-token-1.") && added["secret"] == false,
        "{added}"
    );
    // All that went from one machine to the other, in every form in which a key could be in it, and what the gate keeps of the user.
    let decoded = |line: &str| {
        URL_SAFE_NO_PAD
            .decode(line.split_once('.').unwrap().1)
            .unwrap()
    };
    let travelled = [
        decoded(request),
        decoded(token),
        added.to_string().into_bytes(),
        read("users.d/alice.toml").into_bytes(),
    ];
    let own_secrets =
        ["home.key", "gate.key"].map(|name| STANDARD.decode(read(name).trim()).unwrap());
    for secret in own_secrets {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let forms = [
            secret.clone(),
            STANDARD_NO_PAD.encode(&secret).into_bytes(),
            URL_SAFE_NO_PAD.encode(&secret).into_bytes(),
            hex.into_bytes(),
        ];
        for (what, bytes) in travelled.iter().enumerate() {
            for form in &forms {
                let part = &form[..16];
                assert!(
                    !bytes.windows(part.len()).any(|window| window == part),
                    "a private key is in {what}"
                );
            }
        }
    }
    assert!(
        read("users.d/alice.toml").contains("public_key = ")
            && !read("users.d/alice.toml").contains("\nkey = ")
    );
}

pub(crate) fn disabled_user_loses_open_grants(backend: &'static str) {
    let world = set_up(backend);
    let change = |words: &[&str]| assert_eq!(posternd(&world, words)["reload"], "done");
    add_and_import(&world, "alice", &[]);
    knock(&world, "alice", "gate");
    world.first.expect_let_in(V4);
    change(&["user", "disable", "alice"]);
    world.expect_nothing_open();
    world.first.expect_shut_out(V4);
    knock(&world, "alice", "gate");
    // As if there were no such user.
    assert_eq!(world.daemon.status().count("drop unknown-hint"), 1);
    world.first.expect_shut_out(V4);
    world.second.expect_shut_out(V4);
    change(&["user", "enable", "alice"]);
    knock(&world, "alice", "gate");
    world.first.expect_let_in(V4);

    change(&["user", "remove", "alice", "--unprotect"]);
    world.expect_nothing_open();
    knock(&world, "alice", "gate");
    world.expect_nothing_open();
}
