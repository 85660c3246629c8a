//! What is wrong with a config is said with its place, in a sentence, and all of it at once.

use super::*;

#[test]
fn what_is_wrong_in_a_gate_is_said_with_line_column_and_cure() {
    let cases = [
        (
            "prot = 1",
            "3:1: \"prot\" has no meaning in [gate]; the keys of [gate] are name, port, address,",
        ),
        (
            "port = 0",
            "3:8: \"0\" is out of the range of port; write a whole number from 1 to 65535",
        ),
        ("port = 65536", "3:8: \"65536\" is out of the range"),
        ("port = [1, -2]", "3:12: \"-2\" is out of the range"),
        (
            "port = \"62201\"",
            "3:8: port cannot be a text; write a whole number",
        ),
        (
            "port = []",
            "3:8: port lists 0 ports; write 1 to 16 UDP ports",
        ),
        ("port = [5, 6, 5]", "3:15: port 5 is listed twice"),
        (
            "address = \"gate:0\"",
            "3:11: \"gate:0\" is not an address to knock at; write host, host:port",
        ),
        (
            "address = 5",
            "3:11: address cannot be a number; write a text in quotes",
        ),
        (
            "address = [\"a\", \"b c\"]",
            "3:17: \"b c\" is not an address to knock at",
        ),
        (
            "address = [\"a\", \"b\", \"c\", \"d\", \"e\"]",
            "3:11: address lists 5 addresses; write at most 4",
        ),
        (
            "interfaces = []",
            "3:14: interfaces is empty; write [\"any\"]",
        ),
        (
            "interfaces = \"eth0\"",
            "3:14: interfaces cannot be a text; write a list of texts",
        ),
        (
            "interfaces = [\"any\", \"eth0\"]",
            "3:14: \"any\" stands beside",
        ),
        (
            "interfaces = [\"eth0\", \"eth0\"]",
            "3:23: interface \"eth0\" is listed twice",
        ),
        (
            "interfaces = [\"a b\"]",
            "3:15: \"a b\" is not the name of an interface",
        ),
        (
            "window = \"4s\"",
            "3:10: a window of 4s is out of bounds; write 5s to 5m",
        ),
        (
            "window = 30",
            "3:10: window cannot be a number; write a text in quotes",
        ),
        ("window = \"30\"", "3:10: \"30\" is not a length of time"),
        (
            "state_dir = \"lib\"",
            "3:13: this path is relative; write the whole path",
        ),
        ("control_socket = \"c\"", "3:18: this path is relative"),
        (
            "run_as = \"\"",
            "3:10: \"\" is not the name of a system user",
        ),
        (
            "capture = \"pcap\"",
            "3:11: \"pcap\" is no value of capture; write \"packet\" or \"udp\"",
        ),
        (
            "name = \"again\"",
            "3:1: this is not TOML: duplicate key; keep one",
        ),
        (
            "port 1",
            "3:6: this is not TOML: key with no value, expected `=`",
        ),
        (
            "[firewall]\nbackend = \"pf\"",
            "4:11: \"pf\" is no value of backend",
        ),
        (
            "[firewall]\nprotect = true",
            "4:11: protect cannot be true or false",
        ),
        (
            "[firewall]\nonstop = \"keep\"",
            "4:1: \"onstop\" has no meaning in [firewall]",
        ),
        (
            "[metrics]\nport = 9162",
            "4:1: \"port\" has no meaning in [metrics]; the keys of [metrics] are file, interval, listen",
        ),
        (
            "[metrics]\nfile = \"postern.prom\"",
            "4:8: this path is relative",
        ),
        (
            "[metrics]\nfile = \"/run/postern.txt\"",
            "4:8: a node exporter reads only files that end in .prom; write a path like",
        ),
        (
            "[metrics]\ninterval = \"15s\"",
            "4:12: interval stands without file; add file =",
        ),
        (
            "[metrics]\nfile = \"/m.prom\"\ninterval = \"0s\"",
            "5:12: \"0s\" is no interval; write 1s to 1h",
        ),
        (
            "[metrics]\nfile = \"/m.prom\"\ninterval = \"2h\"",
            "5:12: \"2h\" is no interval",
        ),
        (
            "[metrics]\nlisten = 9162",
            "4:10: listen cannot be a number",
        ),
        (
            "[metrics]\nlisten = \"0.0.0.0:9162\"",
            "4:10: 0.0.0.0 is not a loopback address: others could read",
        ),
        (
            "[metrics]\nlisten = \"localhost:9162\"",
            "4:10: \"localhost:9162\" is not an address with a port; write an address",
        ),
        (
            "[service.tcp]\nports = [\"tcp/1\"]",
            "3:10: \"tcp\" means a protocol",
        ),
        (
            "[service.Web]\nports = [\"tcp/1\"]",
            "3:10: \"Web\" cannot be the name of a service",
        ),
        (
            "[service.dns]\nports = []",
            "4:9: service \"dns\" has no ports",
        ),
        (
            "[service.dns]",
            "3:1: [service.dns] has no ports; add ports = [\"tcp/80\"]",
        ),
        (
            "[service.dns]\nports = [\"udp/53\", \"web\"]",
            "4:20: \"web\" names no ports; write tcp/22",
        ),
        (
            "[service.dns]\nport = [\"udp/53\"]\nports = [\"udp/53\"]",
            "4:1: \"port\" has no meaning in [service.dns]",
        ),
        (
            "[service.a]\nports = [\"tcp/1\"]\nforward = \"inner:22\"",
            "5:11: \"inner:22\" is not an address with a port; write address and port",
        ),
        (
            "[service.a]\nports = [\"tcp/1\"]\nforward = \"127.0.0.1:22\"",
            "5:11: 127.0.0.1 is the gate itself; leave forward out",
        ),
        (
            "[service.a]\nports = [\"tcp/1\"]\nforward = \"224.0.0.1:22\"",
            "5:11: 224.0.0.1 is no host's address",
        ),
        (
            "[service.a]\nports = [\"tcp/1\"]\nforward = 22",
            "5:11: forward cannot be a number; write a text",
        ),
        (
            "[service.a]\nports = [\"tcp/1\", \"tcp/2\"]\nforward = \"10.0.0.5:22\"",
            "4:9: a service that forwards has exactly one port; write ports = [\"tcp/2222\"]",
        ),
        (
            "[service.a]\nports = [\"icmp\"]\nforward = \"10.0.0.5\"",
            "4:10: icmp cannot be forwarded; write tcp, udp or sctp",
        ),
        (
            "[service.a]\nports = [\"tcp/1-5\"]\nforward = \"10.0.0.5:22\"",
            "4:10: tcp/1-5 is a range and cannot go to one port; write forward = \"10.0.0.5\" without a port",
        ),
        (
            "[service.a]\nports = [\"tcp/1\"]\nmasquerade = true",
            "5:14: masquerade stands without forward; add forward = ",
        ),
        (
            "[service.a]\nports = [\"tcp/1\"]\nforward = \"10.0.0.5:2\"\nmasquerade = 1",
            "6:14: masquerade cannot be a number; write true or false",
        ),
        (
            "[service.a]\nports = [\"tcp/1\"]\nforward = \"10.0.0.5:22\"\n[service.b]\nports = [\"tcp/1-9\"]\nforward = \"10.0.0.6\"",
            "7:9: tcp/1-9 is forwarded already, to 10.0.0.5 at posternd.toml:4; choose another port of the gate",
        ),
        (
            "[service.a]\nports = [\"tcp/1\"]\nforward = \"10.0.0.5:22\"\n[service.b]\nports = [\"tcp/2\"]\nforward = \"10.0.0.5:22\"\nmasquerade = true",
            "8:11: the service at posternd.toml:4 leads to the same host and port, but with another masquerade; write the same",
        ),
        (
            "[service.dns]\nports = [\"udp/53\"]\nend_connections = \"yes\"",
            "5:19: end_connections cannot be a text; write true or false, without quotes",
        ),
        (
            "[web]",
            "3:2: \"web\" has no meaning in posternd.toml; the keys of posternd.toml are gate, firewall, metrics, service, user",
        ),
    ];
    for (line, expected) in cases {
        let said = refused(&bundle(&with(line, ""), &[]));
        assert!(
            said.starts_with(&format!("posternd.toml:{expected}")),
            "{line}\n{said}"
        );
        assert_eq!(said.lines().count(), 1, "{line}\n{said}");
    }
    let lists = |ports: usize, interfaces: usize| {
        let names: Vec<String> = (0..interfaces)
            .map(|number| format!("wan{number}"))
            .collect();
        bundle(
            &with(
                &format!(
                    "port = {:?}\ninterfaces = {names:?}",
                    (1..=ports).collect::<Vec<_>>()
                ),
                "",
            ),
            &[],
        )
    };
    assert!(load(&lists(16, 32)).is_ok());
    assert!(
        refused(&lists(17, 32))
            .starts_with("posternd.toml:3:8: port lists 17 ports; write 1 to 16 UDP ports")
    );
    let said = refused(&lists(16, 33));
    assert!(
        said.starts_with("posternd.toml:4:14: interfaces lists 33 names; name at most 32, or write [\"any\"] to listen on every one"),
        "{said}"
    );
    for name in ["\"\"".to_owned(), format!("\"{}\"", "g".repeat(256))] {
        let said = refused(&bundle(&format!("[gate]\nname = {name}"), &[]));
        assert!(
            said.starts_with("posternd.toml:2:8: a gate name must have 1 to 255 bytes; "),
            "{said}"
        );
    }
    assert!(
        refused(&bundle("[gate]", &[]))
            .starts_with("posternd.toml:1:1: [gate] has no name; add name = ")
    );
    assert!(
        refused(&bundle("", &[])).starts_with("posternd.toml:1:1: there is no [gate]; add [gate]")
    );
    assert!(refused(&Bundle::default()).starts_with("posternd.toml: was not read"));
}

#[test]
fn what_is_wrong_in_a_user_is_said_with_line_column_and_cure() {
    // The user's table begins on line 6. Lines 7 to 9 are name, services and key, the last of them the case's own if it has one of these.
    let cases = [
        (
            "name = \"a b\"",
            "9:8: \"a b\" is not a user's name; write 1 to 64",
        ),
        ("services = []", "9:12: this user may open nothing"),
        (
            "services = [\"web\", \"mail\"]",
            "9:20: \"mail\" is no service of this gate; add a [service.NAME]",
        ),
        (
            "services = [\"tpc/22\"]",
            "9:13: \"tpc/22\" is not a service; write tcp/22",
        ),
        (
            "key = \"short\"",
            "9:7: this is no key: a key must have exactly 44 characters of base64, not 5; write the one line",
        ),
        (
            "key = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\"",
            "9:7: this is no key: a key must be canonical base64",
        ),
        ("key = 5", "9:7: key cannot be a number"),
        ("psk = \"\"", "6:1: this user has no key; add key"),
        ("key_file = \"\"", "9:12: this is not a path"),
        (
            "key_file = \"none.key\"",
            "none.key: was not read, though posternd.toml:9 names it",
        ),
        (
            "public_key = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"",
            "9:14: a user with public_key needs a private key of the gate",
        ),
        (
            "networks = [\"10.0.0.1/24\"]",
            "10:13: 10.0.0.1/24 has bits set behind its prefix; write 10.0.0.0/24",
        ),
        ("networks = []", "10:12: networks is empty"),
        (
            "targets = [\"10.0.0.1\"]",
            "10:12: 10.0.0.1 has no prefix length; write 10.0.0.1/32",
        ),
        (
            "targets = \"10.0.0.0/8\"",
            "10:11: targets cannot be a text; write a list",
        ),
        (
            "grant_to = \"all\"",
            "10:12: \"all\" is no value of grant_to; write \"claimed\" or \"observed\" or \"either\"",
        ),
        (
            "max_prefix = 24",
            "10:14: max_prefix cannot be a number; write a table, max_prefix = { v4 = 32, v6 = 128 }",
        ),
        (
            "max_prefix = { v4 = 33 }",
            "10:21: \"33\" is out of the range of v4; write a whole number from 0 to 32",
        ),
        (
            "max_prefix = { v6 = 129 }",
            "10:21: \"129\" is out of the range of v6",
        ),
        (
            "max_prefix = { v5 = 1 }",
            "10:16: \"v5\" has no meaning in max_prefix",
        ),
        (
            "duration = \"0s\"",
            "10:12: \"0s\" is not a whole number of seconds from 1 on",
        ),
        (
            "duration = \"2h\"",
            "10:12: a duration of 2h is longer than max_duration, 1h",
        ),
        (
            "max_duration = \"721h\"",
            "10:16: a max_duration of 721h is longer than 30 days; write 720h",
        ),
        ("quota = \"0/min\"", "10:9: a quota of 0"),
        (
            "end_connections = 1",
            "10:19: end_connections cannot be a number; write true or false",
        ),
        (
            "quota = \"30\"",
            "10:9: \"30\" is not a quota; write knocks in a time, like 30/min",
        ),
        (
            "service = [\"web\"]",
            "10:1: \"service\" has no meaning in [[user]]",
        ),
        (
            "max_duration = \"10s\"\nduration = \"11s\"",
            "11:12: a duration of 11s is longer than max_duration, 10s",
        ),
        (
            "key_file = \"k\"\nkey = \"k\"",
            "10:7: this user has both key_file and key; keep one",
        ),
        ("psk = \"k\"", "6:1: this user has no key"),
        ("totp = 5", "10:8: totp cannot be a number; write a text"),
        (
            "totp = \"GEZDGNBVGY3TQOJQ\"",
            "10:8: totp: a secret for codes must have 16 to 64 bytes",
        ),
        (
            "totp = \"GEZDGNBVGY3TQOJQGEZDGNBVG1\"",
            "10:8: totp: a secret for codes must be base32: A to Z and 2 to 7; write 32",
        ),
        (
            "totp_digits = 8",
            "10:15: totp_digits stands without totp; add totp",
        ),
        (
            "totp = \"GEZDGNBVGY3TQOJQGEZDGNBVGY\"\ntotp_digits = 5",
            "11:15: \"5\" is out of the range of totp_digits; write a whole number from 6",
        ),
        ("[user.deep]", "10:7: \"deep\" has no meaning in [[user]]"),
    ];
    for (line, expected) in cases {
        let said = refused(&bundle(&with("", line), &[]));
        let expected = if expected.starts_with("none") {
            expected.to_owned()
        } else {
            format!("posternd.toml:{expected}")
        };
        assert!(said.starts_with(&expected), "{line}\n{said}");
        assert_eq!(
            said.lines().count(),
            if line.starts_with("psk") { 2 } else { 1 },
            "{line}\n{said}"
        );
    }
    let short = load(&bundle(&with("", "max_duration = \"10s\""), &[]))
        .unwrap()
        .settings;
    assert_eq!(
        short.policies[0].duration,
        Duration::from_secs(10),
        "the default gives way to a shorter maximum"
    );
}

#[test]
fn psk_and_single_brackets_and_empty_users_are_refused_where_they_stand() {
    let psk = format!("key = \"{KEY}\"\npsk = \"{KEY}\"");
    assert!(
        refused(&bundle(&with("", &psk), &[]))
            .starts_with("posternd.toml:10:7: psk stands without public_key; take psk out")
    );
    let single = "[gate]\nname = \"g\"\n[user]\nname = \"a\"";
    assert!(
        refused(&bundle(single, &[]))
            .starts_with("posternd.toml:3:1: user cannot be a table; write [[user]]")
    );
    let said = refused(&bundle("gate.name = \"g\"\n[[user]]\n", &[]));
    assert_eq!(
        said.lines().count(),
        3,
        "no name, no services, no key\n{said}"
    );
    assert!(
        said.lines()
            .all(|line| line.starts_with("posternd.toml:2:1: ")),
        "{said}"
    );
}

#[test]
fn names_and_keys_given_twice_name_both_places() {
    let beside = |name: &str, key: &str| {
        format!("# a comment\nname = \"{name}\"\nservices = [\"web\"]\nkey = \"{key}\"\n")
    };
    let twice = bundle(
        &with("", ""),
        &[
            ("users.d/a.toml", &beside("alice", &key(1))),
            ("users.d/b.toml", &beside("bob", KEY)),
        ],
    );
    let said = refused(&twice);
    assert_eq!(
        said,
        "users.d/a.toml:2:8: user \"alice\" is defined twice, first at posternd.toml:7; rename or take out one of the two\n\
         users.d/b.toml:4:7: the same key is given twice, first at posternd.toml:9; give each user a key of their own, from postern keygen"
    );
    let mut from_file = bundle(
        &with("", ""),
        &[(
            "users.d/c.toml",
            "name = \"c\"\nservices = [\"web\"]\nkey_file = \"/k\"",
        )],
    );
    from_file.keys.push(BundleFile {
        path: "/k".into(),
        text: KEY.to_owned().into(),
    });
    assert!(
        refused(&from_file).starts_with(
            "users.d/c.toml:3:12: the same key is given twice, first at posternd.toml:9"
        )
    );
}

#[test]
fn a_key_file_that_holds_no_key_is_named_with_the_line_that_names_it() {
    for (text, what) in [
        ("", "not 0"),
        (&*format!("{KEY}\n\n"), "not 45"),
        (&KEY.replace('8', "9"), "canonical"),
    ] {
        let said = refused(&bundle(
            &with("", "key_file = \"a.key\""),
            &[("a.key", text)],
        ));
        assert!(
            said.starts_with("a.key: this is no key: ") && said.contains(what),
            "{said}"
        );
        assert!(said.contains("(named at posternd.toml:9)"), "{said}");
    }
    let public = format!("public_key = \"{KEY}\"");
    let said = refused(&bundle(
        &with("private_key = \"gate.key\"", &public),
        &[("gate.key", "x")],
    ));
    assert!(
        said.starts_with("gate.key: this is no key") && said.contains("(named at posternd.toml:3)"),
        "{said}"
    );
    let said = refused(&bundle(&with("private_key = \"gate.key\"", &public), &[]));
    assert!(said.starts_with("gate.key: was not read"), "{said}");
    let weak = format!("public_key = \"{}\"", key(0));
    let said = refused(&bundle(
        &with("private_key = \"gate.key\"", &weak),
        &[("gate.key", &key(7))],
    ));
    assert!(
        said.starts_with("posternd.toml:9:14: the public key is a weak point"),
        "{said}"
    );
}

#[test]
fn all_problems_of_all_files_are_said_at_once_in_the_order_of_lines() {
    let main = "[gate]\nprot = 1\nname = \"\"\n[firewall]\nbackend = \"pf\"\n[[user]]\nname = \"a\"\n[[user]]\nquota = 1\n";
    let said = refused(&bundle(
        main,
        &[
            ("users.d/a.toml", "name = "),
            ("users.d/b.toml", "nmae = \"b\""),
        ],
    ));
    let places: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(place, _)| place)
        .collect();
    let main = [
        "2:1", "3:8", "5:11", "6:1", "6:1", "8:1", "8:1", "8:1", "9:9",
    ]
    .map(|place| format!("posternd.toml:{place}"));
    let beside = [
        "users.d/a.toml:1:8",
        "users.d/b.toml:1:1",
        "users.d/b.toml:1:1",
        "users.d/b.toml:1:1",
        "users.d/b.toml:1:1",
    ];
    assert_eq!(
        places,
        [main.as_slice(), beside.map(str::to_owned).as_slice()].concat(),
        "{said}"
    );
}

#[test]
fn a_main_file_that_is_no_toml_makes_no_user_wrong() {
    let beside = format!("name = \"b\"\nservices = [\"web\"]\npublic_key = \"{KEY}\"");
    let said = refused(&bundle("[gate\n", &[("users.d/b.toml", &beside)]));
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_number_of_users_is_bounded() {
    let users = |count: usize| format!("user = [{}]\n[gate]\nname = \"g\"\n", "{},".repeat(count));
    let said = |count| {
        load(&bundle(&users(count), &[]))
            .map(|loaded| loaded.settings)
            .unwrap_err()
            .0
    };
    let many = |problems: &[Problem]| {
        problems
            .iter()
            .filter(|problem| problem.what.contains("more than 200000 users"))
            .count()
    };
    assert_eq!(many(&said(200_000)), 0);
    assert_eq!(many(&said(200_002)), 1, "and that is said once");
}
