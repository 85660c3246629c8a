//! Whole configs: what they load, and what is refused.

use std::path::Path;

use postern_proto::{GateName, Hint, KeyMaterial, PrivateKey, SharedKey, Step, UserKeys};

use super::bundle::{Bundle, BundleFile};
use super::how::How;
use super::load::read_and_wipe;
use super::*;
use crate::model::settings::Settings;

#[cfg(feature = "etcd")]
mod fleet_keys;
mod loaded;
mod refused;
mod roster;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const FOLDER: &str = "/etc/postern";
const UNTIL: &str = "2026-12-01T00:00:00Z";

fn bundle(main: &str, others: &[(&str, &str)]) -> Bundle {
    let file = |name: &str, text: &str| BundleFile::new(Path::new(FOLDER).join(name), text);
    let mut bundle = Bundle::of_main(Path::new(FOLDER).join("posternd.toml"), main);
    for (name, text) in others {
        let list = if name.starts_with("services.d/") {
            &mut bundle.services
        } else if name.ends_with(".toml") {
            &mut bundle.users
        } else {
            &mut bundle.keys
        };
        list.push(file(name, text));
    }
    bundle
}

fn settings(main: &str) -> Settings {
    load(&bundle(main, &[])).unwrap().settings
}

/// The problems, one a line, without the folder.
fn refused(bundle: &Bundle) -> String {
    let problems = load(bundle).map(|loaded| loaded.settings).unwrap_err();
    let problems = problems.to_string();
    // The monitor, which keeps no keys, refuses the same.
    let of_monitor = super::settings(bundle).unwrap_err();
    assert_eq!(of_monitor.to_string(), problems);
    problems.replace("/etc/postern/", "")
}

fn key(byte: u8) -> String {
    SharedKey::from_bytes([byte; 32]).to_base64().to_string()
}

fn shared(byte: u8) -> KeyMaterial {
    KeyMaterial::shared(&SharedKey::from_bytes([byte; 32]))
}

fn pair(byte: u8) -> PrivateKey {
    PrivateKey::from_bytes([byte; 32])
}

/// Represents key material, which cannot be compared.
fn hint(material: &KeyMaterial) -> Hint {
    let keys = UserKeys::derive(&GateName::new("g").unwrap(), material);
    keys.hint_key().hint(Step(7))
}

/// A `[[user]]` with these lines.
fn user(name: &str, services: &str, lines: &str) -> String {
    format!("[[user]]\nname = \"{name}\"\nservices = [\"{services}\"]\n{lines}\n")
}

/// A gate with this line in `[gate]` and this one in its user, who has a key, a name and services unless the line has them.
fn with(gate: &str, user: &str) -> String {
    let mut text =
        format!("[gate]\nname = \"g\"\n{gate}\n[service.web]\nports = [\"tcp/80\"]\n[[user]]\n");
    for (key, line) in [
        ("name", "name = \"alice\"\n"),
        ("services", "services = [\"web\"]\n"),
    ] {
        if !user.starts_with(key) {
            text.push_str(line);
        }
    }
    let has_key = |kind: &&str| user.starts_with(*kind);
    let kinds = ["key", "public_key", "psk", "fwknop", "sequence"];
    if !kinds.iter().any(has_key) {
        text.push_str(&format!("key = \"{KEY}\"\n"));
    }
    text + user + "\n"
}
