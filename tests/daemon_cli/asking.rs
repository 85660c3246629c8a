//! `posternd status` of a running daemon, and its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use postern_harness::wait_for;
use serde_json::Value;

use crate::gate::{Gate, says};

pub(crate) fn status_names_missing_interface() {
    let gate = Gate::with("interfaces = [\"wan7\"]");
    let _daemon = gate.start();
    let capture = wait_for("capture that does not listen", || {
        let capture = gate.run("status --json").json()["captures"][0].clone();
        assert_eq!(capture["name"], "wan7");
        (capture["listening"] == false).then_some(capture)
    });
    says(capture["why"].as_str().unwrap(), "…No such device…");
    let text = gate.run("status").out;
    says(&text, "…NOT listening on wan7: No such device…");
}

pub(crate) fn status_waits_until_the_gate_serves() {
    let gate = Gate::with("");
    gate.run("status --wait=1")
        .fails(1, "…does not serve after 1s…");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gate.run("status --wait --json"));
        let _daemon = gate.start();
        let status = waiting.join().unwrap().json();
        assert_eq!(status["captures"][0]["listening"], true, "{status}");
    });
}

/// A daemon that served clients one by one would wait two seconds for each of these.
pub(crate) fn slow_clients_block_no_question() {
    let gate = Gate::with("");
    let _daemon = gate.start();
    let hanging = (0..50).map(|number| {
        let mut stream = UnixStream::connect(gate.path("control.sock")).unwrap();
        let part = ["", "\"stat", "\"grants\"\n", "{\"close\":"][number % 4];
        stream.write_all(part.as_bytes()).unwrap();
        stream
    });
    let hanging: Vec<UnixStream> = hanging.collect();
    for arguments in ["status", "grants", "close --all"] {
        gate.run(arguments).ok();
    }
    drop(hanging);
}

pub(crate) fn status_watch_repeats_until_reader_stops() {
    let gate = Gate::with("");
    let daemon = gate.start();
    let watch = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_posternd"));
        command
            .args(["status", "--watch=100ms", "--config"])
            .arg(gate.path("posternd.toml"))
            .args(more)
            .env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines.map(Result::unwrap))
    };
    let (mut text, mut lines) = watch(&[]);
    for _ in 0..3 {
        says(&lines.next().unwrap(), "gate gate.test: up …");
        let block: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let is_idle = block.contains(&"nothing is open".to_owned());
        assert!(is_idle && !block.concat().contains('\x1b'), "{block:?}");
    }
    drop(lines);
    assert_eq!(text.wait().unwrap().code(), Some(0));

    let (mut objects, lines) = watch(&["--json"]);
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    assert!(
        lines
            .by_ref()
            .take(3)
            .all(|line| line["gate"] == "gate.test")
    );
    drop(daemon);
    let failed = lines.find_map(|line| line["failed"].as_str().map(str::to_owned));
    says(&failed.unwrap(), "no posternd answers on …");
    let _daemon = gate.start();
    let is_back = lines.any(|line| line["gate"] == "gate.test");
    assert!(is_back, "it waits for a daemon that restarts");
    drop(lines);
    assert_eq!(objects.wait().unwrap().code(), Some(0));

    // On a terminal, each status replaces the last.
    let (config, fifo) = (gate.place("posternd.toml"), gate.place("fifo"));
    let watch = format!(
        "exec {} status --watch=100ms --config {config}",
        env!("CARGO_BIN_EXE_posternd")
    );
    let on_terminal = format!(
        "mkfifo {fifo}; SHELL=/bin/sh script -qec '{watch}' /dev/null >{fifo} & head -c 2000 {fifo}; kill $!; wait"
    );
    let seen = gate.run_through(&on_terminal, "").out;
    let cleared = seen.matches("\x1b[H\x1b[2Jgate gate.test: up ").count();
    assert!(cleared >= 3, "{seen:?}");
    for wrong in ["0s", "soon", "1ms"] {
        let ran = gate.run(&format!("status --watch={wrong}"));
        assert_eq!(ran.code, Some(2), "{wrong}");
    }
}
