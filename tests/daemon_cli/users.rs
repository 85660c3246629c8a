//! `posternd user`: the files it writes, the output for clients, and refusals.

use std::fs;
use std::path::Path;

use postern::client::profile::{self, KeySource, PosternKey};
use postern::client::token::{EnrollRequest, Token, TokenKey};
use postern_proto::{CodeKey, CodeStep, PrivateKey, SharedKey};
use serde_json::{Value, json};

use crate::gate::{Gate, KEY, says};

/// A gate with a key pair and an address. Its config has alice.
pub(crate) fn gate() -> Gate {
    let gate = Gate::with("private_key = \"gate.key\"\naddress = \"192.0.2.1\"");
    gate.write("gate.key", &format!("{}\n", &*gate_key().to_base64()));
    gate
}

fn gate_key() -> PrivateKey {
    PrivateKey::from_bytes([9; 32])
}

fn client_key() -> PrivateKey {
    PrivateKey::from_bytes([7; 32])
}

/// A shared key of this byte.
pub(crate) fn key_text(byte: u8) -> String {
    SharedKey::from_bytes([byte; 32]).to_base64().to_string()
}

pub(crate) fn request() -> String {
    let request = EnrollRequest {
        public_key: client_key().public(),
        profile: Some("home".to_owned()),
    };
    request.to_line().unwrap().to_string()
}

/// Names in `users.d`, without the lock.
pub(crate) fn users(gate: &Gate) -> Vec<String> {
    let entries = fs::read_dir(gate.path("users.d")).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

/// The value of a key in a user's file.
pub(crate) fn value(gate: &Gate, user: &str, key: &str) -> Option<String> {
    let text = gate.text(&format!("users.d/{user}.toml"));
    let table: toml::Table = text.parse().unwrap();
    let value = table.get(key)?;
    Some(
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
    )
}

/// The token in the output as text.
fn token(said: &str) -> Token {
    let is_token = |line: &&str| line.starts_with("postern-");
    Token::from_line(said.lines().find(is_token).expect(said)).unwrap()
}

/// The token and the profile in the output as JSON.
fn handout(said: &Value) -> (Token, profile::Profile) {
    let profile = said["profile"].as_str().unwrap();
    let mut profiles = profile::parse(profile, Path::new("config.toml")).unwrap();
    let name = said["profile_name"].as_str().unwrap();
    (
        token(said["token"].as_str().unwrap()),
        profiles.remove(name).unwrap(),
    )
}

fn addresses(profile: &profile::Profile) -> Vec<String> {
    profile.addresses.iter().map(ToString::to_string).collect()
}

pub(crate) fn shared_key_user_has_equal_profile_and_token() {
    let gate = gate();
    let said = gate
        .run("user add bob -s tcp/22 -s udp/5000-5010 --json")
        .json();
    let modes = ["users.d", "users.d/bob.toml"].map(|name| gate.mode_of(name));
    assert_eq!(modes, [0o700, 0o600]);
    assert_eq!(users(&gate), ["bob.toml"]);
    let (token, profile) = handout(&said);
    let key = SharedKey::from_base64(&value(&gate, "bob", "key").unwrap()).unwrap();
    assert!(
        matches!(&profile.key, Some(KeySource::Postern(PosternKey::Shared(shared))) if *shared == key)
    );
    assert_eq!(token.key, TokenKey::Shared(key));
    let expected = ("bob", "gate.test");
    assert_eq!((token.user.as_str(), token.gate.as_str()), expected);
    assert_eq!(addresses(&profile), ["192.0.2.1:62201"]);
    let both = (&token.gate, &token.addresses, &token.services);
    assert_eq!((&profile.gate, &profile.addresses, &profile.services), both);
    says(&gate.run("check").ok(), "…ok: gate gate.test, 2 users; …");
}

pub(crate) fn every_option_reaches_file_and_profile() {
    let gate = gate();
    let added = gate.run(
        "user add bob@example.org -s tcp/22 --target 10.0.0.0/24 --target fd00::/64 --network 192.0.2.0/24 \
         --from 198.51.100.0/24 --expires 2099-06-30 --grant-to observed --duration 10m --max-duration 2h --quota 5/10s \
         --address gate.example.org:5000 --address 2001:db8::1 --json",
    );
    let user = gate.run("user show bob@example.org --json").json()["user"].clone();
    for (key, wanted) in [
        ("targets", json!(["10.0.0.0/24", "fd00::/64"])),
        ("networks", json!(["192.0.2.0/24"])),
        ("from", json!(["198.51.100.0/24"])),
        ("expires", 4_086_460_800_000_u64.into()),
        ("grant_to", "observed".into()),
        ("duration_s", 600.into()),
        ("max_duration_s", 7200.into()),
        ("quota", "5/10s".into()),
        ("own_file", true.into()),
    ] {
        assert_eq!(user[key], wanted, "{key}: {user}");
    }
    let (_, profile) = handout(&added.json());
    let expected = ["gate.example.org:5000", "[2001:db8::1]:62201"];
    assert_eq!(addresses(&profile), expected);
    assert_eq!(profile.allow, profile::AllowSetting::Source);
    assert_eq!(profile.duration, Some(std::time::Duration::from_secs(600)));
    let limits = (profile.grant_to.name(), profile.quota.to_string());
    assert_eq!(limits, ("observed", "5/10s".to_owned()));
}

pub(crate) fn end_of_a_user_is_told() {
    let gate = gate();
    let add = |name: &str, end: &str| {
        let end = gate.run(&format!("user add {name} -s tcp/22 --expires {end}"));
        end.ok();
    };
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(13 * 24);
    let soon = soon.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    add("bob", "2026-01-02");
    add("carol", &soon);
    add("dave", "2099-06-30T01:00:00+01:00");
    let listed = gate.run("user list").ok();
    let states = [
        "bob…expired 2026-01-02T00:00:00Z",
        &format!("carol…expires {soon}"),
        "dave…expires 2099-06-30T00:00:00Z",
    ];
    states
        .iter()
        .for_each(|state| says(&listed, &format!("…{state}…")));
    let check = gate.run("check").ok();
    says(
        &check,
        "…note: user bob expired at 2026-01-02T00:00:00Z [user-expired]\n…",
    );
    says(
        &check,
        &format!("…note: user carol expires at {soon} [user-expires]\n…"),
    );
    assert!(!check.contains("dave"), "{check}");
    says(
        &gate.run("user show dave").ok(),
        "…  expires     2099-06-30T00:00:00Z\n…",
    );
}

pub(crate) fn wrong_user_arguments_write_nothing() {
    let gate = gate();
    let three =
        "…\"x\" is not a network; …\n…10.0.0.1/24 has host bits set; …\n…\"5\" is not a quota; …";
    for (options, pattern) in [
        (
            "-s web",
            "…unknown service \"web\"; add a [service.NAME] with…",
        ),
        (
            "-s tcp/22 --network 10.0.0.1/24 --quota 5 --target x",
            three,
        ),
        (
            "-s tcp/22 --duration 2h",
            "…a duration of 2h is longer than max_duration, 1h; …",
        ),
        (
            "-s tcp/22 --max-duration 1y\"\nkey=\"x",
            "…is not a length of time; …",
        ),
        ("-s tcp/22 --psk", "…--psk needs a key pair; …"),
        (
            "-s tcp/22 --request postern-request-1.AAAA",
            "…--request: this line is cut or mistyped; …",
        ),
    ] {
        let words: Vec<&str> = options.split(' ').collect();
        let ran = gate.run_words(&[&["user", "add", "bob"], &words[..]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
        says(&ran.err, pattern);
        assert!(ran.err.lines().all(|line| line.starts_with("posternd: ")));
        assert_eq!(ran.err.lines().count(), pattern.lines().count());
    }
    let long = "b".repeat(65);
    for name in ["../bob", ".bob", "a/b", "", "bob\n", "-bob", "b b", &long] {
        for command in ["add", "show", "remove", "disable", "enable", "rotate"] {
            let services: &[&str] = if command == "add" {
                &["-s", "tcp/22"]
            } else {
                &[]
            };
            let words = [&["user", command], services, &["--", name]].concat();
            assert_eq!(gate.run_words(&words).code, Some(2), "{command} {name:?}");
        }
    }
    assert!(users(&gate).is_empty());
}

pub(crate) fn existing_user_is_not_overwritten() {
    let gate = gate();
    gate.run("user add alice -s tcp/22")
        .fails(1, "user alice already exists, in …posternd.toml:10; …");
    gate.write("carol.key", &format!("{}\n", key_text(1)));
    let other = "name = \"carol\"\nservices = [\"tcp/1\"]\nkey_file = \"FOLDER/carol.key\"\n";
    gate.write_user("bob", &format!("[[user]]\n{other}"));
    gate.run("user add bob -s tcp/22").fails(
        1,
        "…bob.toml already exists; move it away, or choose another name…",
    );
    says(&gate.text("users.d/bob.toml"), "…carol…");
}

pub(crate) fn invalid_config_gets_no_user() {
    let gate = Gate::good("windw = \"30s\"", "", "key = \"KEY\"");
    for command in ["add bob -s tcp/22", "list", "disable alice"] {
        gate.run(&format!("user {command}"))
            .fails(78, "…posternd.toml:5:1: unknown key \"windw\" in [gate]; …");
    }
    assert!(!gate.path("users.d").exists());
    let gate = Gate::good("", "", "key = \"KEY\"");
    gate.run("user add bob -s tcp/22 --pair").fails(
        78,
        "…the config names no private key of the gate, …make one with posternd init…",
    );
    assert!(users(&gate).is_empty());
}

pub(crate) fn enrolled_user_needs_no_secret() {
    let line = request();
    for script in [
        "exec \"$@\" --request LINE",
        "echo LINE | \"$@\" --request -",
    ] {
        let gate = gate();
        let script = script.replace("LINE", &line);
        let said = gate.run_through(&script, "user add bob -s tcp/22").ok();
        let token = token(&said);
        let key = TokenKey::Enrolled {
            own: client_key().public(),
            gate: gate_key().public(),
            psk: None,
        };
        assert_eq!((token.key, token.profile.as_deref()), (key, Some("home")));
        let public = client_key().public().to_base64().to_string();
        assert_eq!(value(&gate, "bob", "public_key"), Some(public));
        let written = said.clone() + &gate.text("users.d/bob.toml") + &line;
        for secret in [client_key().to_base64(), gate_key().to_base64()] {
            assert!(!written.contains(&secret[..20]), "{written}");
        }
        let profile = "private_key_file = \"home.key\"";
        says(
            &said,
            &format!("…{profile}…in which nothing is secret…postern knock home\n"),
        );
    }
}

pub(crate) fn local_pair_leaves_only_public_key() {
    let gate = gate();
    let said = gate.run("user add bob -s tcp/22 --pair --psk").ok();
    let key = token(&said).key;
    let TokenKey::Pair {
        own,
        gate: public,
        psk,
    } = key
    else {
        panic!("{key:?}")
    };
    assert_eq!(public, gate_key().public());
    let text = |key: &postern_proto::KeyText| Some(key.to_string());
    let found = value(&gate, "bob", "public_key");
    assert_eq!(found, text(&own.public().to_base64()));
    assert_eq!(value(&gate, "bob", "psk"), text(&psk.unwrap().to_base64()));
    assert!(!gate.text("users.d/bob.toml").contains(&*own.to_base64()));
}

pub(crate) fn code_secret_is_not_in_the_token() {
    let gate = gate();
    let said = gate.run("user add bob -s tcp/22 --totp --json").json();
    let secret = value(&gate, "bob", "totp").unwrap();
    let uri = said["totp_uri"].as_str().unwrap();
    says(
        uri,
        &format!("otpauth://totp/gate.test:bob?secret={secret}&…&digits=6&period=30"),
    );
    let code = CodeKey::from_base32(&secret, 6).unwrap().code(CodeStep(1));
    assert_eq!(code.as_str().len(), 6, "the gate reads what was made");
    assert!(!said["profile"].to_string().contains(&secret));
    let (token, profile) = handout(&said);
    assert!(token.code && profile.code == Some(profile::CodeSource::Ask));
    let (token, _) = handout(&gate.run("user rotate bob --json").json());
    assert!(token.code, "the secret of the codes stays");
    let drawn = gate.run("user add carol -s tcp/22 --totp --qr").ok();
    let corners = drawn
        .lines()
        .filter(|line| line.starts_with("████ ▄▄▄▄▄ █"));
    assert_eq!(corners.count(), 4, "two codes: {drawn}");
    assert!(!drawn.contains('\u{1b}'), "colours need a terminal");
}

pub(crate) fn user_list_shows_no_secret() {
    let gate = gate();
    gate.run("user add carol -s tcp/443").ok();
    gate.run("user disable carol").ok();
    let secret = value(&gate, "carol", "key").unwrap();
    let commands = ["list", "show carol", "list --json", "show carol --json"];
    for command in commands {
        let shown = gate.run(&format!("user {command}")).ok();
        says(&shown, "…carol…");
        says(&shown, "…disabled…");
        let is_hidden = [&secret[..20], &KEY[..20]]
            .iter()
            .all(|part| !shown.contains(part));
        assert!(is_hidden, "{shown}");
    }
}

/// A million users must not take gigabytes.
pub(crate) fn user_list_needs_little_memory() {
    let gate = gate();
    let user = |n: u32| {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        let key = SharedKey::from_bytes(key).to_base64();
        format!(
            "[[user]]\nname = \"user{n}\"\nkey = \"{}\"\nservices = [\"tcp/22\"]\n",
            &*key
        )
    };
    gate.write_user("many", &(0..20_000).map(user).collect::<String>());
    for command in ["user list", "user list --json"] {
        let listed = gate
            .run_through("ulimit -d 100000; exec \"$@\"", command)
            .ok();
        says(&listed, "…user19999…");
    }
}

pub(crate) fn concurrent_adds_lose_no_user() {
    let gate = gate();
    let names: Vec<String> = (0..8).map(|n| format!("user-{n}")).collect();
    let names: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .chain(["same"; 4])
        .collect();
    let add = |name| gate.run_words(&["user", "add", name, "-s", "tcp/22"]).code;
    let codes: Vec<Option<i32>> = std::thread::scope(|scope| {
        let added = names.iter().map(|name| scope.spawn(|| add(*name)));
        let added: Vec<_> = added.collect();
        added.into_iter().map(|ran| ran.join().unwrap()).collect()
    });
    let (different, same) = codes.split_at(8);
    assert_eq!(different, [Some(0); 8]);
    let count = |code| same.iter().filter(|found| **found == Some(code)).count();
    assert_eq!((count(0), count(1)), (1, 3), "{same:?}");
    let listed = gate.run("user list --json").json();
    assert_eq!(listed["users"].as_array().unwrap().len(), 10);
}

pub(crate) fn addresses_use_gate_port_and_are_limited() {
    let gate = Gate::with("port = [5000, 6000]");
    let given = "--address 192.0.2.1 --address 2001:db8::1 --address other:62201";
    for command in ["add bob -s tcp/22", "rotate bob"] {
        let (_, profile) = handout(&gate.run(&format!("user {command} {given} --json")).json());
        let expected = ["192.0.2.1:5000", "[2001:db8::1]:5000", "other:62201"];
        assert_eq!(addresses(&profile), expected);
    }
    let before = gate.text("users.d/bob.toml");
    let five = "--address h ".repeat(5);
    for command in ["add carol -s tcp/22", "rotate bob"] {
        let what = "--address is given 5 times, but a profile has at most 4; …";
        gate.run(&format!("user {command} {five}")).fails(2, what);
    }
    assert_eq!(users(&gate), ["bob.toml"]);
    assert_eq!(gate.text("users.d/bob.toml"), before);
    // A name that is no host needs an address.
    let paths = "state_dir = \"FOLDER/state\"\ncontrol_socket = \"FOLDER/control.sock\"\n";
    let gate = Gate::new(&format!("[gate]\nname = \"our gate\"\n{paths}"));
    let what = "…because the gate's name \"our gate\" is no host; give --address HOST, …";
    gate.run("user add bob -s tcp/22").fails(1, what);
    assert!(users(&gate).is_empty());
    let added = gate.run("user add bob -s tcp/22 --address 192.0.2.1 --json");
    assert_eq!(added.json()["profile_name"], "gate");
}
