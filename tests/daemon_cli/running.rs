//! Commands that need a running daemon, a second daemon, and a damaged store.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use serde_json::Value;

use postern::adapters::store::ReplayStore;
use postern::adapters::store::disk::DiskStore;

use crate::gate::{Gate, says};

const PRIVATE_RUN: &str = "mount -t tmpfs none /run && exec \"$@\"";

/// Answers one question after the other with these bytes.
fn answer(gate: &Gate, answers: Vec<Vec<u8>>) {
    let listener = UnixListener::bind(gate.path("control.sock")).unwrap();
    std::thread::spawn(move || {
        for (answer, stream) in answers.iter().zip(listener.incoming()) {
            stream.unwrap().write_all(answer).unwrap();
        }
    });
}

pub(crate) fn question_without_daemon_is_exit_69() {
    let gate = Gate::with("");
    let socket = gate.place("control.sock");
    let pattern = format!(
        "no posternd answers on {socket}: it is not running: …; start it: systemctl start posternd…"
    );
    for arguments in [
        "status",
        "grants --json",
        "close --all",
        "close --user alice --json",
    ] {
        gate.run(arguments).fails(69, &pattern);
    }
    // The socket exists, but nobody listens on it.
    drop(UnixListener::bind(gate.path("control.sock")).unwrap());
    gate.run("status").fails(69, "…Connection refused…");
}

pub(crate) fn daemon_answers_despite_invalid_config() {
    let gate = Gate::with("");
    let daemon = gate.start();
    let text = gate.text("posternd.toml");
    let text = text.replace("[firewall]", "[firewal]");
    gate.write("posternd.toml", &text.replace("name = \"al", "nane = \"al"));
    gate.write_user("bob", "[broken\n");
    for arguments in ["status", "grants", "close --all", "metrics", "confirm"] {
        gate.run(arguments).ok();
    }
    let refused = gate.run("reload");
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    says(
        &refused.err,
        "…the old one stays in force: …unknown key \"firewal\"…",
    );
    drop(daemon);
    for arguments in ["status", "reload"] {
        let ran = gate.run(arguments);
        assert_eq!(ran.code, Some(78), "{}", ran.err);
        says(
            &ran.err,
            "…no posternd answers on …\n…unknown key \"firewal\"…",
        );
    }
}

pub(crate) fn unknown_socket_falls_back_to_usual_one() {
    let gate = Gate::with("");
    let daemon = gate.start();
    let usual = format!(
        "mount -t tmpfs none /run && mkdir /run/postern && ln -s {} /run/postern/ && exec \"$@\"",
        gate.place("control.sock")
    );
    let good = gate.text("posternd.toml");
    let relative = "gate = { name = \"g\", control_socket = \"r.sock\" }";
    for (text, mode, why) in [
        ("[broken\n", 0o600, "this is not TOML"),
        (&good, 0o622, "can be "),
        (relative, 0o600, "relative"),
    ] {
        gate.write("posternd.toml", text);
        gate.mode("posternd.toml", mode);
        let ran = gate.run_through(&usual, "status");
        assert_eq!((ran.code, ran.err.lines().count()), (Some(0), 1), "{ran:?}");
        says(&ran.out, "gate gate.test: up …");
        let doubt = "(so the gate at /run/postern/control.sock was asked)\n";
        says(&ran.err, &format!("…{why}…{doubt}"));
        let ran = gate.run_through(PRIVATE_RUN, "close --all");
        let expected = (Some(78), 2);
        assert_eq!((ran.code, ran.err.lines().count()), expected, "{ran:?}");
        let unanswered = "…no posternd answers on /run/postern/control.sock: …\n";
        says(&ran.err, &format!("{unanswered}…{why}…"));
    }
    fs::remove_file(gate.path("posternd.toml")).unwrap();
    gate.run_through(&usual, "close --all")
        .fails(78, "…posternd.toml: does not exist…");
    drop(daemon);
}

pub(crate) fn flush_works_with_invalid_config() {
    let gate = Gate::with("");
    let flush = |text: &str, more: &str| {
        gate.write("posternd.toml", text);
        let ran = gate.run_through(PRIVATE_RUN, &format!("flush {more}"));
        assert_eq!(ran.code, Some(78), "{ran:?}");
        ran
    };
    let typos = gate
        .text("posternd.toml")
        .replace("backend = ", "backnd = ");
    let typos = typos.replace("services = ", "servces = ");
    let left = "; so what [firewall.command] opened, if it is there, was not closed";
    let daemon = gate.start();
    let seen = flush(&typos, "");
    assert_eq!(seen.err.lines().count(), 1, "{seen:?}");
    says(
        &seen.err,
        &format!("…unknown key \"backnd\"… more: posternd check)…{left}\n"),
    );
    says(
        &seen.out,
        "…a posternd is running…iptables: nothing of Postern's is left…",
    );
    drop(daemon);
    let gone: Value = serde_json::from_str(&flush(&typos, "--json").out).unwrap();
    assert_eq!(gone["running"], false, "{gone}");
    let unknown = flush("[broken\n", "--json");
    says(
        &unknown.err,
        "…this is not TOML…, and whether a daemon runs is not known\n",
    );
    let said: Value = serde_json::from_str(&unknown.out).unwrap();
    assert_eq!(said["running"], Value::Null, "{said}");
    let backends = said["backends"].as_array().unwrap();
    assert!(backends.contains(&"iptables".into()), "{said}");
}

pub(crate) fn hostile_answer_cannot_control_terminal() {
    let gate = Gate::with("");
    let answers = [
        r#"{"grants":[{"id":1,"user":"\u001b[2Jeve\u009b1m\b\r","allow":"192.0.2.7/32","target":null,"services":["tcp/22"],"forwards":[],"until":0}]}"#,
        r#"{"metrics":"a\u001b]0;t\u0007\n\tb\n"}"#,
        r#"{"failed":"\u001b[2Jno\u007f"}"#,
        r#"{"\u001b[2J":1}"#,
    ];
    answer(
        &gate,
        answers.map(|line| format!("{line}\n").into()).to_vec(),
    );
    let said = ["grants", "metrics", "close --all", "confirm"].map(|command| gate.run(command));
    for ran in &said {
        let is_control = |letter: char| letter.is_control() && !"\n\t".contains(letter);
        assert!(
            !(ran.out.clone() + &ran.err).contains(is_control),
            "{ran:?}"
        );
    }
    let [grants, metrics, failed, odd] = said;
    says(&grants.out, "… [2Jeve 1m  …");
    let shown = (metrics.out.as_str(), failed.err.as_str());
    assert_eq!(shown, ("a ]0;t \n\tb\n", "posternd:  [2Jno \n"));
    assert_eq!(odd.code, Some(69), "{odd:?}");
}

pub(crate) fn second_daemon_is_refused() {
    let gate = Gate::with("");
    let _first = gate.start();
    gate.run("run")
        .fails(1, "another posternd is running …; stop it first…");
    let status = gate.run("status").ok();
    says(&status, "gate gate.test: up …, 1 user, …");
    let text = gate.text("posternd.toml");
    gate.write("posternd.toml", &text.replace("control.sock", "other.sock"));
    let ran = gate.run("run");
    assert_eq!(ran.code, Some(74), "{}", ran.err);
    let opened = "…marks.log: another process has it open; stop the other posternd…";
    says(&ran.err, opened);
}

pub(crate) fn maximum_ports_and_interfaces_work() {
    let names: Vec<String> = (0..32).map(|number| format!("wan{number}")).collect();
    let ports: Vec<u16> = (5000..5016).collect();
    let gate = Gate::with(&format!("port = {ports:?}\ninterfaces = {names:?}"));
    let metrics = "[metrics]\nlisten = \"127.0.0.1:9162\"\n";
    gate.write("posternd.toml", &(gate.text("posternd.toml") + metrics));
    let _daemon = gate.start();
    let status = gate.run("status --json").json();
    let captures = status["captures"].as_array().unwrap();
    assert_eq!(captures.len(), names.len(), "{status}");
}

pub(crate) fn damaged_store_stops_start() {
    for damage in [&b"garbage"[..], b"", &[0; 8192]] {
        let gate = Gate::with("");
        drop(gate.start());
        fs::write(gate.path("state/marks.log"), damage).unwrap();
        let start = Instant::now();
        let ran = gate.run("run");
        assert_eq!((ran.code, ran.out.as_str()), (Some(74), ""), "{}", ran.err);
        let is_early = start.elapsed() < Duration::from_secs(20);
        assert!(is_early, "it tried again and again: {}", ran.err);
        let mut lines = ran.err.lines().filter(|line| line.contains("marks.log"));
        let line = lines.next().unwrap();
        says(
            line,
            "…the replay store is damaged: …move the file away and start again…",
        );
        assert_eq!(lines.next(), None);
        let last = ran.err.lines().last().unwrap();
        says(
            last,
            "…the engine did not start (its own log line is above)…",
        );
    }
}

/// Somebody was admitted while the clock was a day ahead.
pub(crate) fn clock_far_ahead_is_named_and_reset() {
    let gate = Gate::good(
        "run_as = \"nobody\"",
        "backend = \"nftables\"",
        "key = \"KEY\"",
    );
    fs::create_dir(gate.path("state")).unwrap();
    let ahead = postern::adapters::clock::wall().plus(Duration::from_secs(86_400));
    let times = postern::model::mark::StoredTimes {
        floor: ahead,
        horizon: ahead,
    };
    let mut store = DiskStore::open(&gate.path("state")).unwrap();
    store.commit(&[], times).unwrap();
    drop(store);
    let named = "ahead of the system's, so no knock is admitted";
    let said = gate.run("check").out;
    assert!(said.contains(&format!("{named} [clock-ahead]")), "{said}");
    assert!(said.contains("[run-as-nobody]"), "{said}");
    let daemon = gate.start();
    postern_harness::wait_for("the line in the log", || {
        gate.text("log").contains(named).then_some(())
    });
    assert!(gate.run("check").out.contains("[clock-ahead]"));
    gate.run("reset-clock")
        .fails(1, "another posternd is running …");
    drop(daemon);
    let said = gate.run("reset-clock").ok();
    assert!(
        said.contains("no knock made before that is admitted"),
        "{said}"
    );
    assert!(!gate.run("check").out.contains("clock-ahead"));
    let _daemon = gate.start();
    assert!(!gate.text("log").contains(named));
}
