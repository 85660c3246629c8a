//! Whole configs and what they load.

use std::time::Duration;

use postern_proto::{CodeKey, Hint, KeyMaterial, PresharedKey};

use super::*;
use crate::model::catalog::NamedService;
use crate::model::command_template::CommandTemplate;
use crate::model::policy::Policy;
use crate::model::time::parse_time;

#[test]
fn every_key_reaches_the_settings() {
    let text = include_str!("every_key.toml").replace("KEY", KEY);
    let settings = settings(&text);
    let (gate, firewall, user) = (&settings.gate, &settings.firewall, &settings.policies[0]);
    let addresses: Vec<String> = gate.addresses.iter().map(ToString::to_string).collect();
    let named = |(name, service): (&String, &NamedService)| (name.clone(), service.end_connections);
    let ending: Vec<(String, bool)> = settings.catalog.iter().map(named).collect();
    for (found, expected) in [
        (
            format!("{:?} {:?}", gate.ports, gate.window),
            "[62201, 62202] 120s",
        ),
        (
            format!("{addresses:?}"),
            r#"["gate.example.org:62201", "[2001:db8::1]:5000"]"#,
        ),
        (
            format!("{:?}", gate.interfaces),
            r#"Named(["eth0", "wg0"])"#,
        ),
        (
            format!("{:?} {:?}", gate.state_dir, gate.control_socket),
            r#""/s" "/c""#,
        ),
        (format!("{} {:?}", gate.run_as, gate.capture), "postern Udp"),
        (
            format!(
                "{:?} {} {:?}",
                firewall.backend, firewall.protect, firewall.on_stop
            ),
            "Nftables false Remove",
        ),
        (
            format!("{:?}", settings.metrics),
            r#"Metrics { file: Some("/m.prom"), interval: 60s, listen: Some([::1]:9162) }"#,
        ),
        (format!("{ending:?}"), r#"[("vpn", true), ("web", false)]"#),
        (
            format!("{} {:?} {:?}", user.user, user.grant_to, user.max_prefix),
            "a@b Observed MaxPrefix { v4: 24, v6: 128 }",
        ),
        (
            format!(
                "{:?} {:?} {} {}",
                user.duration, user.max_duration, user.quota, user.max_grants
            ),
            "600s 7200s 5/10s 9",
        ),
        (
            format!("{:?} {:?} {:?}", user.services, user.targets, user.networks),
            "[Ports(udp/5000-5010)] [10.0.0.0/8] [2001:db8::/32]",
        ),
    ] {
        assert_eq!(found, expected);
    }
    assert!(user.end_connections);
    assert_eq!(crate::model::service::list(&user.from), "203.0.113.0/24");
    let end = user.expires.map(|end| end.to_string());
    assert_eq!(end.as_deref(), Some("2027-06-29T22:00:00Z"));
}

#[test]
fn forwards_reach_the_protection() {
    let text = include_str!("forwards.toml").replace("KEY", KEY);
    let settings = settings(&text);
    let forwards = settings
        .catalog
        .values()
        .filter_map(|service| service.forward);
    let forwards: Vec<String> = forwards.map(|forward| forward.to_string()).collect();
    let expected = [
        "tcp/2222 forwarded to 10.0.0.5:22 (masqueraded)",
        "tcp/2222 forwarded to [fd00::5]:22",
        "tcp/2200 redirected to tcp/2201",
        "udp/5000-5010 forwarded to 10.0.0.6",
        "tcp/99 forwarded to 10.0.0.9:99",
    ];
    assert_eq!(forwards, expected);
    assert!(settings.catalog["web"].forward.is_none());
    let protection = settings.protection();
    let services = crate::model::service::list(&protection.services);
    assert_eq!(
        services,
        "tcp/22, tcp/80, tcp/2200-2201, tcp/2222, udp/5000-5010"
    );
    let behind = protection.behind.iter();
    let behind: Vec<String> = behind
        .map(|(network, ports)| format!("{network} {ports}"))
        .collect();
    let expected = "10.0.0.5/32 tcp/22, 10.0.0.6/32 tcp/22, 10.0.0.6/32 tcp/80, 10.0.0.6/32 udp/5000-5010, \
                    10.1.0.0/24 tcp/22, 10.1.0.0/24 tcp/80, fd00::5/128 tcp/22";
    assert_eq!(behind.join(", "), expected);
    assert!(protection.forwards.len() == 4 && protection.hide_behind);
    let closed = protection.closed();
    assert!(
        closed.contains("udp/5000-5010, tcp/22 at 10.0.0.5/32, "),
        "{closed}"
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
    let (bob, bobs_key) = (("users.d/bob.toml", beside), format!("{}\n", key(3)));
    let named = key_files(&bundle(&main, &[bob]));
    let expected = ["users.d/bob.key", "gate.key"].map(|name| Path::new(FOLDER).join(name));
    assert_eq!(named, expected);

    let (bobs_key, gates_key) = (("users.d/bob.key", &*bobs_key), ("gate.key", &*key(7)));
    let keys = load(&bundle(&main, &[bob, bobs_key, gates_key]))
        .unwrap()
        .keys;
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
    let found = short.policies[0].duration.as_secs();
    assert_eq!(found, 10, "a shorter maximum shortens the default");
}

#[test]
fn programs_reach_the_settings() {
    let program = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        CommandTemplate::try_from(words).unwrap()
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
    let ssh = &read.catalog["ssh"];
    assert_eq!(ssh.on_open, Some(program(&["/h", "{user}"])));
    assert_eq!(ssh.on_close, Some(program(&["/h"])));
    assert_eq!(read.catalog["web"].on_open, None);

    let sparse = format!("{command}open = [\"/o\"]\nclose = [\"/c\"]\nlist = []");
    let programs = settings(&with(&sparse, "")).firewall.command.unwrap();
    let expected = (None, Duration::from_secs(5));
    assert_eq!((programs.list, programs.deadline), expected);
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
    let policies = loaded.settings.policies.iter();
    let names: Vec<&str> = policies.map(|one| one.user.as_str()).collect();
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
    assert_eq!(loaded.codes, [(1, code(6)), (2, code(8))]);
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
    let old_keys = loaded.old_keys.iter();
    let found: Vec<_> = old_keys
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
    let amy = format!("key = \"{KEY}\"\ndisabled = true\n{old}");
    let bob = format!("key = \"{}\"\ndisabled = false", key(8));
    let (amy, bob) = (user("amy", "tcp/80", &amy), user("bob", "tcp/22", &bob));
    let text = format!("[gate]\nname = \"g\"\n{amy}{bob}");
    let loaded = load(&bundle(&text, &[])).unwrap();
    let (policies, disabled) = (&loaded.settings.policies, &loaded.settings.disabled);
    assert_eq!((policies.len(), policies[0].user.as_str()), (1, "bob"));
    assert_eq!((disabled.len(), disabled[0].user.as_str()), (1, "amy"));
    let old_or_disabled = (loaded.old_keys.len(), loaded.disabled_keys.len());
    assert_eq!((loaded.keys.len(), old_or_disabled), (1, (0, 1)));
    assert_eq!(loaded.settings.protection().closed(), "tcp/22, tcp/80");
    let twice = refused(&bundle(&text.replace(KEY, &key(8)), &[]));
    assert!(twice.contains("the same key is given twice"), "{twice}");
}

#[test]
fn sequence_users_come_after_the_others() {
    let main = format!(
        "gate.name = \"g\"\nservice.web.ports = [\"tcp/80\"]\n{}{}{}{}",
        user("ann", "web", "sequence = [\"tcp/7000\", \"udp/9000\"]"),
        user("bob", "web", &format!("key = \"{}\"", key(1))),
        user(
            "cat",
            "web",
            &format!(
                "sequence = {{ key = \"{}\", ports = \"20000-60000\", hits = 6 }}",
                key(2)
            )
        ),
        user("dan", "web", "sequence = [\"tcp/7001\"]\ndisabled = true"),
    );
    let loaded = load(&bundle(&main, &[])).unwrap();
    let names = |policies: &[Policy]| -> Vec<String> {
        policies
            .iter()
            .map(|policy| policy.user.to_string())
            .collect()
    };
    assert_eq!(names(&loaded.settings.policies), ["bob", "ann", "cat"]);
    assert_eq!(names(&loaded.settings.disabled), ["dan"]);
    let numbers: Vec<usize> = loaded.sequences.iter().map(|user| user.user).collect();
    assert_eq!((loaded.keys.len(), numbers), (1, vec![1, 2]));
    let watched = &loaded.settings.sequences;
    let ports: Vec<String> = watched.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["tcp/7000", "tcp/20000-60000", "udp/9000"]);
    assert!(watched.only_syn);
    assert_eq!(watched.readable, ["ann"]);
}

#[test]
fn users_are_listed_without_secrets() {
    let amy = user(
        "amy",
        "tcp/22",
        &format!("key = \"{KEY}\"\ndisabled = true"),
    );
    let main = format!("[gate]\nname = \"g\"\nprivate_key = \"gate.key\"\n{amy}");
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
        let (name, own_file, disabled) = (&user.policy.user, user.own_file, user.disabled);
        format!(
            "{name} {} {own_file} {disabled} {}",
            user.line,
            user.key.name()
        )
    });
    let expected = [
        "amy 4 false true shared key",
        "bob 1 true false key pair with psk",
        "cat 1 false false shared key in a file",
        "dan 5 false false shared key",
    ];
    assert!(rows.eq(expected), "{listed:?}");
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

#[test]
fn fwknop_users_come_after_the_others() {
    let fwknop = |name: &str, keys: &str| user(name, "web", &format!("fwknop = {{ {keys} }}"));
    let main = format!(
        "gate.name = \"g\"\nservice.web.ports = [\"tcp/80\"]\n{}{}{}{}{}",
        fwknop(
            "ann",
            "passphrase = \"k\", hmac_passphrase = \"m\", hmac = \"md5\", username = \"a\", commands = { \"go on\" = \"web\" }"
        ),
        user("bob", "web", &format!("key = \"{}\"", key(1))),
        fwknop(
            "cat",
            &format!("key_file = \"cat.key\", hmac_key = \"{}\"", key(3))
        ),
        fwknop(
            "dan",
            "passphrase = \"k\", mode = \"legacy\", insecure_without_hmac = true"
        ),
        user(
            "eve",
            "web",
            "fwknop = { passphrase = \"k\", hmac_passphrase = \"e\" }\ndisabled = true"
        ),
    );
    let bundle = bundle(&main, &[("cat.key", "c2VjcmV0\n")]);
    assert_eq!(key_files(&bundle), [Path::new(FOLDER).join("cat.key")]);
    let loaded = load(&bundle).unwrap();
    let names = |policies: &[Policy]| -> Vec<String> {
        policies
            .iter()
            .map(|policy| policy.user.to_string())
            .collect()
    };
    assert_eq!(
        names(&loaded.settings.policies),
        ["bob", "ann", "cat", "dan"]
    );
    assert_eq!(names(&loaded.settings.disabled), ["eve"]);
    assert_eq!((loaded.keys.len(), loaded.settings.fwknop_users), (1, 3));
    assert_eq!(loaded.settings.without_hmac, ["dan"]);
    let users = loaded
        .fwknop
        .iter()
        .map(|user| (user.user, user.key.has_mac()));
    assert_eq!(
        users.collect::<Vec<_>>(),
        [(1, true), (2, true), (3, false)]
    );
    assert_eq!(loaded.disabled_fwknop[0].user, 0);
    let ann = &loaded.fwknop[0];
    assert_eq!(ann.username.as_deref(), Some("a"));
    assert_eq!(ann.commands["go on"].to_string(), "web");
    let (_, listed) = settings_and_users(&bundle).unwrap();
    let kinds: Vec<&str> = listed.iter().map(|user| user.key.name()).collect();
    assert_eq!(
        kinds,
        [
            "fwknop",
            "shared key",
            "fwknop",
            "fwknop without HMAC",
            "fwknop"
        ]
    );
}

#[test]
fn services_of_other_files_count() {
    let main = format!(
        "[gate]\nname = \"g\"\n[service.web]\nports = [\"tcp/80\"]\n{}",
        user("alice", "dns", &format!("key = \"{KEY}\""))
    );
    let file = |text: &str| bundle(&main, &[("services.d/dns.toml", text)]);
    let dns = "[service.dns]\nports = [\"udp/53\"]\n";
    let loaded = load(&file(dns)).unwrap();
    let names: Vec<&String> = loaded.settings.catalog.keys().collect();
    assert_eq!(names, ["dns", "web"]);
    for (text, problem) in [
        ("", "posternd.toml:7:13: unknown service \"dns\""),
        (
            "[user]\n",
            "services.d/dns.toml:1:2: unknown key \"user\" in a file of services",
        ),
        (
            "[service.dns]\n",
            "services.d/dns.toml:1:1: [service.dns] has no ports",
        ),
        (
            &format!("{dns}[service.web]\nports = [\"tcp/81\"]\n"),
            "services.d/dns.toml:3:10: this service is defined twice, first at posternd.toml:3",
        ),
    ] {
        let problems = refused(&file(text));
        assert!(problems.contains(problem), "{problems}");
    }
}

#[test]
fn forwards_of_two_files_do_not_collide() {
    let forward = |name: &str, host: &str| {
        format!("[service.{name}]\nports = [\"tcp/22\"]\nforward = \"{host}:22\"\n")
    };
    let main = format!("[gate]\nname = \"g\"\n{}", forward("a", "10.0.0.1"));
    let other = forward("b", "10.0.0.2");
    let problems = refused(&bundle(&main, &[("services.d/b.toml", &other)]));
    assert!(
        problems.contains("tcp/22 is already forwarded to 10.0.0.1, at posternd.toml:4"),
        "{problems}"
    );
}
