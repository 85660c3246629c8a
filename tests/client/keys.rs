//! `postern keygen`, `open-packet` and `profiles`; and no command shows a key that it uses.

use postern_proto::{PrivateKey, PublicKey, SharedKey};
use serde_json::json;

use crate::setup::{GATE, Home, key, mode, postern, run, says};

fn home() -> Home {
    let services = "services = [\"tcp/22\", \"web\"]\nduration = \"30s\"";
    let key = key(1);
    Home::with_profile(&format!(
        "address = \"127.0.0.1:9\"\nkey = \"{key}\"\n{services}"
    ))
}

#[test]
fn printed_packet_opens() {
    let home = home();
    let packet = home.line("knock home --print").ok();
    let mut from_input = home.command(&["open-packet", "home"]);
    let mut without_profile = postern(&["open-packet", "--gate", GATE, packet.trim()]);
    for command in [
        from_input.write_stdin(packet.clone()),
        without_profile.env("POSTERN_KEY", key(1)),
    ] {
        let rows = "  services  tcp/22, web\n…  allow     127.0.0.1\n  duration  30s\n";
        says(&run(command).ok(), &format!("a knock of … ago:\n…{rows}…"));
    }
}

#[test]
fn unopened_packet_names_its_step() {
    let home = home();
    let packet = home.line("knock home --print").ok();
    let packet = packet.trim();
    // The twelfth character is part of the nonce, after the eight bytes of the hint.
    let other = if &packet[11..12] == "A" { "B" } else { "A" };
    let changed = [&packet[..11], other, &packet[12..]].concat();
    for (arguments, pattern) in [
        (
            &["--gate", "other.example.org", packet][..],
            "…fails at step 2, unknown-hint: …",
        ),
        (&[&changed], "…fails at step 3, bad-mac: …"),
        (&["AAAA"], "…fails at step 1, length: …"),
    ] {
        let ran = home.run(&[&["open-packet", "home"], arguments].concat());
        ran.fails(1, pattern);
    }
    let mut command = home.command(&["open-packet", "home"]);
    let long = run(command.write_stdin("A".repeat(5000)));
    long.fails(74, "standard input: more than 4096 bytes; …");
}

#[test]
fn keygen_makes_new_valid_keys() {
    let make = || run(&mut postern(&["keygen"])).ok();
    let one = make();
    assert_ne!(one, make());
    SharedKey::from_base64(one.strip_suffix('\n').unwrap()).unwrap();
    let pair = run(&mut postern(&["keygen", "--pair"])).ok();
    let pair: toml::Table = pair.parse().unwrap();
    let private = PrivateKey::from_base64(pair["private_key"].as_str().unwrap()).unwrap();
    let public = PublicKey::from_base64(pair["public_key"].as_str().unwrap()).unwrap();
    assert_eq!(private.public(), public);
}

#[test]
fn keygen_output_file_is_private() {
    let home = home();
    let (shared, private) = (home.text_path("shared"), home.text_path("private"));
    assert_eq!(run(&mut postern(&["keygen", "--output", &shared])).ok(), "");
    let pair = ["keygen", "--pair", "--json", "-o", &private];
    let json = run(&mut postern(&pair)).json();
    for file in ["shared", "private"] {
        assert_eq!(mode(&home.path(file)), 0o600);
    }
    let text = postern::adapters::files::read_private(&home.path("private")).unwrap();
    let public = PrivateKey::from_base64(text.trim()).unwrap().public();
    let expected = json!({ "version": 1, "command": "keygen", "public_key": public.to_string(), "file": private });
    assert_eq!(json, expected);
    let knock = format!("knock --gate 127.0.0.1 -s tcp/22 --dry-run --key-file {shared}");
    home.line(&knock).ok();
}

#[test]
fn profiles_are_listed_without_keys() {
    let home = Home::new();
    let key = key(22);
    home.write(
        "config.toml",
        &format!(
            "[home]\ngate = \"{GATE}\"\nkey = \"{key}\"\n[behind]\ngate = \"gate.test\"\nkey_file = \"secret.key\"\n\
             target = \"10.0.0.5\"\nallow = [\"stun:a\"]\ncode_command = [\"/bin/code\", \"hidden\"]\n"
        ),
    );
    for arguments in ["profiles", "profiles --json"] {
        let listed = home.line(arguments).ok();
        says(&listed, "…gate.test…10.0.0.5…");
        for secret in [&key[..20], "secret", "hidden"] {
            assert!(!listed.contains(secret), "{listed}");
        }
    }
    home.write("config.toml", "");
    let none = home.text_path("config.toml") + " has no profile\n";
    assert_eq!(home.line("profiles").ok(), none);
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
        let ran = home.line(arguments);
        ran.shows_no_key();
        ran.ok();
    }
    home.line("open-packet home AAAA").shows_no_key();
}

#[test]
fn no_error_shows_a_misplaced_key() {
    let key = key(1);
    let ran = Home::with_profile(&format!("key = \"{key}")).line("knock home");
    ran.shows_no_key();
    ran.fails(78, "…");
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
        ran.fails(2, "…");
    }
}
