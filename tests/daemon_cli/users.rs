//! `posternd user`: the files it writes, the output for clients, and refusals.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use postern::client::profile::{self, KeySource};
use postern::client::token::{EnrollRequest, Token, TokenKey};
use postern_proto::{CodeKey, CodeStep, PrivateKey, SharedKey};
use serde_json::Value;

use crate::gate::{Arguments, Gate, KEY, Ran};

/// A gate with a key pair and an address. Its config has alice.
pub(crate) fn gate() -> Gate {
    let gate = Gate::good(
        "private_key = \"gate.key\"\naddress = \"192.0.2.1\"",
        "backend = \"iptables\"",
        "key = \"KEY\"",
    );
    gate.write("gate.key", &format!("{}\n", &*gate_key().to_base64()));
    gate
}

pub(crate) fn gate_key() -> PrivateKey {
    PrivateKey::from_bytes([9; 32])
}

pub(crate) fn client_key() -> PrivateKey {
    PrivateKey::from_bytes([7; 32])
}

pub(crate) fn request() -> String {
    EnrollRequest {
        public_key: client_key().public(),
        profile: Some("home".to_owned()),
    }
    .to_line()
    .unwrap()
    .to_string()
}

pub(crate) fn ok(ran: Ran) -> String {
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    ran.out
}

pub(crate) fn json(gate: &Gate, arguments: impl Arguments) -> Value {
    let words = [arguments.words(), vec!["--json"]].concat();
    serde_json::from_str(&ok(gate.run(&words))).unwrap()
}

pub(crate) fn text(gate: &Gate, name: &str) -> String {
    fs::read_to_string(gate.path(name)).unwrap()
}

pub(crate) fn mode(gate: &Gate, name: &str) -> u32 {
    fs::metadata(gate.path(name)).unwrap().permissions().mode() & 0o7777
}

/// Names in `users.d`, without the lock.
pub(crate) fn users(gate: &Gate) -> Vec<String> {
    let Ok(entries) = fs::read_dir(gate.path("users.d")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

/// The value of a key in a user's file.
pub(crate) fn value(gate: &Gate, user: &str, key: &str) -> Option<String> {
    let table: toml::Table = text(gate, &format!("users.d/{user}.toml")).parse().unwrap();
    table.get(key).map(|value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    })
}

pub(crate) fn shared_key_user_has_equal_profile_and_token() {
    let gate = gate();
    let said = ok(gate.run("user add bob -s tcp/22 -s udp/5000-5010"));
    assert_eq!(
        (
            mode(&gate, "users.d"),
            mode(&gate, "users.d/bob.toml"),
            users(&gate)
        ),
        (0o700, 0o600, vec!["bob.toml".to_owned()])
    );
    assert!(
        said.starts_with(&format!(
            "user bob is added, in {}\nno posternd is running: ",
            gate.path("users.d/bob.toml").display()
        )),
        "{said}"
    );
    let key = value(&gate, "bob", "key").unwrap();
    let line = said
        .lines()
        .find(|line| line.starts_with("postern-secret-1."))
        .unwrap();
    let token = Token::from_line(line).unwrap();
    assert_eq!(
        token.key,
        TokenKey::Shared(SharedKey::from_base64(&key).unwrap())
    );
    assert_eq!(
        (
            token.user.as_str(),
            token.gate.as_str(),
            token.addresses[0].to_string().as_str()
        ),
        ("bob", "gate.test", "192.0.2.1:62201")
    );
    let profile: String = said
        .lines()
        .skip_while(|line| !line.starts_with('['))
        .take_while(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    let profile = profile::parse(&profile, Path::new("config.toml"))
        .unwrap()
        .remove("gate")
        .unwrap();
    assert_eq!(
        (&profile.gate, &profile.addresses, &profile.services),
        (&token.gate, &token.addresses, &token.services)
    );
    assert!(
        matches!(profile.key, Some(KeySource::Shared(shared)) if shared == SharedKey::from_base64(&key).unwrap())
    );
    assert!(
        said.contains("\nnext:\n")
            && said.contains("postern import")
            && said.ends_with("  and then: postern knock gate\n"),
        "{said}"
    );
    assert!(
        ok(gate.run("check")).contains("ok: gate gate.test, 2 users; "),
        "the config is right"
    );
}

pub(crate) fn every_option_reaches_file_and_profile() {
    let gate = gate();
    let added = json(
        &gate,
        "user add bob@example.org -s tcp/22 --target 10.0.0.0/24 --target fd00::/64 --network 192.0.2.0/24 \
         --grant-to observed --duration 10m --max-duration 2h --quota 5/10s \
         --address gate.example.org:5000 --address 2001:db8::1",
    );
    let user = json(&gate, "user show bob@example.org")["user"].clone();
    for (key, wanted) in [
        ("targets", serde_json::json!(["10.0.0.0/24", "fd00::/64"])),
        ("networks", serde_json::json!(["192.0.2.0/24"])),
        ("grant_to", "observed".into()),
        ("duration_s", 600.into()),
        ("max_duration_s", 7200.into()),
        ("quota", "5/10s".into()),
        ("own_file", true.into()),
    ] {
        assert_eq!(user[key], wanted, "{key}: {user}");
    }
    let text = added["profile"].as_str().unwrap();
    let profile = profile::parse(text, Path::new("c"))
        .unwrap()
        .remove("gate")
        .unwrap();
    let addresses: Vec<String> = profile.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["gate.example.org:5000", "[2001:db8::1]:62201"]);
    assert_eq!(profile.allow, profile::AllowSetting::Source);
    assert_eq!(profile.duration, Some(std::time::Duration::from_secs(600)));
    assert!(added["notes"][0].to_string().contains("--target HOST"));
    assert_eq!(
        (&added["reload"], &added["secret"]),
        (&"not-running".into(), &true.into())
    );
}

pub(crate) fn wrong_user_arguments_write_nothing() {
    let gate = gate();
    let cases: [(&[&str], &[&str]); 6] = [
        (
            &["-s", "web"],
            &["unknown service \"web\"; add a [service.NAME] with"],
        ),
        (
            &[
                "-s",
                "tcp/22",
                "--network",
                "10.0.0.1/24",
                "--quota",
                "5",
                "--target",
                "x",
            ],
            &[
                "\"x\" is not a network; ",
                "10.0.0.1/24 has host bits set; ",
                "\"5\" is not a quota; ",
            ],
        ),
        (
            &["-s", "tcp/22", "--duration", "2h"],
            &["a duration of 2h is longer than max_duration, 1h; "],
        ),
        (
            &["-s", "tcp/22", "--max-duration", "1y\"\nkey = \"x"],
            &["is not a length of time; "],
        ),
        (&["-s", "tcp/22", "--psk"], &["--psk needs a key pair; "]),
        (
            &["-s", "tcp/22", "--request", "postern-request-1.AAAA"],
            &["--request: this line is cut or mistyped; "],
        ),
    ];
    for (options, says) in cases {
        let ran = gate.run(&[&["user", "add", "bob"], options].concat());
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(2), ""),
            "{options:?}: {}",
            ran.err
        );
        let lines: Vec<&str> = ran.err.lines().collect();
        assert_eq!(lines.len(), says.len(), "{}", ran.err);
        for (line, says) in lines.iter().zip(says) {
            assert!(
                line.starts_with("posternd: ") && line.contains(says),
                "{says}\n{}",
                ran.err
            );
        }
    }
    for name in [
        "../bob",
        ".bob",
        "a/b",
        "",
        "bob\n",
        "-bob",
        "b b",
        &"b".repeat(65),
    ] {
        for command in ["add", "show", "remove", "disable", "enable", "rotate"] {
            let options: &[&str] = if command == "add" {
                &["-s", "tcp/22"]
            } else {
                &[]
            };
            let ran = gate.run(&[&["user", command], options, &["--", name]].concat());
            assert_eq!(ran.code, Some(2), "{command} {name:?}: {}", ran.err);
        }
    }
    assert!(users(&gate).is_empty());
}

pub(crate) fn existing_user_is_not_overwritten() {
    let gate = gate();
    let line = gate.run("user add alice -s tcp/22").one_line(1);
    let place = format!(
        "user alice already exists, in {}:9; for a new key: posternd user rotate alice",
        gate.path("posternd.toml").display()
    );
    assert_eq!(line, place);
    let other =
        "[[user]]\nname = \"carol\"\nservices = [\"tcp/1\"]\nkey_file = \"FOLDER/carol.key\"\n";
    gate.write(
        "carol.key",
        &format!("{}\n", &*SharedKey::from_bytes([1; 32]).to_base64()),
    );
    gate.write("users.d/bob.toml", other);
    gate.mode("users.d", 0o700);
    let line = gate.run("user add bob -s tcp/22").one_line(1);
    assert!(
        line.contains("users.d/bob.toml already exists; move it away, or choose another name"),
        "{line}"
    );
    assert!(text(&gate, "users.d/bob.toml").contains("carol"));
}

pub(crate) fn invalid_config_gets_no_user() {
    let gate = Gate::good("windw = \"30s\"", "", "key = \"KEY\"");
    for command in [
        &["user", "add", "bob", "-s", "tcp/22"][..],
        &["user", "list"],
        &["user", "disable", "alice"],
    ] {
        assert!(
            gate.run(command)
                .one_line(78)
                .contains("posternd.toml:5:1: unknown key \"windw\" in [gate]; ")
        );
    }
    assert!(!gate.path("users.d").exists());
    let gate = Gate::good("", "", "key = \"KEY\"");
    let line = gate.run("user add bob -s tcp/22 --pair").one_line(78);
    assert!(
        line.contains(
            "the config names no private key of the gate, which users with key pairs need; make one with posternd init"
        ),
        "{line}"
    );
    assert!(users(&gate).is_empty());
}

pub(crate) fn enrolled_user_needs_no_secret() {
    for by_input in [false, true] {
        let gate = gate();
        let line = request();
        gate.write("request", &line);
        let said = if by_input {
            let script = format!("exec \"$@\" < {}", gate.path("request").display());
            ok(gate.run_through(&script, "user add bob -s tcp/22 --request -"))
        } else {
            ok(gate.run(&["user", "add", "bob", "-s", "tcp/22", "--request", &line]))
        };
        let token = said
            .lines()
            .find(|line| line.starts_with("postern-token-1."))
            .unwrap_or_else(|| panic!("{said}"));
        let token = Token::from_line(token).unwrap();
        assert_eq!(
            token.key,
            TokenKey::Enrolled {
                own: client_key().public(),
                gate: gate_key().public(),
                psk: None
            }
        );
        assert_eq!(token.profile.as_deref(), Some("home"));
        let file = text(&gate, "users.d/bob.toml");
        assert_eq!(
            value(&gate, "bob", "public_key"),
            Some(client_key().public().to_base64().to_string())
        );
        for secret in [client_key().to_base64(), gate_key().to_base64()] {
            assert!(
                !said.contains(&secret[..20])
                    && !file.contains(&secret[..20])
                    && !line.contains(&secret[..20])
            );
        }
        assert!(
            said.contains("in which nothing is secret")
                && said.contains("private_key_file = \"home.key\"")
                && said.ends_with("postern knock home\n"),
            "{said}"
        );
    }
}

pub(crate) fn local_pair_leaves_only_public_key() {
    let gate = gate();
    let said = ok(gate.run("user add bob -s tcp/22 --pair --psk"));
    let token = Token::from_line(
        said.lines()
            .find(|line| line.starts_with("postern-secret-1."))
            .unwrap(),
    )
    .unwrap();
    let TokenKey::Pair {
        own,
        gate: gate_public,
        psk: Some(psk),
    } = token.key
    else {
        panic!("{:?}", token.key)
    };
    assert_eq!(gate_public, gate_key().public());
    assert_eq!(
        value(&gate, "bob", "public_key"),
        Some(own.public().to_base64().to_string())
    );
    assert_eq!(
        value(&gate, "bob", "psk"),
        Some(psk.to_base64().to_string())
    );
    assert!(!text(&gate, "users.d/bob.toml").contains(&*own.to_base64()));
    assert!(
        said.contains("with postern enroll at the client it would not"),
        "{said}"
    );
}

pub(crate) fn code_secret_is_not_in_the_token() {
    let gate = gate();
    let said = json(&gate, "user add bob -s tcp/22 --totp");
    let secret = value(&gate, "bob", "totp").unwrap();
    assert!(
        secret.len() == 32
            && secret
                .chars()
                .all(|c| c.is_ascii_uppercase() || ('2'..='7').contains(&c)),
        "{secret}"
    );
    let uri = format!(
        "otpauth://totp/gate.test:bob?secret={secret}&issuer=gate.test&algorithm=SHA1&digits=6&period=30"
    );
    assert_eq!(said["totp_uri"].as_str(), Some(uri.as_str()));
    assert!(!said["profile"].as_str().unwrap().contains(&secret));
    assert!(
        said["profile"]
            .as_str()
            .unwrap()
            .contains("\ncode = \"ask\"\n"),
        "{said}"
    );
    assert!(
        Token::from_line(said["token"].as_str().unwrap())
            .unwrap()
            .code,
        "the client is told that it needs one"
    );
    let code = CodeKey::from_base32(&secret, 6).unwrap().code(CodeStep(1));
    assert_eq!(code.as_str().len(), 6, "the gate reads what was made");
    assert!(
        Token::from_line(json(&gate, "user rotate bob")["token"].as_str().unwrap())
            .unwrap()
            .code
    );
    assert_eq!(json(&gate, "user show bob")["user"]["totp"], true);
    let drawn = ok(gate.run("user add carol -s tcp/22 --totp --qr"));
    assert_eq!(
        drawn
            .lines()
            .filter(|line| line.starts_with("████ ▄▄▄▄▄ █"))
            .count(),
        4,
        "two codes: {drawn}"
    );
    assert!(
        !drawn.contains('\u{1b}'),
        "no colours where it is no terminal"
    );
}

pub(crate) fn user_list_shows_no_secret() {
    let gate = gate();
    ok(gate.run("user add carol -s tcp/443"));
    ok(gate.run("user disable carol"));
    let secret = value(&gate, "carol", "key").unwrap();
    let table = ok(gate.run("user list"));
    let folder = gate.path("users.d").display().to_string();
    let carol = format!("carol  disabled  shared key  tcp/443   {folder}/carol.toml:1\n");
    assert!(table.contains(&carol), "{table}");
    for output in [
        table,
        ok(gate.run("user show carol")),
        json(&gate, "user list").to_string(),
        json(&gate, "user show carol").to_string(),
    ] {
        assert!(
            output.contains("carol")
                && !output.contains(&secret[..20])
                && !output.contains(&KEY[..20]),
            "{output}"
        );
    }
    let line = gate.run("user show eve").one_line(1);
    assert!(
        line.contains("there is no user eve; list users with: posternd user list"),
        "{line}"
    );
}

pub(crate) fn concurrent_adds_lose_no_user() {
    let gate = gate();
    let names: Vec<String> = (0..8).map(|n| format!("user-{n}")).collect();
    std::thread::scope(|scope| {
        let added: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(|| gate.run(&["user", "add", name, "-s", "tcp/22"])))
            .collect();
        added
            .into_iter()
            .for_each(|ran| drop(ok(ran.join().unwrap())));
    });
    let twice: Vec<Option<i32>> = std::thread::scope(|scope| {
        let twice: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| gate.run("user add same -s tcp/22").code))
            .collect();
        twice.into_iter().map(|ran| ran.join().unwrap()).collect()
    });
    assert_eq!(
        twice.iter().filter(|code| **code == Some(0)).count(),
        1,
        "{twice:?}"
    );
    assert_eq!(
        twice.iter().filter(|code| **code == Some(1)).count(),
        3,
        "{twice:?}"
    );
    assert_eq!(
        json(&gate, "user list")["users"].as_array().unwrap().len(),
        10
    );
}

pub(crate) fn addresses_use_gate_port_and_are_limited() {
    let gate = Gate::good(
        "port = [5000, 6000]",
        "backend = \"iptables\"",
        "key = \"KEY\"",
    );
    let given = "--address 192.0.2.1 --address 2001:db8::1 --address other:62201";
    for command in ["add bob -s tcp/22", "rotate bob"] {
        let output = json(&gate, format!("user {command} {given}").as_str());
        let token = Token::from_line(output["token"].as_str().unwrap()).unwrap();
        let addresses: Vec<String> = token.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(
            addresses,
            ["192.0.2.1:5000", "[2001:db8::1]:5000", "other:62201"]
        );
    }
    let before = text(&gate, "users.d/bob.toml");
    let five = "--address h ".repeat(5);
    for command in ["add carol -s tcp/22", "rotate bob"] {
        let line = gate
            .run(format!("user {command} {five}").as_str())
            .one_line(2);
        assert_eq!(
            line,
            "--address is given 5 times, but a profile has at most 4; give one for each family"
        );
    }
    assert_eq!(users(&gate), ["bob.toml"]);
    assert_eq!(text(&gate, "users.d/bob.toml"), before);
}

pub(crate) fn gate_without_host_name_needs_address() {
    let gate = Gate::new(
        "[gate]\nname = \"our gate\"\nstate_dir = \"FOLDER/state\"\ncontrol_socket = \"FOLDER/control.sock\"\n",
    );
    let line = gate.run("user add bob -s tcp/22").one_line(1);
    assert!(
        line.contains("because the gate's name \"our gate\" is no host; give --address HOST, or write address = \"HOST\" in [gate]"),
        "{line}"
    );
    assert!(users(&gate).is_empty());
    let said = json(&gate, "user add bob -s tcp/22 --address 192.0.2.1");
    assert_eq!(said["profile_name"], "gate");
}
