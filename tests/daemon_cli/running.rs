//! Commands that need a running daemon, a second daemon, and a damaged store.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::gate::Gate;

const FIREWALL: &str = "backend = \"iptables\"";
const KEY_LINE: &str = "key = \"KEY\"";

pub(crate) fn question_without_daemon_is_exit_69() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let socket = gate.path("control.sock").display().to_string();
    let commands: [&[&str]; 4] = [
        &["status"],
        &["grants", "--json"],
        &["close", "--all"],
        &["close", "--user", "alice", "--json"],
    ];
    for arguments in commands {
        let line = gate.run(arguments).one_line(69);
        assert!(
            line.starts_with(&format!(
                "no posternd answers on {socket}: it is not running: "
            )),
            "{line}"
        );
        assert!(
            line.contains("; start it: systemctl start posternd"),
            "{line}"
        );
    }
    // The socket exists, but nobody listens on it.
    drop(UnixListener::bind(gate.path("control.sock")).unwrap());
    assert!(
        gate.run("status")
            .one_line(69)
            .contains("Connection refused")
    );
}

pub(crate) fn daemon_answers_despite_invalid_config() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let daemon = gate.start();
    let text = fs::read_to_string(gate.path("posternd.toml")).unwrap();
    gate.write(
        "posternd.toml",
        &text
            .replace("[firewall]", "[firewal]")
            .replace("name = \"alice\"", "nane = \"alice\""),
    );
    gate.write("users.d/bob.toml", "[broken\n");
    gate.mode("users.d", 0o755);
    for arguments in [
        &["status"][..],
        &["grants"],
        &["close", "--all"],
        &["metrics"],
        &["confirm"],
    ] {
        let ran = gate.run(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{arguments:?}");
    }
    let refused = gate.run("reload");
    assert_eq!(
        (refused.code, refused.out.as_str()),
        (Some(1), ""),
        "{}",
        refused.err
    );
    assert!(
        refused.err.contains("the old one stays in force: ")
            && refused.err.contains("unknown key \"firewal\""),
        "{}",
        refused.err
    );
    drop(daemon);
    for arguments in [&["status"][..], &["reload"]] {
        let ran = gate.run(arguments);
        let lines: Vec<&str> = ran.err.lines().collect();
        assert_eq!(ran.code, Some(78), "{}", ran.err);
        assert!(
            lines[0].contains("no posternd answers on ")
                && lines[1].contains("unknown key \"firewal\""),
            "{lines:?}"
        );
    }
}

pub(crate) fn unknown_socket_falls_back_to_usual_one() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let daemon = gate.start();
    let usual = format!(
        "mount -t tmpfs none /run && mkdir /run/postern && ln -s {} /run/postern/ && exec \"$@\"",
        gate.path("control.sock").display()
    );
    let good = fs::read_to_string(gate.path("posternd.toml")).unwrap();
    let broken = [
        ("[broken\n", 0o600, "this is not TOML"),
        (good.as_str(), 0o622, "can be "),
        (
            "gate = { name = \"g\", control_socket = \"r.sock\" }",
            0o600,
            "relative",
        ),
    ];
    for (text, mode, why) in broken {
        gate.write("posternd.toml", text);
        gate.mode("posternd.toml", mode);
        let ran = gate.run_through(&usual, "status");
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(
            ran.out.starts_with("gate gate.test: up ") && ran.err.lines().count() == 1,
            "{ran:?}"
        );
        assert!(
            ran.err.contains(why)
                && ran
                    .err
                    .ends_with("(so the gate at /run/postern/control.sock was asked)\n"),
            "{}",
            ran.err
        );
        let ran = gate.run_through("mount -t tmpfs none /run && exec \"$@\"", "close --all");
        let lines: Vec<&str> = ran.err.lines().collect();
        assert_eq!((ran.code, lines.len()), (Some(78), 2), "{}", ran.err);
        assert!(
            lines[0].contains("no posternd answers on /run/postern/control.sock: ")
                && lines[1].contains(why),
            "{lines:?}"
        );
    }
    fs::remove_file(gate.path("posternd.toml")).unwrap();
    assert!(
        gate.run_through(&usual, "close --all")
            .one_line(78)
            .contains("posternd.toml: does not exist")
    );
    drop(daemon);
}

pub(crate) fn flush_works_with_invalid_config() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let flush = |text: &str, more: &[&str]| {
        gate.write("posternd.toml", text);
        gate.run_through(
            "mount -t tmpfs none /run && exec \"$@\"",
            &[&["flush"], more].concat(),
        )
    };
    let good = fs::read_to_string(gate.path("posternd.toml")).unwrap();
    let typos = good
        .replace("backend = ", "backnd = ")
        .replace("services = ", "servces = ");
    let left = "; so what [firewall.command] opened, if it is there, was not closed";
    let daemon = gate.start();
    let seen = flush(&typos, &[]);
    assert_eq!(
        (seen.code, seen.err.lines().count()),
        (Some(78), 1),
        "{seen:?}"
    );
    assert!(
        seen.err.contains("unknown key \"backnd\"") && seen.err.contains(" more: posternd check)"),
        "{seen:?}"
    );
    assert!(seen.err.ends_with(&format!("{left}\n")), "{seen:?}");
    assert!(
        seen.out.contains("a posternd is running")
            && seen.out.contains("iptables: nothing of Postern's is left"),
        "{seen:?}"
    );
    drop(daemon);
    let gone = flush(&typos, &["--json"]);
    let said: serde_json::Value = serde_json::from_str(&gone.out).unwrap();
    assert_eq!(
        (gone.code, &said["running"]),
        (Some(78), &false.into()),
        "{gone:?}"
    );
    let unknown = flush("[broken\n", &["--json"]);
    let said: serde_json::Value = serde_json::from_str(&unknown.out).unwrap();
    assert_eq!(
        (unknown.code, &said["running"]),
        (Some(78), &serde_json::Value::Null),
        "{unknown:?}"
    );
    assert!(
        said["backends"]
            .as_array()
            .unwrap()
            .contains(&"iptables".into()),
        "{said}"
    );
    assert!(
        unknown.err.contains("this is not TOML")
            && unknown
                .err
                .ends_with(&format!("{left}, and whether a daemon runs is not known\n"))
    );
    fs::remove_file(gate.path("posternd.toml")).unwrap();
    let none = gate.run("flush");
    assert_eq!((none.code, none.err.as_str()), (Some(0), ""), "{none:?}");
}

pub(crate) fn nonsense_answer_is_exit_69() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let listener = UnixListener::bind(gate.path("control.sock")).unwrap();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let answer: &[u8] = [
                b"".as_slice(),
                b"hello\n",
                b"{\"closed\":1,\"more\":2}\n",
                &[0xff, 0xfe, b'\n'],
            ][at % 4];
            std::io::Write::write_all(&mut stream, answer).unwrap();
        }
    });
    for _ in 0..4 {
        let line = gate.run("status").one_line(69);
        assert!(line.starts_with("no posternd answers on "), "{line}");
    }
}

pub(crate) fn hostile_answer_cannot_control_terminal() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let listener = UnixListener::bind(gate.path("control.sock")).unwrap();
    let grant = r#"{"id":1,"user":"\u001b[2Jeve\u009b1m\b\r","allow":"192.0.2.7/32","target":null,"services":["tcp/22"],"forwards":[],"until":0}"#;
    let answers = [
        format!(r#"{{"grants":[{grant}]}}"#),
        r#"{"metrics":"a\u001b]0;t\u0007\n\tb\n"}"#.to_owned(),
        r#"{"failed":"\u001b[2Jno\u007f"}"#.to_owned(),
        r#"{"\u001b[2J":1}"#.to_owned(),
    ];
    std::thread::spawn(move || {
        for (answer, stream) in answers.iter().zip(listener.incoming()) {
            std::io::Write::write_all(&mut stream.unwrap(), format!("{answer}\n").as_bytes())
                .unwrap();
        }
    });
    let said = [
        &["grants"][..],
        &["metrics"],
        &["close", "--all"],
        &["confirm"],
    ]
    .map(|arguments| gate.run(arguments));
    for ran in &said {
        let text = ran.out.clone() + &ran.err;
        assert!(
            !text.contains(|letter: char| letter.is_control() && !"\n\t".contains(letter)),
            "{text:?}"
        );
    }
    let [grants, metrics, failed, odd] = said;
    assert!(grants.out.contains(" [2Jeve 1m  "), "{grants:?}");
    assert_eq!(
        (metrics.out.as_str(), failed.err.as_str()),
        ("a ]0;t \n\tb\n", "posternd:  [2Jno \n")
    );
    assert_eq!(odd.code, Some(69), "{odd:?}");
}

pub(crate) fn second_daemon_is_refused() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let _first = gate.start();
    let line = gate.run("run").one_line(1);
    assert!(
        line.starts_with("another posternd is running ") && line.contains("; stop it first"),
        "{line}"
    );
    let status = gate.run("status");
    assert_eq!((status.code, status.err.as_str()), (Some(0), ""));
    assert!(
        status.out.starts_with("gate gate.test: up ") && status.out.contains(", 1 user, "),
        "{}",
        status.out
    );
    let grants = gate.run("grants --json");
    let said: serde_json::Value = serde_json::from_str(&grants.out).unwrap();
    assert_eq!(said, serde_json::json!({ "version": 1, "grants": [] }));
    assert_eq!(gate.run("grants").out, "nothing is open\n");
    assert_eq!(gate.run("close --all").out, "closed 0 grants\n");
}

pub(crate) fn maximum_ports_and_interfaces_work() {
    let names: Vec<String> = (0..32).map(|number| format!("wan{number}")).collect();
    let ports: Vec<u16> = (5000..5016).collect();
    let gate = Gate::good(
        &format!("port = {ports:?}\ninterfaces = {names:?}"),
        FIREWALL,
        KEY_LINE,
    );
    gate.write(
        "posternd.toml",
        &(fs::read_to_string(gate.path("posternd.toml")).unwrap()
            + "[metrics]\nlisten = \"127.0.0.1:9162\"\n"),
    );
    let daemon = gate.start();
    let said: serde_json::Value = serde_json::from_str(&gate.run("status --json").out).unwrap();
    assert_eq!(
        said["captures"].as_array().unwrap().len(),
        names.len(),
        "{said}"
    );
    drop(daemon);
}

pub(crate) fn store_is_not_shared_by_two_daemons() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let _first = gate.start();
    let text = fs::read_to_string(gate.path("posternd.toml")).unwrap();
    gate.write("posternd.toml", &text.replace("control.sock", "other.sock"));
    let ran = gate.run("run");
    assert_eq!(ran.code, Some(74), "{}", ran.err);
    assert!(
        ran.err
            .contains("marks.redb: another process has it open; stop the other posternd"),
        "{}",
        ran.err
    );
}

pub(crate) fn damaged_store_stops_start() {
    for damage in [&b"garbage"[..], b"", &[0; 8192]] {
        let gate = Gate::good("", FIREWALL, KEY_LINE);
        drop(gate.start());
        fs::write(gate.path("state/marks.redb"), damage).unwrap();
        let start = Instant::now();
        let ran = gate.run("run");
        assert_eq!((ran.code, ran.out.as_str()), (Some(74), ""), "{}", ran.err);
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it tried again and again: {}",
            ran.err
        );
        let lines: Vec<&str> = ran
            .err
            .lines()
            .filter(|line| line.contains("marks.redb"))
            .collect();
        assert_eq!(lines.len(), 1, "{}", ran.err);
        assert!(
            lines[0].contains("the replay store is damaged: ")
                && lines[0].contains("move the file away and start again"),
            "{}",
            lines[0]
        );
        assert!(
            ran.err
                .lines()
                .last()
                .unwrap()
                .contains("the engine could not begin (its own line is above)"),
            "{}",
            ran.err
        );
    }
}
