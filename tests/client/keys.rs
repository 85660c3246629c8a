//! `postern keygen`, `open-packet` and `profiles`; and no command shows a key that it uses.

use postern_proto::{PrivateKey, PublicKey, SharedKey};
use serde_json::json;

use crate::setup::{GATE, Home, expect_documented, key, mode, postern, run, set_mode};

fn home() -> Home {
    let services = "services = [\"tcp/22\", \"web\"]\nduration = \"30s\"";
    Home::with_profile(&format!(
        "address = \"127.0.0.1:9\"\nkey = \"{}\"\n{services}",
        key(1)
    ))
}

#[test]
fn printed_packet_opens() {
    let home = home();
    let packet = home.run(&["knock", "home", "--print"]).ok();
    let from_argument = home.run(&["open-packet", "home", packet.trim()]).ok();
    let mut command = home.command(&["open-packet", "home"]);
    let from_input = run(command.write_stdin(packet.clone())).ok();
    let mut command = postern(&["open-packet", "--gate", GATE, packet.trim()]);
    let without_profile = run(command.env("POSTERN_KEY", key(1))).ok();
    for shown in [&from_argument, &from_input, &without_profile] {
        let (first, rest) = shown.split_once('\n').unwrap();
        assert!(
            first.starts_with("a knock of ") && first.ends_with(" ago:"),
            "{shown}"
        );
        for row in [
            "  services  tcp/22, web",
            "  allow     127.0.0.1",
            "  duration  30s",
        ] {
            assert!(rest.lines().any(|line| line == row), "{row}\n{shown}");
        }
    }
    let json = home
        .run(&["open-packet", "home", packet.trim(), "--json"])
        .json();
    assert_eq!(
        (&json["version"], &json["command"]),
        (&1.into(), &"open-packet".into())
    );
    assert_eq!(json["gate"], GATE);
    assert_eq!(json["request"]["services"], json!(["tcp/22", "web"]));
    assert!(json["age_ms"].as_i64().unwrap() >= 0);
}

#[test]
fn unopened_packet_names_its_step() {
    let home = home();
    let packet = home.run(&["knock", "home", "--print"]).ok();
    let packet = packet.trim();
    // The twelfth character is part of the nonce, after the eight bytes of the hint.
    let other = if &packet[11..12] == "A" { "B" } else { "A" };
    let changed = [&packet[..11], other, &packet[12..]].concat();
    for (arguments, code, part) in [
        (
            &["--gate", "other.example.org", packet][..],
            1,
            "fails at step 2, unknown-hint: ",
        ),
        (&[&changed], 1, "fails at step 3, bad-mac: "),
        (&["AAAA"], 1, "fails at step 1, length: "),
        (&["what?"], 2, "not base64; "),
    ] {
        home.run(&[&["open-packet", "home"], arguments].concat())
            .fails(code, &[part]);
    }
    let mut command = home.command(&["open-packet", "home"]);
    let long = run(command.write_stdin("A".repeat(5000)));
    long.fails(74, &["standard input: more than 4096 bytes; "]);
}

#[test]
fn keygen_makes_new_valid_keys() {
    let make = || run(&mut postern(&["keygen"])).ok();
    let (one, other) = (make(), make());
    assert_ne!(one, other);
    SharedKey::from_base64(one.strip_suffix('\n').unwrap()).unwrap();

    let text = run(&mut postern(&["keygen", "--pair"])).ok();
    let value = |name: &str| {
        let mut lines = text.lines();
        let rest = lines
            .find_map(|line| line.strip_prefix(&format!("{name} = \"")))
            .unwrap();
        rest.strip_suffix('"').unwrap().to_owned()
    };
    let private = PrivateKey::from_base64(&value("private_key")).unwrap();
    assert_eq!(
        private.public(),
        PublicKey::from_base64(&value("public_key")).unwrap()
    );
    let json = run(&mut postern(&["keygen", "--pair", "--json"])).json();
    let private = PrivateKey::from_base64(json["private_key"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&json["public_key"], &json["version"]),
        (&private.public().to_string().into(), &1.into())
    );
}

#[test]
fn keygen_output_file_is_private() {
    let home = home();
    let (shared, private) = (home.text_path("shared"), home.text_path("private"));
    assert_eq!(run(&mut postern(&["keygen", "--output", &shared])).ok(), "");
    let json = run(&mut postern(&[
        "keygen", "--pair", "--json", "-o", &private,
    ]))
    .json();
    for file in ["shared", "private"] {
        assert_eq!(mode(&home.path(file)), 0o600);
    }
    let text = postern::adapters::files::read_private(&home.path("private")).unwrap();
    let public = PrivateKey::from_base64(text.trim())
        .unwrap()
        .public()
        .to_string();
    let expected =
        json!({ "version": 1, "command": "keygen", "public_key": public, "file": private });
    assert_eq!(json, expected);
    let knock = [
        "knock",
        "--gate",
        "127.0.0.1",
        "-s",
        "tcp/22",
        "--dry-run",
        "--key-file",
        &shared,
    ];
    run(&mut postern(&knock)).ok();
}

#[test]
fn profiles_are_listed_without_keys() {
    let home = Home::new();
    let key = key(22);
    home.write(
        "config.toml",
        &format!(
            "[home]\ngate = \"{GATE}\"\nkey = \"{key}\"\nservices = [\"tcp/22\", \"web\"]\nduration = \"10m\"\n\
             code = \"ask\"\n[behind]\ngate = \"gate.test\"\naddress = [\"192.0.2.1\", \"[2001:db8::1]:1000\"]\n\
             key_file = \"secret.key\"\ntarget = \"10.0.0.5\"\nallow = [\"stun:a\"]\ncode_command = [\"/bin/code\", \"hidden\"]\n"
        ),
    );
    assert_eq!(
        home.run(&["profiles"]).ok(),
        "PROFILE  GATE              ADDRESS                              SERVICES\n\
         behind   gate.test         192.0.2.1:62201, [2001:db8::1]:1000  (none) on 10.0.0.5\n\
         home     gate.example.org  gate.example.org:62201               tcp/22, web\n"
    );
    let listed = home.run(&["profiles", "--json"]).json();
    expect_documented(&listed);
    assert_eq!(listed["profiles"][1]["duration_s"], 600);
    for secret in [&key[..20], "secret", "hidden"] {
        assert!(!listed.to_string().contains(secret), "{listed}");
    }
    let file = home.path("config.toml");
    home.write("config.toml", "");
    assert_eq!(
        home.run(&["profiles"]).ok(),
        format!("{} has no profile\n", file.display())
    );
    set_mode(&file, 0o644);
    home.run(&["profiles"]).fails(78, &["chmod 600"]);
    Home::new()
        .run(&["profiles"])
        .fails(66, &["does not exist; "]);
}

#[test]
fn no_command_shows_its_key() {
    let home = home();
    for arguments in [
        "knock home",
        "knock home --json",
        "knock home --dry-run",
        "knock home --dry-run --json",
        "knock home --print",
        "close home --json",
        "run home -q -s udp/53 -- /bin/true",
        "profiles",
        "profiles --json",
    ] {
        let ran = home.run(&arguments.split(' ').collect::<Vec<_>>());
        ran.shows_no_key();
        ran.ok();
    }
    home.run(&["open-packet", "home", "AAAA"]).shows_no_key();
}

#[test]
fn no_error_shows_a_misplaced_key() {
    let key = key(1);
    let ran = Home::with_profile(&format!("key = \"{key}")).run(&["knock", "home"]);
    ran.shows_no_key();
    ran.fails(78, &[]);
    for arguments in [
        &["knock", "home", "--key", &key][..],
        &["knock", "home", &format!("--key={key}")],
        &["knock", "home", &key],
        &["knock", "home", "-s", &key],
        &["knock", "home", "--allow", &key],
        &["knock", "--gate", GATE, "--address", &key, "-s", "tcp/22"],
        &[&key],
    ] {
        let ran = run(&mut postern(arguments));
        ran.shows_no_key();
        ran.fails(2, &[]);
    }
}
