//! `open-packet` and `keygen`: what one command writes, the other understands.

use std::os::unix::fs::PermissionsExt;

use postern_proto::{PrivateKey, PublicKey, SharedKey};
use serde_json::Value;

use crate::program::{GATE, Home, key, postern, run};

fn home() -> Home {
    Home::with_profile(&format!(
        "address = \"127.0.0.1\"\nkey = \"{}\"\nservices = [\"tcp/22\", \"web\"]\nduration = \"30s\"",
        key(1)
    ))
}

#[test]
fn a_printed_packet_opens_from_an_argument_and_from_standard_input() {
    let home = home();
    let packet = home.run(&["knock", "home", "--print"]).ok();
    let from_argument = home.run(&["open-packet", "home", packet.trim()]).ok();
    let from_input = run(home
        .command(&["open-packet", "home"])
        .write_stdin(packet.clone()))
    .ok();
    for shown in [&from_argument, &from_input] {
        assert!(
            shown.starts_with("a knock of ") && shown.lines().next().unwrap().ends_with(" ago:"),
            "{shown}"
        );
        for row in [
            "  services  tcp/22, web",
            "  allow     127.0.0.1",
            "  duration  30s",
        ] {
            assert!(shown.lines().any(|line| line == row), "{row}\n{shown}");
        }
    }
    let without_profile =
        run(postern(&["open-packet", "--gate", GATE, packet.trim()]).env("POSTERN_KEY", key(1)))
            .ok();
    assert_eq!(
        without_profile.lines().skip(1).collect::<Vec<_>>(),
        from_input.lines().skip(1).collect::<Vec<_>>()
    );
    let json: Value = serde_json::from_str(
        &home
            .run(&["open-packet", "home", packet.trim(), "--json"])
            .ok(),
    )
    .unwrap();
    assert_eq!(
        (&json["version"], &json["command"], &json["gate"]),
        (&1.into(), &"open-packet".into(), &GATE.into())
    );
    assert_eq!(
        json["request"]["services"],
        serde_json::json!(["tcp/22", "web"])
    );
    assert!(json["age_ms"].as_i64().unwrap() >= 0);
}

#[test]
fn a_packet_that_does_not_open_is_1_and_names_the_step() {
    let home = home();
    let packet = home.run(&["knock", "home", "--print"]).ok();
    let packet = packet.trim();
    let other_gate = home
        .run(&["open-packet", "home", "--gate", "other.example.org", packet])
        .failed(1);
    assert!(
        other_gate.contains("fails at step 2, unknown-hint: "),
        "{other_gate}"
    );
    // The hint is the first eight bytes, the nonce begins behind them: the twelfth character is one of its own.
    let changed = format!(
        "{}{}{}",
        &packet[..11],
        if &packet[11..12] == "A" { "B" } else { "A" },
        &packet[12..]
    );
    let changed = home.run(&["open-packet", "home", &changed]).failed(1);
    assert!(changed.contains("fails at step 3, bad-mac: "), "{changed}");
    let short = home.run(&["open-packet", "home", "AAAA"]).failed(1);
    assert!(short.contains("fails at step 1, length: "), "{short}");
    let text = home.run(&["open-packet", "home", "what?"]).failed(2);
    assert!(text.contains("not base64; "), "{text}");
    let long = run(home
        .command(&["open-packet", "home"])
        .write_stdin("A".repeat(5000)))
    .failed(74);
    assert!(
        long.contains("standard input: more than 4096 bytes; "),
        "{long}"
    );
}

#[test]
fn keygen_makes_a_new_key_every_time() {
    let make = || run(&mut postern(&["keygen"])).ok();
    let (one, other) = (make(), make());
    assert_ne!(one, other);
    SharedKey::from_base64(one.strip_suffix('\n').unwrap()).unwrap();
}

#[test]
fn keygen_makes_a_pair_whose_halves_belong_together() {
    let text = run(&mut postern(&["keygen", "--pair"])).ok();
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} = \"")));
        line.and_then(|rest| rest.strip_suffix('"'))
            .unwrap()
            .to_owned()
    };
    let private = PrivateKey::from_base64(&value("private_key")).unwrap();
    assert_eq!(
        private.public(),
        PublicKey::from_base64(&value("public_key")).unwrap()
    );
    let json: Value =
        serde_json::from_str(&run(&mut postern(&["keygen", "--pair", "--json"])).ok()).unwrap();
    let private = PrivateKey::from_base64(json["private_key"].as_str().unwrap()).unwrap();
    assert_eq!(json["public_key"], private.public().to_string());
    assert_eq!(json["version"], 1);
}

#[test]
fn keygen_writes_a_file_for_its_owner_only_and_shows_no_secret() {
    let home = home();
    let (shared, private) = (home.path("shared"), home.path("private"));
    assert_eq!(
        run(&mut postern(&[
            "keygen",
            "--output",
            shared.to_str().unwrap()
        ]))
        .ok(),
        ""
    );
    let shown = run(&mut postern(&[
        "keygen",
        "--pair",
        "--json",
        "-o",
        private.to_str().unwrap(),
    ]))
    .ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    for file in [&shared, &private] {
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o7777,
            0o600
        );
    }
    let text = postern::adapters::files::read_private(&private).unwrap();
    let private = PrivateKey::from_base64(text.trim()).unwrap();
    assert_eq!(
        shown,
        serde_json::json!({
            "version": 1, "command": "keygen", "public_key": private.public().to_string(), "file": home.path("private"),
        })
    );
    let arguments = [
        "knock",
        "--gate",
        "127.0.0.1",
        "-s",
        "tcp/22",
        "--dry-run",
        "--key-file",
        shared.to_str().unwrap(),
    ];
    run(&mut postern(&arguments)).ok();
}
