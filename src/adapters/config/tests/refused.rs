//! Whole configs that are refused. The tables of refused lines are in the folder `refused`.

use std::fmt::Write;

use super::*;
use crate::model::settings::{CaptureKind, LogSensor, LogSource};

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
            let problem = problem.trim_start_matches("posternd.toml:");
            writeln!(written, "    {problem}").unwrap();
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
#[cfg(all(feature = "etcd", feature = "redis"))]
fn wrong_clusters_are_refused() {
    check_table("cluster.txt", |lines| with(lines, ""));
}

#[test]
#[cfg(not(feature = "etcd"))]
fn coordinator_that_is_not_built_is_refused() {
    let section = "[cluster]\ncoordinator = 'etcd'\nendpoints = ['http://10.0.0.1']\n";
    let problems = refused(&bundle(&with(section, ""), &[]));
    let cure = "built without etcd; build it with: cargo build --release --features etcd";
    assert!(problems.contains(cure), "{problems}");
}

#[test]
fn wrong_lines_of_a_user_are_refused() {
    check_table("user.txt", |lines| with("", lines));
    let problems = refused(&bundle("gate.name = \"g\"\n[[user]]\n", &[]));
    let missing = ["no name", "no services", "no key"].map(|what| problems.contains(what));
    assert_eq!((missing, problems.lines().count()), ([true; 3], 3));
}

#[test]
fn wrong_keys_of_fwknop_are_refused() {
    check_table("fwknop.txt", |lines| with("", lines));
    let user = |name: usize, keys: &str| user(&name.to_string(), "tcp/22", keys);
    let users = |count: usize| {
        let keys = |n| format!("fwknop = {{ passphrase = \"k\", hmac_passphrase = \"m{n}\" }}");
        let users: Vec<String> = (1..=count).map(|n| user(n, &keys(n))).collect();
        format!("gate.name = \"g\"\n{}", users.concat())
    };
    assert_eq!(settings(&users(1024)).fwknop_users, 1024);
    let problems = refused(&bundle(&users(1026), &[]));
    let expected = "posternd.toml:4101:10: there are more than 1024 users with fwknop; ";
    assert!(
        problems.starts_with(expected) && problems.lines().count() == 1,
        "{problems}"
    );
    let same = "fwknop = { passphrase = \"k\", hmac_passphrase = \"m\" }";
    let two = format!("gate.name = \"g\"\n{}{}", user(1, same), user(2, same));
    let problems = refused(&bundle(&two, &[]));
    assert!(
        problems.contains("given twice, first at posternd.toml:5"),
        "{problems}"
    );
    let turn = |n: usize, order: u8| user(n, &same.replace(" }", &format!(", order = {order} }}")));
    let two = |second: u8| format!("gate.name = \"g\"\n{}{}", turn(1, 1), turn(2, second));
    let problems = refused(&bundle(&two(1), &[]));
    assert!(
        problems.contains("with the same key has the same order, first at posternd.toml:5"),
        "{problems}"
    );
    assert_eq!(settings(&two(2)).fwknop_users, 2);
    let bound = with(
        "capture = \"udp\"",
        "fwknop = { passphrase = \"k\", hmac_passphrase = \"m\", destination = [\"192.0.2.1/32\"] }",
    );
    let problems = refused(&bundle(&bound, &[]));
    assert!(
        problems.contains("does not know where a packet was sent to"),
        "{problems}"
    );
}

#[test]
fn wrong_sequences_are_refused() {
    check_table("sequence.txt", |lines| with("", lines));
    let problems = refused(&bundle(
        &with("capture = \"udp\"", "sequence = [\"tcp/7000\"]"),
        &[],
    ));
    assert!(
        problems.contains("with capture = \"udp\", the gate sees no sequence"),
        "{problems}"
    );
    let lines = "{ kmsg = true, prefix = \"KNOCK \" }";
    let hits = "sequence = [\"tcp/7000\"]";
    for (capture, kind) in [
        (lines.to_owned(), CaptureKind::None),
        (format!("[\"udp\", {lines}]"), CaptureKind::Udp),
    ] {
        let loaded = settings(&with(&format!("capture = {capture}"), hits));
        let expected = LogSensor {
            source: LogSource::Kmsg,
            prefix: "KNOCK ".to_owned(),
        };
        let found = (loaded.gate.capture, loaded.gate.log_sensor);
        assert_eq!(found, (kind, Some(expected)));
    }
    let problems = refused(&bundle(&with(&format!("capture = {lines}"), ""), &[]));
    assert!(
        problems.contains("this user sends datagrams, and a log sensor sees only sequences"),
        "{problems}"
    );
    let names: Vec<String> = (0..29).map(|n| format!("\"eth{n}\"")).collect();
    let many = format!("interfaces = [{}]", names.join(", "));
    let problems = refused(&bundle(&with(&many, "sequence = [\"tcp/7000\"]"), &[]));
    assert!(problems.contains("at most 28 interfaces"), "{problems}");
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
    let alice = beside("alice", &format!("key = \"{}\"", key(1)));
    let bob = beside("bob", &format!("key = \"{KEY}\""));
    let cat = beside("cat", "key_file = \"cat.key\"");
    let files = [
        ("users.d/a.toml", alice.as_str()),
        ("users.d/b.toml", &bob),
        ("users.d/c.toml", &cat),
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

/// A line of `[gate]`, a line of the user, a key file with its text, and the problem. Texts: see the test.
const KEY_FILES: &str = r#"
 | key_file = "a.key" | a.key | | a.key: invalid key: a key must have exactly 44 characters of base64, not 0 (named at posternd.toml:9)
 | key_file = "a.key" | a.key | KEY⏎⏎ | a.key: invalid key: a key must have exactly 44 characters of base64, not 45 (named at posternd.toml:9)
 | key_file = "a.key" | a.key | NONCANONICAL | a.key: invalid key: a key must be canonical base64
 | key_file = "a.key" | b.key | | a.key: was not read, but posternd.toml:9 names it; load
private_key = "gate.key" | public_key = "KEY" | gate.key | x | gate.key: invalid key: a key must have exactly 44 characters of base64, not 1 (named at posternd.toml:3)
private_key = "gate.key" | public_key = "KEY" | b.key | | gate.key: was not read, but private_key of [gate] (line 3) names it
private_key = "gate.key" | public_key = "ZERO" | gate.key | KEY7 | posternd.toml:9:14: the public key is a weak point
"#;

#[test]
fn wrong_key_files_are_named_with_their_line() {
    for row in KEY_FILES.trim_start_matches('\n').lines() {
        let row = row
            .replace("NONCANONICAL", &KEY.replace('8', "9"))
            .replace("KEY7", &key(7))
            .replace("KEY", KEY)
            .replace("ZERO", &key(0))
            .replace('⏎', "\n");
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim_matches(' ')).collect();
        let [gate, user, file, text, problem] = cells[..] else {
            panic!("{row}")
        };
        let problems = refused(&bundle(&with(gate, user), &[(file, text)]));
        assert!(problems.starts_with(problem), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn all_problems_of_all_files_are_reported() {
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
        let users = (0..count).map(|number| user(&format!("u{number}"), "tcp/22", ""));
        let text = format!("[gate]\nname = \"g\"\n{}", String::from_iter(users));
        let how = How {
            most_users: 3,
            ..How::DEFAULT
        };
        let problems = read_and_wipe(&bundle(&text, &[]), how)
            .map(|_| ())
            .unwrap_err();
        problems.to_string().matches("more than 3 users").count()
    };
    assert_eq!([3, 4, 5].map(too_many), [0, 1, 1]);
    assert_eq!(How::DEFAULT.most_users, 2_000_000);
}

/// A file that is divided has the same problems at the same places, and so have users in different parts.
#[test]
fn divided_files_have_the_same_problems() {
    let gate = "[gate]\nname = \"g\"\n";
    let [one, two] = [KEY.to_owned(), key(1)].map(|key| format!("key = \"{key}\""));
    let alice = user("alice", "tcp/22", &one);
    let wrong = user("bob", "tcp/0", "quota = 7\n[user.max_prefix]\nv4 = 33");
    let twice = user("alice", "tcp/22", &one);
    let web = "[service.web]\nports = [\"tcp/80\"]\nport = 1\n";
    let many = format!(
        "# users\n{alice}{wrong}{twice}\n{}",
        user("carol", "web", &two)
    );
    for main in [
        format!("{gate}{alice}{wrong}{twice}{web}"),
        format!("{gate}{web}{alice}{wrong}"),
        format!("{alice}{gate}{twice}"),
        format!("{gate}{web}{alice}name = \n{wrong}"),
        format!("{gate}{alice}[user]\n"),
    ] {
        // With a part that is not TOML, the services of the rest are known.
        let users = if main.contains("name = \n") {
            &twice
        } else {
            &many
        };
        let files = [
            ("users.d/many.toml", users.as_str()),
            ("users.d/x.toml", &wrong),
        ];
        let bundle = bundle(&main, &files);
        let refused = |part| {
            let how = How {
                part,
                ..How::DEFAULT
            };
            let problems = read_and_wipe(&bundle, how).map(|_| ()).unwrap_err();
            problems.to_string()
        };
        assert_eq!(refused(1), refused(How::DEFAULT.part), "{main}");
    }
}

#[test]
fn divided_files_have_the_same_users() {
    let users = (1..9).map(|n| user(&format!("u{n}"), "tcp/22", &format!("key = \"{}\"", key(n))));
    let many = String::from_iter(users);
    let bundle = bundle(&with("", ""), &[("users.d/many.toml", &many)]);
    let loaded = [1, How::DEFAULT.part].map(|part| {
        let how = How {
            part,
            ..How::DEFAULT
        };
        let loaded = read_and_wipe(&bundle, how).unwrap().0;
        let names = loaded
            .settings
            .policies
            .iter()
            .map(|policy| policy.user.to_string());
        let hints: Vec<_> = loaded.keys.iter().map(hint).collect();
        let kinds = loaded.settings.policies.with_distinct_rules().count();
        (names.collect::<Vec<_>>(), hints, kinds)
    });
    assert_eq!(loaded[0], loaded[1]);
    assert_eq!((loaded[0].1.len(), loaded[0].2), (9, 2), "rules are shared");
}
