//! Whole configs that load; beside this file, those that do not.

use std::path::Path;
use std::time::Duration;

use postern_proto::{GateName, Hint, PresharedKey, PrivateKey, SharedKey, Step, UserKeys};

use super::*;
use crate::adapters::config::bundle::BundleFile;
use crate::model::policy::{GrantTo, MaxPrefix, Policy};
use crate::model::settings::{CaptureKind, DriverKind, Interfaces, OnStop};

mod programs;
mod refusals;
mod secrets;
mod states;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const FOLDER: &str = "/etc/postern";

fn bundle(main: &str, others: &[(&str, &str)]) -> Bundle {
    let file = |name: &str, text: &str| BundleFile {
        path: Path::new(FOLDER).join(name),
        text: text.to_owned().into(),
    };
    let (mut users, mut keys) = (Vec::new(), Vec::new());
    for (name, text) in others {
        if name.starts_with("users.d/") {
            users.push(file(name, text))
        } else {
            keys.push(file(name, text))
        }
    }
    Bundle {
        main: Some(file("posternd.toml", main)),
        users,
        keys,
    }
}

/// The problems, one a line, without the folder.
fn refused(bundle: &Bundle) -> String {
    load(bundle)
        .map(|loaded| loaded.settings)
        .unwrap_err()
        .to_string()
        .replace("/etc/postern/", "")
}

fn key(byte: u8) -> String {
    SharedKey::from_bytes([byte; 32]).to_base64().to_string()
}

fn hint(gate: &str, material: &KeyMaterial) -> Hint {
    let keys = UserKeys::derive(&GateName::new(gate).unwrap(), material);
    keys.hint_key().hint(Step(7))
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
    if !["key", "public_key", "psk"]
        .iter()
        .any(|kind| user.starts_with(kind))
    {
        text.push_str(&format!("key = \"{KEY}\"\n"));
    }
    text + user + "\n"
}

#[test]
fn the_example_of_the_design_loads() {
    let text = r#"
[gate]
name = "gate.example.org"          # part of every key: a knock for another gate never fits
port = 62201                       # UDP port that knocks come to; a list is allowed
interfaces = ["any"]               # or names; they may come and go
window = "30s"                     # 5s..5m, both directions
state_dir = "/var/lib/postern"
control_socket = "/run/postern/control.sock"
run_as = "nobody"                  # the engine's user
capture = "packet"                 # "packet" (passive) | "udp" (a bound, never-answering socket, where raw capture is not allowed)

[firewall]
backend = "auto"                   # "iptables" | "nftables" | "command" | "auto": iptables where the program is there, else native nftables
protect = "services"               # also close, for everyone else, every service that some user may open; "none": the host's own rules do it
on_stop = "keep"                   # "keep": grants run out, protection stays (fail closed) | "remove"

[service.web]                      # named services
ports = ["tcp/80", "tcp/443"]
end_connections = false            # true: connections to it end with the grant that they rest on

[[user]]                           # here, or one file a user under users.d/*.toml
name = "alice"
key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="                    # shared key; or public_key = "…" (and optionally psk), or key_file
services = ["tcp/22", "web"]
targets = []                       # other hosts behind this gate, as CIDRs; empty: only the gate itself
grant_to = "either"                # "claimed": the address inside the knock | "observed": the packet's source | "either"
networks = ["0.0.0.0/0", "::/0"]   # which addresses may be let in at all
max_prefix = { v4 = 32, v6 = 128 } # widest network one grant may admit
duration = "30s"                   # granted when the knock asks for none
max_duration = "1h"
quota = "30/min"                   # admitted knocks
end_connections = false            # true: connections end with the grant that they rest on
"#;
    let loaded = load(&bundle(text, &[])).unwrap();
    let [alice] = loaded.settings.policies.as_slice() else {
        panic!("one user")
    };
    let services = vec!["tcp/22".parse().unwrap(), "web".parse().unwrap()];
    assert_eq!(
        *alice,
        Policy::for_user("alice", services),
        "what the example shows are the defaults"
    );
    assert_eq!(
        hint("gate.example.org", &loaded.keys[0]),
        hint(
            "gate.example.org",
            &KeyMaterial::shared(&SharedKey::from_base64(KEY).unwrap())
        )
    );

    let sparse = format!(
        "gate.name = \"gate.example.org\"\n[[user]]\nname = \"alice\"\nkey = \"{KEY}\"\nservices = [\"tcp/22\"]"
    );
    let sparse = load(&bundle(&sparse, &[])).unwrap();
    let (shown, defaults) = (loaded.settings, sparse.settings);
    assert_eq!(
        format!("{:?} {:?}", shown.gate, shown.firewall),
        format!("{:?} {:?}", defaults.gate, defaults.firewall)
    );
    assert_eq!(defaults.gate.ports, [62201]);
    assert_eq!(defaults.gate.window, Duration::from_secs(30));
    assert_eq!(defaults.gate.interfaces, Interfaces::Any);
}

#[test]
fn services_that_forward_reach_the_settings_and_the_protection() {
    let text = format!(
        r#"
[gate]
name = "g"
[service.inner-ssh]
ports = ["tcp/2222"]
forward = "10.0.0.5:22"
masquerade = true
[service.inner-ssh6]
ports = ["tcp/2222"]
forward = "[fd00::5]:22"
[service.media]
ports = ["udp/5000-5010"]
forward = "10.0.0.6"
[service.unused]
ports = ["tcp/99"]
forward = "10.0.0.9:99"
[service.web]
ports = ["tcp/80"]
[[user]]
name = "alice"
key = "{KEY}"
services = ["inner-ssh", "inner-ssh6", "media", "web", "tcp/22"]
targets = ["10.1.0.0/24", "10.0.0.6/32"]
"#
    );
    let settings = load(&bundle(&text, &[])).unwrap().settings;
    let forwards: Vec<String> = settings
        .options
        .values()
        .filter_map(|options| options.forward)
        .map(|forward| forward.to_string())
        .collect();
    assert_eq!(
        forwards,
        [
            "tcp/2222 forwarded to 10.0.0.5:22 (masqueraded)",
            "tcp/2222 forwarded to [fd00::5]:22",
            "udp/5000-5010 forwarded to 10.0.0.6",
            "tcp/99 forwarded to 10.0.0.9:99"
        ]
    );
    assert!(settings.options["web"].forward.is_none());
    let protection = settings.protection();
    assert_eq!(
        crate::model::service::list(&protection.services),
        "tcp/22, tcp/80, tcp/2222, udp/5000-5010"
    );
    let behind: Vec<String> = protection
        .behind
        .iter()
        .map(|(network, ports)| format!("{network} {ports}"))
        .collect();
    assert_eq!(
        behind,
        [
            "10.0.0.5/32 tcp/22",
            "10.0.0.6/32 tcp/22",
            "10.0.0.6/32 tcp/80",
            "10.0.0.6/32 udp/5000-5010",
            "10.1.0.0/24 tcp/22",
            "10.1.0.0/24 tcp/80",
            "fd00::5/128 tcp/22"
        ],
        "the port of a forward is not opened at targets"
    );
    assert_eq!(
        (protection.forwards.len(), protection.hide_behind),
        (3, true),
        "what nobody may open is not translated"
    );
    assert!(
        protection
            .closed()
            .contains("udp/5000-5010, tcp/22 at 10.0.0.5/32, "),
        "{}",
        protection.closed()
    );
}

#[test]
fn every_key_reaches_the_settings() {
    let text = format!(
        r#"
[gate]
name = "g"
port = [62202, 0xF2F9]
address = ["gate.example.org", "[2001:db8::1]:5000"]
interfaces = ["eth0", "wg0"]
window = "2m"
state_dir = "/s"
control_socket = "/c"
run_as = "postern"
capture = "udp"
[firewall]
backend = "nftables"
protect = "none"
on_stop = "remove"
[metrics]
file = "/m.prom"
interval = "1m"
listen = "[::1]:9162"
[service.vpn]
ports = ["udp/51820"]
end_connections = true
[service.web]
ports = ["tcp/443"]
[[user]]
name = "a@b"
key = '{KEY}'
services = ["udp/5000-5010"]
targets = ["10.0.0.0/8"]
grant_to = "observed"
networks = ["2001:db8::/32"]
max_prefix.v4 = 24
duration = "10m"
max_duration = "2h"
quota = "5/10s"
end_connections = true
"#
    );
    let Settings {
        gate,
        firewall,
        metrics,
        policies,
        options,
        ..
    } = load(&bundle(&text, &[])).unwrap().settings;
    assert_eq!(
        (gate.ports, gate.window),
        (vec![62201, 62202], Duration::from_secs(120))
    );
    let addresses: Vec<String> = gate.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["gate.example.org:62201", "[2001:db8::1]:5000"]);
    assert_eq!(
        gate.interfaces,
        Interfaces::Named(vec!["eth0".to_owned(), "wg0".to_owned()])
    );
    assert_eq!(
        (gate.state_dir.as_path(), gate.control_socket.as_path()),
        (Path::new("/s"), Path::new("/c"))
    );
    assert_eq!(
        (gate.run_as.as_str(), gate.capture),
        ("postern", CaptureKind::Udp)
    );
    assert_eq!(
        (firewall.backend, firewall.protect, firewall.on_stop),
        (DriverKind::Nftables, false, OnStop::Remove)
    );
    assert_eq!(
        (metrics.file.as_deref(), metrics.interval.as_secs()),
        (Some(Path::new("/m.prom")), 60)
    );
    assert_eq!(metrics.listen, Some("[::1]:9162".parse().unwrap()));
    let ending: Vec<(&str, bool)> = options
        .iter()
        .map(|(name, options)| (name.as_str(), options.end_connections))
        .collect();
    assert_eq!(ending, [("vpn", true), ("web", false)]);
    let user = &policies[0];
    assert!(user.end_connections);
    assert_eq!(
        (user.user.as_str(), user.grant_to, user.max_prefix),
        ("a@b", GrantTo::Observed, MaxPrefix { v4: 24, v6: 128 })
    );
    assert_eq!(
        (
            user.duration.as_secs(),
            user.max_duration.as_secs(),
            user.quota.to_string().as_str()
        ),
        (600, 7200, "5/10s")
    );
    assert_eq!(
        format!("{:?} {:?} {:?}", user.services, user.targets, user.networks),
        "[Ports(udp/5000-5010)] [10.0.0.0/8] [2001:db8::/32]"
    );
}

#[test]
fn users_come_from_the_main_file_then_from_users_d_each_in_its_order() {
    let user = |name: &str, byte| {
        format!(
            "name = \"{name}\"\nkey = \"{}\"\nservices = [\"tcp/22\"]\n",
            key(byte)
        )
    };
    let main = format!(
        "[gate]\nname = \"g\"\n[[user]]\n{}[[user]]\n{}",
        user("zoe", 1),
        user("adam", 2)
    );
    let beside = format!("[[user]]\n{}[[user]]\n{}", user("bob", 4), user("carl", 5));
    let loaded = load(&bundle(
        &main,
        &[
            ("users.d/1.toml", &user("mary", 3)),
            ("users.d/2.toml", &beside),
            ("users.d/3.toml", "# nobody\n"),
        ],
    ))
    .unwrap();
    let names: Vec<&str> = loaded
        .settings
        .policies
        .iter()
        .map(|policy| policy.user.as_str())
        .collect();
    assert_eq!(names, ["zoe", "adam", "mary", "bob", "carl"]);
    for (material, byte) in loaded.keys.iter().zip(1..) {
        assert_eq!(
            hint("g", material),
            hint(
                "g",
                &KeyMaterial::shared(&SharedKey::from_bytes([byte; 32]))
            ),
            "{byte}"
        );
    }
    assert_eq!(loaded.keys.len(), 5);
    assert!(
        load(&bundle("gate.name = \"g\"", &[]))
            .unwrap()
            .keys
            .is_empty(),
        "a gate without users is legal"
    );
}

#[test]
fn keys_come_from_the_files_that_the_config_names() {
    let (gate, client) = (
        PrivateKey::from_bytes([7; 32]),
        PrivateKey::from_bytes([8; 32]),
    );
    let main = with(
        "private_key = \"gate.key\"",
        &format!("public_key = \"{}\"\npsk = \"{}\"", client.public(), key(9)),
    );
    let beside = "name = \"bob\"\nkey_file = \"bob.key\"\nservices = [\"web\"]";
    let named = key_files(&bundle(&main, &[("users.d/bob.toml", beside)]));
    assert_eq!(
        named,
        [
            Path::new("/etc/postern/users.d/bob.key"),
            Path::new("/etc/postern/gate.key")
        ]
    );

    let mut whole = bundle(
        &main,
        &[("users.d/bob.toml", beside), ("gate.key", &key(7))],
    );
    whole.keys.push(BundleFile {
        path: named[0].clone(),
        text: format!("{}\n", key(3)).into(),
    });
    let keys = load(&whole).unwrap().keys;
    let preshared = PresharedKey::from_bytes([9; 32]);
    let theirs = KeyMaterial::pair_at_client(&client, &gate.public(), Some(&preshared)).unwrap();
    assert_eq!(hint("g", &keys[0]), hint("g", &theirs));
    assert_eq!(
        hint("g", &keys[1]),
        hint("g", &KeyMaterial::shared(&SharedKey::from_bytes([3; 32])))
    );

    let unused = with("private_key = \"gate.key\"", "");
    assert!(
        key_files(&bundle(&unused, &[])).is_empty(),
        "no user needs the gate's key"
    );
    assert!(load(&bundle(&unused, &[])).is_ok());
}

#[test]
fn ten_thousand_users_with_keys_in_files_load_at_once() {
    let mut main = "[gate]\nname = \"g\"\n".to_owned();
    let mut whole = bundle("", &[]);
    for i in 0..10_000_u32 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&i.to_be_bytes());
        let path = format!("/keys/{i}");
        main += &format!(
            "[[user]]\nname = \"user{i}\"\nservices = [\"tcp/22\"]\nkey_file = \"{path}\"\n"
        );
        whole.keys.push(BundleFile {
            path: path.into(),
            text: SharedKey::from_bytes(bytes).to_base64().to_string().into(),
        });
    }
    whole.main = bundle(&main, &[]).main;
    assert_eq!(key_files(&whole).len(), 10_000);
    assert_eq!(load(&whole).unwrap().keys.len(), 10_000);
}

#[test]
fn secrets_for_codes_go_to_their_own_users_and_not_into_the_policy() {
    let secret = "gezdgnbvgy3tqojqgezdgnbvgy3tqojq";
    let user = |name: &str, byte, more: &str| {
        format!(
            "[[user]]\nname = \"{name}\"\nkey = \"{}\"\nservices = [\"tcp/22\"]\n{more}\n",
            key(byte)
        )
    };
    let text = format!(
        "[gate]\nname = \"g\"\n{}{}{}",
        user("amy", 1, ""),
        user("bob", 2, &format!("totp = \"{secret}\"")),
        user(
            "eve",
            3,
            &format!("totp = \"{}\"\ntotp_digits = 8", secret.to_uppercase())
        ),
    );
    let loaded = load(&bundle(&text, &[])).unwrap();
    let expected = [None, Some(6), Some(8)]
        .map(|digits| digits.map(|digits| CodeKey::from_base32(secret, digits).unwrap()));
    assert_eq!(loaded.codes, expected);
    let shown = format!("{loaded:?}");
    assert!(
        !shown.to_lowercase().contains(&secret[..8]) && !shown.contains("49, 50, 51"),
        "{shown}"
    );
    assert_eq!(
        loaded.settings.policies[0].clone(),
        Policy {
            user: "amy".to_owned(),
            ..loaded.settings.policies[1].clone()
        }
    );
}
