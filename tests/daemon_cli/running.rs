//! What depends on a posternd that runs, or should: commands over the control socket, a second daemon, a damaged store.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::gate::Gate;

const FIREWALL: &str = "backend = \"iptables\"";
const KEY_LINE: &str = "key = \"KEY\"";

pub(crate) fn a_question_without_a_daemon_is_one_line_that_says_so() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let socket = gate.path("control.sock").display().to_string();
    let commands: [&[&str]; 4] = [&["status"], &["grants", "--json"], &["close", "--all"], &["close", "--user", "alice", "--json"]];
    for arguments in commands {
        let line = gate.run(arguments).one_line(69);
        assert!(line.starts_with(&format!("no posternd answers on {socket}: it is not running: ")), "{line}");
        assert!(line.contains("; start it: systemctl start posternd"), "{line}");
    }
    // Nobody listens any more on a socket that is still there.
    drop(UnixListener::bind(gate.path("control.sock")).unwrap());
    assert!(gate.run(&["status"]).one_line(69).contains("Connection refused"));
}

pub(crate) fn a_daemon_that_answers_nonsense_or_nothing_is_no_daemon() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let listener = UnixListener::bind(gate.path("control.sock")).unwrap();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let answer: &[u8] = [b"".as_slice(), b"hello\n", b"{\"closed\":1,\"more\":2}\n", &[0xff, 0xfe, b'\n']][at % 4];
            std::io::Write::write_all(&mut stream, answer).unwrap();
        }
    });
    for _ in 0..4 {
        let line = gate.run(&["status"]).one_line(69);
        assert!(line.starts_with("no posternd answers on "), "{line}");
    }
}

pub(crate) fn a_second_daemon_on_the_same_control_socket_is_refused_and_the_first_serves_on() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let _first = gate.start();
    let line = gate.run(&["run"]).one_line(1);
    assert!(line.starts_with("another posternd is running ") && line.contains("; stop it first"), "{line}");
    let status = gate.run(&["status"]);
    assert_eq!((status.code, status.err.as_str()), (Some(0), ""));
    assert!(status.out.starts_with("gate gate.test: up ") && status.out.contains(", 1 user, "), "{}", status.out);
    let grants = gate.run(&["grants", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&grants.out).unwrap();
    assert_eq!(said, serde_json::json!({ "version": 1, "grants": [] }));
    assert_eq!(gate.run(&["grants"]).out, "nothing is open\n");
    assert_eq!(gate.run(&["close", "--all"]).out, "closed 0 grants\n");
}

pub(crate) fn two_daemons_with_one_state_folder_do_not_share_its_store() {
    let gate = Gate::good("", FIREWALL, KEY_LINE);
    let _first = gate.start();
    let text = fs::read_to_string(gate.path("posternd.toml")).unwrap();
    gate.write("posternd.toml", &text.replace("control.sock", "other.sock"));
    let ran = gate.run(&["run"]);
    assert_eq!(ran.code, Some(74), "{}", ran.err);
    assert!(ran.err.contains("marks.redb: another process has it open; stop the other posternd"), "{}", ran.err);
}

pub(crate) fn a_damaged_store_keeps_the_daemon_from_starting_and_says_the_way_out_once() {
    for damage in [&b"garbage"[..], b"", &[0; 8192]] {
        let gate = Gate::good("", FIREWALL, KEY_LINE);
        drop(gate.start());
        fs::write(gate.path("state/marks.redb"), damage).unwrap();
        let start = Instant::now();
        let ran = gate.run(&["run"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(74), ""), "{}", ran.err);
        assert!(start.elapsed() < Duration::from_secs(20), "it tried again and again: {}", ran.err);
        let lines: Vec<&str> = ran.err.lines().filter(|line| line.contains("marks.redb")).collect();
        assert_eq!(lines.len(), 1, "{}", ran.err);
        assert!(
            lines[0].contains("the replay store is damaged: ") && lines[0].contains("move the file away and start again"),
            "{}",
            lines[0]
        );
        assert!(ran.err.lines().last().unwrap().contains("the engine could not begin (its own line is above)"), "{}", ran.err);
    }
}
