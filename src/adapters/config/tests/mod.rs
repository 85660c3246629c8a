//! Whole configs: what they load, and what is refused. The tables of refused lines are in `refused`.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use postern_proto::{
    CodeKey, GateName, Hint, KeyMaterial, PresharedKey, PrivateKey, SharedKey, Step, UserKeys,
};

use super::bundle::{Bundle, BundleFile};
use super::*;
use crate::model::command_template::CommandTemplate;
use crate::model::policy::{GrantTo, MaxPrefix, Policy};
use crate::model::settings::{CaptureKind, DriverKind, Interfaces, OnStop, Settings};
use crate::model::time::parse_time;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const FOLDER: &str = "/etc/postern";
const UNTIL: &str = "2026-12-01T00:00:00Z";

fn bundle(main: &str, others: &[(&str, &str)]) -> Bundle {
    let file = |name: &str, text: &str| BundleFile::new(Path::new(FOLDER).join(name), text);
    let mut bundle = Bundle::of_main(Path::new(FOLDER).join("posternd.toml"), main);
    for (name, text) in others {
        let list = match name.ends_with(".toml") {
            true => &mut bundle.users,
            false => &mut bundle.keys,
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
    problems.to_string().replace("/etc/postern/", "")
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

/// Stands for key material, which cannot be compared.
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
    if !["key", "public_key", "psk"].iter().any(has_key) {
        text.push_str(&format!("key = \"{KEY}\"\n"));
    }
    text + user + "\n"
}

/// Checks a table: lines of a config, then, indented, the problems that they cause.
#[allow(clippy::disallowed_methods)]
fn check_table(name: &str, config: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/adapters/config/tests/refused")
        .join(name);
    let table = std::fs::read_to_string(&path).unwrap();
    let (header, cases) = table.split_once("\n\n").unwrap();
    let mut written = header.to_owned() + "\n";
    for case in cases.split("\n\n") {
        let lines: Vec<&str> = case.lines().filter(|line| !line.starts_with(' ')).collect();
        let lines = lines.join("\n");
        let text = config(&lines).replace("KEY9", &key(9)).replace("KEY", KEY);
        write!(written, "\n{lines}\n").unwrap();
        for problem in refused(&bundle(&text, &[])).lines() {
            writeln!(
                written,
                "    {}",
                problem.trim_start_matches("posternd.toml:")
            )
            .unwrap();
        }
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &written).unwrap();
        return;
    }
    for (expected, found) in table.split("\n\n").zip(written.split("\n\n")) {
        assert_eq!(found.trim_end(), expected.trim_end(), "in {name}");
    }
}

#[test]
fn wrong_lines_of_the_main_file_are_refused() {
    check_table("gate.txt", |lines| with(lines, ""));
    check_table("whole.txt", str::to_owned);
    let empty = refused(&bundle("", &[]));
    let missing = "posternd.toml:1:1: [gate] is missing; add [gate] with name";
    assert!(empty.starts_with(missing), "{empty}");
    assert!(refused(&Bundle::default()).starts_with("posternd.toml: was not read"));
}

#[test]
fn wrong_lines_of_a_user_are_refused() {
    check_table("user.txt", |lines| with("", lines));
    let problems = refused(&bundle("gate.name = \"g\"\n[[user]]\n", &[]));
    let missing = ["no name", "no services", "no key"].map(|what| problems.contains(what));
    assert_eq!((missing, problems.lines().count()), ([true; 3], 3));
}

/// Invariant 7: no message shows a part of a key in a wrong place.
#[test]
fn invariant_7_no_problem_shows_a_key() {
    let (gates, users) = include_str!("refused/keys.txt").split_once("\n\n").unwrap();
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1);
        lines.map(|line| line.replace('⏎', "\n")).collect()
    };
    let gates = lines(gates).into_iter().map(|line| with(&line, ""));
    let users = lines(users).into_iter().map(|line| with("", &line));
    let texts: Vec<String> = gates.chain(users).collect();
    assert_eq!(texts.len(), 89);
    // A key that TOML takes for a bare word, one with all other letters, and a secret for one-time codes.
    for secret in [
        "Zm9vYmFyQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=",
        "q/+/Zm8vYm+yQUJDREV/R0hJSktMTU5PUFF+U1RVVld/8A8=",
        "GEZDGNBVGY3TQOJQABCDEFGHIJKLMNOP",
    ] {
        for text in &texts {
            let text = text.replace("KEY", secret);
            let bundle = bundle(&text, &[("users.d/u.toml", &text), ("a.key", secret)]);
            let problems = load(&bundle).map(|loaded| loaded.settings).unwrap_err();
            let files = key_files(&bundle);
            let shown = format!("{problems}\n{problems:?}\n{files:?}\n{bundle:?}");
            for part in secret.as_bytes().windows(8) {
                let part = std::str::from_utf8(part).unwrap();
                assert!(!shown.contains(part), "{part} of\n{text}\nis in\n{shown}");
            }
        }
    }
}

#[test]
fn names_and_keys_given_twice_are_refused() {
    let beside = |name: &str, key: &str| {
        format!("# a comment\nname = \"{name}\"\nservices = [\"web\"]\n{key}\n")
    };
    let files = [
        (
            "users.d/a.toml",
            &*beside("alice", &format!("key = \"{}\"", key(1))),
        ),
        (
            "users.d/b.toml",
            &beside("bob", &format!("key = \"{KEY}\"")),
        ),
        ("users.d/c.toml", &beside("cat", "key_file = \"cat.key\"")),
        ("users.d/cat.key", KEY),
    ];
    let twice = "the same key is given twice, first at posternd.toml:9; give each user a key of their own, from postern keygen";
    assert_eq!(
        refused(&bundle(&with("", ""), &files)),
        format!(
            "users.d/a.toml:2:8: user \"alice\" is defined twice, first at posternd.toml:7; rename or remove one of the two\n\
             users.d/b.toml:4:7: {twice}\nusers.d/c.toml:4:12: {twice}"
        )
    );
}

#[test]
fn wrong_key_files_are_named_with_their_line() {
    let public = format!("public_key = \"{KEY}\"");
    let weak = format!("public_key = \"{}\"", key(0));
    let (two, other) = (format!("{KEY}\n\n"), KEY.replace('8', "9"));
    let gate = "private_key = \"gate.key\"";
    let user = "key_file = \"a.key\"";
    for (gate, user, file, problem) in [
        (
            "",
            user,
            ("a.key", ""),
            "a.key: invalid key: a key must have exactly 44 characters of base64, not 0 (named at posternd.toml:9)",
        ),
        (
            "",
            user,
            ("a.key", &*two),
            "a.key: invalid key: a key must have exactly 44 characters of base64, not 45 (named at posternd.toml:9)",
        ),
        (
            "",
            user,
            ("a.key", &other),
            "a.key: invalid key: a key must be canonical base64",
        ),
        (
            "",
            user,
            ("b.key", ""),
            "a.key: was not read, but posternd.toml:9 names it; load",
        ),
        (
            gate,
            &public,
            ("gate.key", "x"),
            "gate.key: invalid key: a key must have exactly 44 characters of base64, not 1 (named at posternd.toml:3)",
        ),
        (
            gate,
            &public,
            ("b.key", ""),
            "gate.key: was not read, but private_key of [gate] (line 3) names it",
        ),
        (
            gate,
            &weak,
            ("gate.key", &key(7)),
            "posternd.toml:9:14: the public key is a weak point",
        ),
    ] {
        let problems = refused(&bundle(&with(gate, user), &[file]));
        assert!(problems.starts_with(problem), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn all_problems_of_all_files_are_told() {
    let main = "[gate]\nprot = 1\nname = \"\"\n[firewall]\nbackend = \"pf\"\n[[user]]\nname = \"a\"\n[[user]]\nquota = 1\n";
    let files = [
        ("users.d/a.toml", "name = "),
        ("users.d/b.toml", "nmae = \"b\""),
    ];
    let problems = refused(&bundle(main, &files));
    let places = problems.lines().filter_map(|line| line.split_once(": "));
    let places: Vec<&str> = places.map(|(place, _)| place).collect();
    let main = [
        "2:1", "3:8", "5:11", "6:1", "6:1", "8:1", "8:1", "8:1", "9:9",
    ];
    let mut expected = main.map(|place| format!("posternd.toml:{place}")).to_vec();
    expected.push("users.d/a.toml:1:8".to_owned());
    expected.extend(std::iter::repeat_n("users.d/b.toml:1:1".to_owned(), 4));
    assert_eq!(places, expected, "{problems}");

    let beside = format!("name = \"b\"\nservices = [\"web\"]\npublic_key = \"{KEY}\"");
    let problems = refused(&bundle("[gate\n", &[("users.d/b.toml", &beside)]));
    assert_eq!(problems.lines().count(), 1, "the user is not wrong");
}

#[test]
fn number_of_users_is_bounded() {
    let too_many = |count: usize| {
        let text = format!("user = [{}]\n[gate]\nname = \"g\"\n", "{},".repeat(count));
        let problems = load(&bundle(&text, &[]))
            .map(|loaded| loaded.settings)
            .unwrap_err()
            .0;
        let too_many = |problem: &&Problem| problem.what.contains("more than 200000 users");
        problems.iter().filter(too_many).count()
    };
    assert_eq!((too_many(200_000), too_many(200_002)), (0, 1));
}

#[test]
fn example_config_has_the_defaults() {
    let text = include_str!("example.toml").replace("KEY", KEY);
    let shown = settings(&text);
    let services = vec!["tcp/22".parse().unwrap(), "web".parse().unwrap()];
    assert_eq!(shown.policies, [Policy::for_user("alice", services)]);

    let lines = format!("key = \"{KEY}\"");
    let sparse = settings(&format!(
        "gate.name = \"gate.example.org\"\n{}",
        user("alice", "tcp/22", &lines)
    ));
    let sections = |settings: &Settings| format!("{:?} {:?}", settings.gate, settings.firewall);
    assert_eq!(sections(&shown), sections(&sparse));
    let gate = sparse.gate;
    assert_eq!(
        (gate.ports, gate.window.as_secs(), gate.interfaces),
        (vec![62201], 30, Interfaces::Any)
    );
}

#[test]
fn every_key_reaches_the_settings() {
    let text = include_str!("every_key.toml").replace("KEY", KEY);
    let Settings {
        gate,
        firewall,
        metrics,
        policies,
        options,
        ..
    } = settings(&text);
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
fn forwards_reach_the_protection() {
    let text = include_str!("forwards.toml").replace("KEY", KEY);
    let settings = settings(&text);
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
        ]
    );
    assert_eq!(
        (protection.forwards.len(), protection.hide_behind),
        (3, true)
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
fn keys_come_from_the_named_files() {
    let (gate, client) = (pair(7), pair(8));
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
    let text = format!("{}\n", key(3));
    whole.keys.push(BundleFile::new(named[0].clone(), text));
    let keys = load(&whole).unwrap().keys;
    let preshared = PresharedKey::from_bytes([9; 32]);
    let theirs = KeyMaterial::pair_at_client(&client, &gate.public(), Some(&preshared)).unwrap();
    assert_eq!(hint(&keys[0]), hint(&theirs));
    assert_eq!(hint(&keys[1]), hint(&shared(3)));

    let unused = with("private_key = \"gate.key\"", "");
    assert!(
        key_files(&bundle(&unused, &[])).is_empty(),
        "no user needs the gate's key"
    );
    assert!(load(&bundle(&unused, &[])).is_ok());
}

#[test]
fn lists_may_be_as_long_as_their_limit() {
    let ports: Vec<u16> = (1..=16).collect();
    let names: Vec<String> = (0..32).map(|number| format!("wan{number}")).collect();
    let lines = format!("port = {ports:?}\ninterfaces = {names:?}");
    assert_eq!(settings(&with(&lines, "")).gate.ports, ports);
    let short = settings(&with("", "max_duration = \"10s\""));
    assert_eq!(
        short.policies[0].duration.as_secs(),
        10,
        "a shorter maximum shortens the default"
    );
}

#[test]
fn programs_reach_the_settings() {
    let program = |words: &[&str]| {
        CommandTemplate::try_from(words.iter().map(ToString::to_string).collect::<Vec<_>>())
            .unwrap()
    };
    let command = "[firewall]\nbackend = \"command\"\nprotect = \"none\"\n[firewall.command]\n";
    let lines = format!(
        "{command}open = [\"/o\", \"{{address}}\", \"-t{{seconds}}\"]\nclose = [\"/c\"]\nlist = [\"/l\", \"all\"]\ndeadline = \"30s\"\n\
         [service.ssh]\nports = [\"tcp/22\"]\non_open = [\"/h\", \"{{user}}\"]\non_close = [\"/h\"]"
    );
    let read = settings(&with(&lines, ""));
    let programs = read.firewall.command.unwrap();
    assert_eq!(programs.open, program(&["/o", "{address}", "-t{seconds}"]));
    assert_eq!(programs.close, program(&["/c"]));
    assert_eq!(programs.list, Some(program(&["/l", "all"])));
    assert_eq!(programs.deadline, Duration::from_secs(30));
    let ssh = &read.options["ssh"];
    assert_eq!(ssh.on_open, Some(program(&["/h", "{user}"])));
    assert_eq!(ssh.on_close, Some(program(&["/h"])));
    assert_eq!(read.options["web"].on_open, None);

    let sparse = format!("{command}open = [\"/o\"]\nclose = [\"/c\"]\nlist = []");
    let programs = settings(&with(&sparse, "")).firewall.command.unwrap();
    assert_eq!(
        (programs.list, programs.deadline),
        (None, Duration::from_secs(5))
    );
}

#[test]
fn users_keep_the_order_of_the_files() {
    let one = |name: &str, byte| user(name, "tcp/22", &format!("key = \"{}\"", key(byte)));
    let main = format!("[gate]\nname = \"g\"\n{}{}", one("zoe", 1), one("adam", 2));
    let own_file = one("mary", 3).replace("[[user]]\n", "");
    let files = [
        ("users.d/1.toml", &*own_file),
        ("users.d/2.toml", &(one("bob", 4) + &one("carl", 5))),
        ("users.d/3.toml", "# nobody\n"),
    ];
    let loaded = load(&bundle(&main, &files)).unwrap();
    let names: Vec<&str> = loaded
        .settings
        .policies
        .iter()
        .map(|one| one.user.as_str())
        .collect();
    assert_eq!(names, ["zoe", "adam", "mary", "bob", "carl"]);
    let hints: Vec<Hint> = loaded.keys.iter().map(hint).collect();
    assert_eq!(hints, [1, 2, 3, 4, 5].map(|byte| hint(&shared(byte))));
    assert!(settings("gate.name = \"g\"").policies.is_empty());
}

#[test]
fn code_secrets_reach_only_their_users() {
    let secret = "gezdgnbvgy3tqojqgezdgnbvgy3tqojq";
    let upper = secret.to_uppercase();
    let one = |name: &str, byte, lines: &str| {
        user(name, "tcp/22", &format!("key = \"{}\"\n{lines}", key(byte)))
    };
    let text = format!(
        "[gate]\nname = \"g\"\n{}{}{}",
        one("amy", 1, ""),
        one("bob", 2, &format!("totp = \"{secret}\"")),
        one("eve", 3, &format!("totp = \"{upper}\"\ntotp_digits = 8")),
    );
    let loaded = load(&bundle(&text, &[])).unwrap();
    let code = |digits| CodeKey::from_base32(secret, digits).unwrap();
    assert_eq!(loaded.codes, [None, Some(code(6)), Some(code(8))]);
    let shown = format!("{loaded:?}");
    let has_secret = shown.to_lowercase().contains(&secret[..8]) || shown.contains("49, 50, 51");
    assert!(!has_secret, "{shown}");
}

#[test]
fn old_keys_reach_their_users_with_an_end() {
    let (gate_key, new, old) = (pair(1), pair(2), pair(3));
    let text = [
        "[gate]\nname = \"g\"\nprivate_key = \"gate.key\"\n".to_owned(),
        user("amy", "tcp/22", &format!("key = \"{}\"", key(8))),
        user("bob", "tcp/22", &format!("key = \"{}\"\nold_key = \"{}\"\nold_until = {UNTIL}", key(9), key(6))),
        user("cat", "tcp/22", &format!(
            "public_key = \"{}\"\nold_public_key = \"{}\"\nold_psk = \"{}\"\nold_until = \"2026-12-01T01:00:00+01:00\"",
            &*new.public().to_base64(), &*old.public().to_base64(), key(7),
        )),
    ].concat();
    let loaded = load(&bundle(&text, &[("gate.key", &gate_key.to_base64())])).unwrap();
    let psk = PresharedKey::from_bytes([7; 32]);
    let at_client = KeyMaterial::pair_at_client(&old, &gate_key.public(), Some(&psk)).unwrap();
    let found: Vec<_> = loaded
        .old_keys
        .iter()
        .map(|old| (old.user, old.until.to_string(), hint(&old.material)))
        .collect();
    let expected = [
        (1, UNTIL.to_owned(), hint(&shared(6))),
        (2, UNTIL.to_owned(), hint(&at_client)),
    ];
    assert_eq!(found, expected);
    assert_eq!((loaded.keys.len(), loaded.settings.policies.len()), (3, 3));

    let without = text
        .replace("public_key = ", "key = ")
        .replace("old_key = ", "old_public_key = ");
    let named = key_files(&bundle(&without, &[]));
    assert_eq!(
        named,
        [Path::new(FOLDER).join("gate.key")],
        "an old key pair needs it too"
    );
}

#[test]
fn services_of_disabled_users_stay_closed() {
    let old = format!("old_key = \"{}\"\nold_until = {UNTIL}", key(7));
    let text = [
        "[gate]\nname = \"g\"\n".to_owned(),
        user(
            "amy",
            "tcp/80",
            &format!("key = \"{KEY}\"\ndisabled = true\n{old}"),
        ),
        user(
            "bob",
            "tcp/22",
            &format!("key = \"{}\"\ndisabled = false", key(8)),
        ),
    ]
    .concat();
    let loaded = load(&bundle(&text, &[])).unwrap();
    let names = |policies: &[Policy]| -> Vec<String> {
        policies.iter().map(|policy| policy.user.clone()).collect()
    };
    assert_eq!(names(&loaded.settings.policies), ["bob"]);
    assert_eq!(names(&loaded.settings.disabled), ["amy"]);
    assert_eq!(
        (
            loaded.keys.len(),
            loaded.old_keys.len(),
            loaded.disabled_keys.len()
        ),
        (1, 0, 1)
    );
    assert_eq!(loaded.settings.protection().closed(), "tcp/22, tcp/80");
    let twice = refused(&bundle(&text.replace(KEY, &key(8)), &[]));
    assert!(twice.contains("the same key is given twice"), "{twice}");
}

#[test]
fn users_are_listed_without_secrets() {
    let main = "[gate]\nname = \"g\"\nprivate_key = \"gate.key\"\n".to_owned()
        + &user(
            "amy",
            "tcp/22",
            &format!("key = \"{KEY}\"\ndisabled = true"),
        );
    let public = pair(2).public();
    let own_file = format!(
        "# bob's own\nname = \"bob\"\nservices = [\"tcp/22\", \"tcp/80\"]\npublic_key = \"{}\"\npsk = \"{}\"\nold_key = \"{}\"\nold_until = {UNTIL}\n",
        &*public.to_base64(),
        key(6),
        key(7)
    );
    let team = user("cat", "tcp/22", "key_file = \"/etc/postern/cat.key\"")
        + &user("dan", "icmp", &format!("key = \"{}\"", key(9)));
    let files = [
        ("users.d/bob.toml", own_file.as_str()),
        ("users.d/team.toml", &team),
        ("gate.key", &pair(1).to_base64()),
        ("cat.key", &key(8)),
    ];
    let listed = settings_and_users(&bundle(&main, &files)).unwrap().1;
    let rows = listed.iter().map(|user| {
        let name = user.policy.user.as_str();
        (
            name,
            user.line,
            user.own_file,
            user.disabled,
            user.key.name(),
        )
    });
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [
            ("amy", 4, false, true, "shared key"),
            ("bob", 1, true, false, "key pair with psk"),
            ("cat", 1, false, false, "shared key in a file"),
            ("dan", 5, false, false, "shared key"),
        ]
    );
    let until = parse_time(UNTIL).unwrap();
    assert_eq!(listed[1].old, Some((KeyKind::Shared, until)));
    assert_eq!(listed[1].key, KeyKind::Pair { public, psk: true });
    assert_eq!(
        listed[2].key,
        KeyKind::SharedFile(Path::new(FOLDER).join("cat.key"))
    );
    let shown = format!("{listed:?}");
    for secret in [KEY, &key(6), &key(7), &key(8), &key(9)] {
        assert!(!shown.contains(&secret[..20]), "{shown}");
    }
}
