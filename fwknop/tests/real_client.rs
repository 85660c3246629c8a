//! fwknop's own client makes a packet with the options of every vector, and this crate reads it.
//!
//! Needs Debian's package fwknop-client: `cargo test -p postern-fwknop real_client -- --ignored`. Sends nothing.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{File, Vector, hex, vectors};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_fwknop::{Opened, Packet, Reason};

#[test]
#[ignore = "needs fwknop's client"]
fn new_packets_of_the_client_decode() {
    for vector in vectors() {
        let (opened, printed) = made(&vector);
        let opened = opened.unwrap_or_else(|reason| panic!("{}: {reason}", vector.name));
        let request = &opened.request;
        let nat = request.target().map(ToString::to_string);
        for (field, expected) in [
            ("Random Value", &opened.random),
            ("Username", &request.user),
            ("Timestamp", &request.timestamp_s.to_string()),
            ("FKO Version", &opened.version),
            ("Message String", &request.message_text()),
            ("Nat Access", &nat.unwrap_or("<NULL>".into())),
            ("Encoded Data", &opened.encoded),
            ("SPA Data Digest", &opened.digest),
        ] {
            let line = format!("{field}: {expected}");
            let found = printed.lines().any(|printed| printed.trim() == line);
            assert!(found, "{}: {line}\n{printed}", vector.name);
        }
        assert_eq!(request.type_number(), vector.expect.kind, "{}", vector.name);
    }
}

#[test]
#[ignore = "needs fwknop's client"]
fn new_packets_in_other_modes_are_refused() {
    let text = include_str!("vectors/client-other-modes.json");
    for vector in serde_json::from_str::<File>(text).unwrap().vectors {
        let reason = made(&vector).0.unwrap_err();
        assert_eq!(reason.as_str(), format!("mode-{}", vector.encryption_mode));
    }
}

/// The packet that the client makes with a vector's options, opened, and what the client prints.
fn made(vector: &Vector) -> (Result<Opened, Reason>, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&vector.name);
    fs::create_dir_all(&folder).unwrap();
    let (settings, packet) = (folder.join("fwknoprc"), folder.join("packet"));
    fs::write(&settings, "").unwrap();
    fs::set_permissions(
        &settings,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let _ = fs::remove_file(&packet);

    let base64 = |text: &str| STANDARD.encode(hex(text));
    let mut client = Command::new("fwknop");
    client
        .arg("--rc-file")
        .arg(&settings)
        .arg("-B")
        .arg(&packet);
    client.args(["--no-save-args", "-T", "-D", "127.0.0.1"]);
    client.args(["-U", "alice"]);
    client.args(["--key-base64-rijndael", &base64(&vector.encryption_key_hex)]);
    if let Some(key) = &vector.hmac_key_hex {
        client.args(["--use-hmac", "--key-base64-hmac", &base64(key)]);
        client.args(["--hmac-digest-type", &vector.hmac_type]);
    }
    let output = client.args(&vector.client_options).output().unwrap();
    let line = fs::read(&packet).unwrap();
    let key = vector.key();
    let opened = Packet::parse_line(&line).and_then(|packet| key.open(&key.verify(&packet)?));
    (opened, String::from_utf8(output.stdout).unwrap())
}
