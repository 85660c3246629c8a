//! `posternd status` of a running daemon, and its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::Value;

use crate::gate::Gate;

const FIREWALL: &str = "backend = \"iptables\"";
const KEY_LINE: &str = "key = \"KEY\"";

fn gate() -> Gate {
    Gate::good("", FIREWALL, KEY_LINE)
}

pub(crate) fn status_names_missing_interface() {
    let gate = Gate::good("interfaces = [\"wan7\"]", FIREWALL, KEY_LINE);
    let _daemon = gate.start();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let said: Value = serde_json::from_str(&gate.run("status --json").out).unwrap();
        let capture = &said["captures"][0];
        assert_eq!(capture["name"], "wan7");
        if capture["listening"] == false {
            assert!(
                capture["why"].as_str().unwrap().contains("No such device"),
                "{said}"
            );
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{said}");
    }
    let text = gate.run("status").out;
    assert!(
        text.contains("NOT listening on wan7: No such device"),
        "{text}"
    );
}

pub(crate) fn status_waits_until_the_gate_serves() {
    let gate = gate();
    let early = gate.run("status --wait=1").one_line(1);
    assert!(early.contains("does not serve after 1s"), "{early}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gate.run("status --wait --json"));
        let _daemon = gate.start();
        let said: Value = serde_json::from_str(&waiting.join().unwrap().out).unwrap();
        assert_eq!(said["captures"][0]["listening"], true, "{said}");
    });
}

/// A daemon that served clients one by one would wait two seconds for each of these.
pub(crate) fn slow_clients_block_no_question() {
    let gate = gate();
    let _daemon = gate.start();
    let hanging: Vec<UnixStream> = (0..50)
        .map(|number| {
            let mut stream = UnixStream::connect(gate.path("control.sock")).unwrap();
            let said: &[u8] = [&b""[..], b"\"stat", b"\"grants\"\n", b"{\"close\":"][number % 4];
            stream.write_all(said).unwrap();
            stream
        })
        .collect();
    for arguments in [&["status"][..], &["grants"], &["close", "--all"]] {
        let ran = gate.run(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{arguments:?}");
    }
    drop(hanging);
}

pub(crate) fn control_socket_answers_root_only() {
    let gate = gate();
    let _daemon = gate.start();
    let socket = gate.path("control.sock");
    assert_eq!(
        std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // The engine runs as `nobody` here.
    let ask = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.makefile().readline())";
    let as_nobody = |program: &str| {
        let socket = socket.display();
        format!(
            "exec setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/python3 -c '{}' {socket}",
            program.replace('\'', "'\\''")
        )
    };
    let closed = gate.run_through(&as_nobody(ask), &[]);
    assert!(closed.err.contains("PermissionError"), "{closed:?}");
    gate.mode("control.sock", 0o666);
    let refused = gate.run_through(&as_nobody(ask), &[]);
    assert_eq!(
        (refused.code, refused.out.trim()),
        (Some(0), "{\"failed\":\"only root may ask\"}"),
        "{refused:?}"
    );
    assert_eq!(gate.run("status").code, Some(0));
}

pub(crate) fn status_watch_repeats_until_reader_stops() {
    let gate = gate();
    let daemon = gate.start();
    let watch = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_posternd"));
        command
            .args(["status", "--watch=100ms", "--config"])
            .arg(gate.path("posternd.toml"))
            .args(more)
            .env_clear();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut text = watch(&[]);
    let mut lines = BufReader::new(text.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    for _ in 0..3 {
        assert!(lines.next().unwrap().starts_with("gate gate.test: up "));
        let block: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert!(
            block.contains(&"nothing is open".to_owned()) && !block.concat().contains('\x1b'),
            "{block:?}"
        );
    }
    drop(lines);
    assert_eq!(
        text.wait().unwrap().code(),
        Some(0),
        "whoever stops reading has seen enough"
    );

    let mut objects = watch(&["--json"]);
    let mut lines = BufReader::new(objects.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let object = |line: String| serde_json::from_str::<Value>(&line).unwrap();
    for _ in 0..3 {
        assert_eq!(object(lines.next().unwrap())["gate"], "gate.test");
    }
    drop(daemon);
    let failed = lines
        .by_ref()
        .map(object)
        .find(|said| said["failed"].is_string())
        .unwrap();
    assert!(
        failed["failed"]
            .as_str()
            .unwrap()
            .starts_with("no posternd answers on "),
        "{failed}"
    );
    let _daemon = gate.start();
    assert!(
        lines
            .by_ref()
            .map(object)
            .any(|said| said["gate"] == "gate.test"),
        "and then it is there again"
    );
    drop(lines);
    assert_eq!(objects.wait().unwrap().code(), Some(0));

    // On a terminal, each status replaces the last.
    let config = gate.path("posternd.toml").display().to_string();
    let fifo = gate.path("fifo").display().to_string();
    let watch = format!(
        "exec {} status --watch=100ms --config {config}",
        env!("CARGO_BIN_EXE_posternd")
    );
    let on_terminal = format!(
        "mkfifo {fifo}; SHELL=/bin/sh script -qec '{watch}' /dev/null >{fifo} & head -c 2000 {fifo}; kill $!; wait"
    );
    let seen = gate.run_through(&on_terminal, &[]).out;
    assert!(
        seen.matches("\x1b[H\x1b[2Jgate gate.test: up ").count() >= 3,
        "{seen:?}"
    );

    for wrong in ["--watch=0s", "--watch=soon", "--watch=1ms"] {
        assert_eq!(gate.run(&["status", wrong]).code, Some(2), "{wrong}");
    }
}
