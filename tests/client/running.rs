//! `postern run`: the command gets the terminal and the signals, its exit status comes back, and the door is asked to be closed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use postern_proto::{Action, Request, UserKeys};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::door::Shut;
use crate::gate::FakeGate;
use crate::program::{GATE, Home, expect_documented, key, program, run, shared};

fn home(gate: &FakeGate, more: &str) -> (Home, UserKeys) {
    let key = key(41);
    (
        Home::with_profile(&format!(
            "address = \"{}\"\nkey = \"{key}\"\nservices = [\"udp/53\"]\n{more}",
            gate.address()
        )),
        shared(&key),
    )
}

/// The command runs in the shell that is tested most.
fn words<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run", "home"], options, &["--", "/bin/sh", "-c", script]].concat()
}

/// A close of just what was opened.
fn expect_closed(gate: &FakeGate, keys: &UserKeys, opened: &Request) {
    let close = gate.knock(keys);
    assert_eq!((close.action, close.duration_s), (Action::Close, 0));
    assert_eq!(
        (close.allow, close.target, close.items),
        (opened.allow, opened.target, opened.items.clone())
    );
    gate.heard_nothing();
}

fn door() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = format!("tcp/{}", listener.local_addr().unwrap().port());
    (listener, service)
}

#[test]
fn the_commands_exit_status_is_the_exit_status_and_the_door_is_closed_after_it() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let ran = home.run(&words(&["--quiet"], script));
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.err.as_str()),
            (status, "", ""),
            "{script}"
        );
        let opened = gate.knock(&keys);
        assert_eq!(opened.action, Action::Open);
        expect_closed(&gate, &keys, &opened);
    }
}

#[test]
fn input_output_and_environment_are_the_commands_own_and_notes_go_to_standard_error() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    let mut command = home.command(&words(
        &[],
        "tr a-z A-Z; echo \"$MINE$POSTERN_KEY$POSTERN_CODE\"; echo oops >&2; pwd",
    ));
    command
        .env("MINE", "mine")
        .env("POSTERN_KEY", key(42))
        .env("POSTERN_CODE", "123456");
    let ran = run(command.current_dir("/").write_stdin("hello\n"));
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "HELLO\nmine\n/\n"),
        "but keys and codes are not"
    );
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(
        lines[0].starts_with(&format!("postern: knocked {GATE} at ")) && lines[1] == "oops",
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with(&format!("postern: asked {GATE} at "))
            && lines[2].contains(" to close udp/53 for 127.0.0.1"),
        "{lines:?}"
    );
    let mut opened = gate.knock(&keys);
    assert!(
        opened
            .items
            .pop()
            .is_some_and(|item| matches!(item, postern_proto::Item::Code(_)))
    );
    expect_closed(&gate, &keys, &opened);
}

#[test]
fn the_command_starts_once_the_port_is_open_and_not_at_all_if_it_does_not_open() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    let (_listener, service) = door();
    let ran = home.run(&words(&["-s", &service], "echo started"));
    assert_eq!((ran.code, ran.out.as_str()), (0, "started\n"));
    assert!(
        ran.err.lines().nth(1).unwrap().contains(" is open after "),
        "{}",
        ran.err
    );
    let opened = gate.knock(&keys);
    expect_closed(&gate, &keys, &opened);

    let door = Shut::new();
    let service = format!("tcp/{}", door.address().port());
    let line = home
        .run(&words(
            &["-q", "-s", &service, "--wait", "200ms"],
            "echo started",
        ))
        .failed(3);
    assert!(
        line.contains(&format!("{service} did not open within 200ms; ")),
        "{line}"
    );
    let opened = gate.knock(&keys);
    expect_closed(&gate, &keys, &opened);
}

#[test]
fn a_command_that_cannot_be_run_is_127_or_126_as_in_a_shell_and_the_door_is_closed() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    for (program, status) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let line = home
            .run(&["run", "home", "-q", "--", program])
            .failed(status);
        assert!(
            line.starts_with(&format!("postern: cannot run {program}: ")),
            "{line}"
        );
        let opened = gate.knock(&keys);
        expect_closed(&gate, &keys, &opened);
    }
    let line = home.run(&["run", "home"]).failed(2);
    assert!(line.contains("<COMMAND>"), "{line}");
    gate.heard_nothing();
}

/// With every signal as it is by default: one that whoever started the tests ignores, postern would leave so.
fn unignoring(program: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal", program]);
    command
}

/// In a session of its own, where no terminal sends signals to the command by itself.
fn start(home: &Home, options: &[&str], script: &str) -> Child {
    let mut command = unignoring("setsid");
    command
        .args(["--wait", "/bin/sh", "-c", "echo $$; exec \"$0\" \"$@\""])
        .arg(program())
        .args(words(options, script));
    command
        .env("POSTERN_CONFIG", home.path("config.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn signals_are_handed_on_to_the_command_and_the_door_is_closed_when_it_has_ended() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
        );
        let mut child = start(&home, &["-q"], &script);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let postern = line(&mut output).parse().unwrap();
        assert_eq!(line(&mut output), "ready");
        let opened = gate.knock(&keys);
        kill_process(Pid::from_raw(postern).unwrap(), signal).unwrap();
        assert_eq!(line(&mut output), format!("got {name}"));
        assert_eq!(child.wait().unwrap().code(), Some(9));
        expect_closed(&gate, &keys, &opened);
    }
}

#[test]
fn a_signal_that_comes_before_the_port_is_open_ends_it_with_128_and_the_signal() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    let door = Shut::new();
    let service = format!("tcp/{}", door.address().port());
    let mut child = start(
        &home,
        &["-q", "-s", &service, "--wait", "60s"],
        "echo started",
    );
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let postern = line(&mut output).parse().unwrap();
    let opened = gate.knock(&keys);
    kill_process(Pid::from_raw(postern).unwrap(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(line(&mut output), "");
    expect_closed(&gate, &keys, &opened);
}

/// Ctrl-C reaches the command from the terminal itself: it gets it once, not twice.
#[test]
fn an_interrupt_from_the_terminal_reaches_the_command_once() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    let (script, stop) = (home.path("count.sh"), home.path("stop"));
    let body = format!(
        "trap 'echo interrupted' INT\necho ready\nuntil [ -e {} ]; do sleep 0.05; done\nexit 5\n",
        stop.display()
    );
    home.write("count.sh", &body);
    // script puts a shell in between; a shell that stays there would take the interrupts for its own.
    let postern = format!(
        "exec {} run home -q -- /bin/sh {}",
        program().display(),
        script.display()
    );
    let mut command = unignoring("script");
    command
        .args(["-qec", &postern, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("POSTERN_CONFIG", home.path("config.toml"));
    let mut script = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of Debian's bsdutils");
    let mut output = BufReader::new(script.stdout.take().unwrap());
    assert_eq!(line(&mut output), "ready");
    for _ in 0..5 {
        script.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
        // The terminal echoes the key before the shell's trap speaks.
        let mut said = String::new();
        while !said.ends_with("interrupted") {
            let more = line(&mut output);
            assert_ne!(more, "", "it ended after {said:?}");
            said += &more;
        }
        thread::sleep(Duration::from_millis(100));
    }
    home.write("stop", "");
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "five keys, five interrupts");
    assert_eq!(script.wait().unwrap().code(), Some(5));
    let opened = gate.knock(&keys);
    expect_closed(&gate, &keys, &opened);
}

#[test]
fn a_signal_that_was_ignored_from_the_start_stays_so_for_the_command_too() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    let mut command = Command::new("setsid");
    command
        .args([
            "--wait",
            "nohup",
            "/bin/sh",
            "-c",
            "echo $$; exec \"$0\" \"$@\"",
        ])
        .arg(program());
    command.args(words(
        &["-q"],
        "grep SigIgn /proc/self/status; echo ready; read line; echo done",
    ));
    command
        .env("POSTERN_CONFIG", home.path("config.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let postern = line(&mut output).parse().unwrap();
    let ignored =
        u64::from_str_radix(line(&mut output).trim_start_matches("SigIgn:").trim(), 16).unwrap();
    assert_eq!(ignored & 1, 1, "SIGHUP is signal 1");
    assert_eq!(line(&mut output), "ready");
    kill_process(Pid::from_raw(postern).unwrap(), Signal::HUP).unwrap();
    drop(child.stdin.take());
    assert_eq!(line(&mut output), "done");
    child.wait().unwrap();
    let opened = gate.knock(&keys);
    expect_closed(&gate, &keys, &opened);
}

#[test]
fn keep_open_knocks_again_before_the_end_and_closes_once() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    let ran = home.run(&words(
        &["--keep-open", "--for", "1s", "--json"],
        "sleep 2.5",
    ));
    let said: Value = serde_json::from_str(&ran.err).unwrap();
    let renewals = said["renewals"].as_u64().unwrap();
    assert!((ran.code, renewals) >= (0, 1) && renewals <= 2, "{said}");
    let opened = gate.knock(&keys);
    for _ in 0..renewals {
        let again = gate.knock(&keys);
        assert_eq!(
            (again.action, again.duration_s, &again.items),
            (Action::Open, 1, &opened.items)
        );
        assert!(again.timestamp_ms > opened.timestamp_ms);
    }
    expect_closed(&gate, &keys, &opened);
    for (options, part) in [
        (
            &["--keep-open"][..],
            "--keep-open must know for how long a knock opens; say it with --for 60s",
        ),
        (
            &["--keep-open", "--for", "60s", "--code-stdin"],
            "--keep-open needs a new one-time code for each knock; name a code_command",
        ),
    ] {
        let line = home.run(&words(options, "exit 0")).failed(2);
        assert!(line.contains(part), "{line}");
    }
    gate.heard_nothing();
}

/// What a knock opened does not last longer because its port was waited for.
#[test]
fn the_first_renewal_counts_from_the_knock_and_not_from_the_commands_start() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    let door = Shut::new();
    let service = format!("tcp/{}", door.address().port());
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_millis(1500));
        door.open()
    });
    let ran = home.run(&words(
        &[
            "--keep-open",
            "--for",
            "3s",
            "-s",
            &service,
            "--wait",
            "60s",
            "--json",
        ],
        "sleep 1",
    ));
    let said: Value = serde_json::from_str(&ran.err).unwrap();
    assert!(
        ran.code == 0 && said["renewals"].as_u64() >= Some(1),
        "two seconds after the knock the command still ran: {said}"
    );
    drop(late.join().unwrap());
    assert_eq!(
        [gate.knock(&keys).action, gate.knock(&keys).action],
        [Action::Open, Action::Open]
    );
}

#[test]
fn each_renewal_has_a_code_of_its_own_and_the_closing_none() {
    let gate = FakeGate::v4();
    let home = Home::new();
    let count = home.path("count");
    let script = format!(
        "echo x >> {count}; printf '10000%s\\n' $(wc -l < {count})",
        count = count.display()
    );
    home.write(
        "config.toml",
        &format!(
            "[home]\ngate = \"{GATE}\"\naddress = \"{}\"\nkey = \"{}\"\nservices = [\"udp/53\"]\nduration = \"1s\"\n\
             code_command = [\"/bin/sh\", \"-c\", \"{}\"]\n",
            gate.address(),
            key(42),
            script.replace('\\', "\\\\")
        ),
    );
    let keys = shared(&key(42));
    let mut command = home.command(&words(&["--keep-open", "-q"], "sleep 1.5"));
    run(command.env("PATH", "/usr/bin:/bin")).ok();
    let code = |request: &Request| request.code().map(|code| code.as_str().to_owned());
    assert_eq!(code(&gate.knock(&keys)).as_deref(), Some("100001"));
    assert_eq!(code(&gate.knock(&keys)).as_deref(), Some("100002"));
    let close = gate.knock(&keys);
    assert_eq!((close.action, code(&close)), (Action::Close, None));
    gate.heard_nothing();
}

#[test]
fn json_says_on_standard_error_how_it_all_went() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    let (listener, service) = door();
    let ran = home.run(&words(&["--json", "-s", &service], "echo out; exit 4"));
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.lines().count()),
        (4, "out\n", 1)
    );
    let said: Value = serde_json::from_str(&ran.err).unwrap();
    expect_documented(&said);
    assert_eq!(
        (&said["version"], &said["command"], &said["gate"]),
        (&1.into(), &"run".into(), &GATE.into())
    );
    assert_eq!(
        (&said["exit_status"], &said["signal"], &said["renewals"]),
        (&4.into(), &Value::Null, &0.into())
    );
    assert_eq!(
        said["wait"]["address"],
        listener.local_addr().unwrap().to_string()
    );
    assert_eq!(
        (
            &said["knocks"][0]["request"]["action"],
            &said["knocks"][0]["sent"]
        ),
        (&"open".into(), &true.into())
    );
    assert_eq!(
        (
            &said["closings"][0]["request"]["action"],
            &said["closings"][0]["sent"]
        ),
        (&"close".into(), &true.into())
    );
    let ran = home.run(&words(&["--json"], "kill -9 $$"));
    let said: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(
        (
            ran.code,
            &said["exit_status"],
            &said["signal"],
            &said["wait"]
        ),
        (137, &Value::Null, &9.into(), &Value::Null)
    );
}
