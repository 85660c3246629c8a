//! `postern run` passes terminal, signals and exit status through, and asks the gate to close.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use postern_proto::{Action, Item, Request};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::setup::{
    ClosedPort, GATE, Home, Ran, World, key, open_port, postern_behind, program, run, says,
};

const UDP: &str = "services = [\"udp/53\"]\n";

fn arguments<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run", "home"], options, &["--", "/bin/sh", "-c", script]].concat()
}

impl World {
    fn run_script(&self, options: &[&str], script: &str) -> Ran {
        self.run(&arguments(options, script))
    }

    /// Expects a close of exactly what was opened, and nothing after it.
    fn expect_close(&self, opened: Request) {
        let close = self.request();
        assert_eq!((close.action, close.duration_s), (Action::Close, 0));
        assert_eq!((close.allow, close.target), (opened.allow, opened.target));
        assert_eq!(close.items, opened.items);
        self.gate.got_nothing();
    }
}

#[test]
fn exit_status_is_that_of_the_command() {
    let world = World::new(UDP);
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let ran = world.run_script(&["--quiet"], script);
        let found = (ran.code, ran.out.as_str(), ran.err.as_str());
        assert_eq!(found, (status, "", ""), "{script}");
        let opened = world.request();
        assert_eq!(opened.action, Action::Open);
        world.expect_close(opened);
    }
    for (program, status) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let ran = world.run(&["run", "home", "-q", "--", program]);
        ran.fails(status, &format!("cannot run {program}: …"));
        let opened = world.request();
        world.expect_close(opened);
    }
}

#[test]
fn command_gets_input_output_and_environment() {
    let world = World::new(UDP);
    let script = "tr a-z A-Z; echo \"$MINE$POSTERN_KEY$POSTERN_CODE\"; echo oops >&2; pwd";
    let mut command = world.home.command(&arguments(&[], script));
    command
        .env("MINE", "mine")
        .env("POSTERN_KEY", key(42))
        .env("POSTERN_CODE", "123456");
    let ran = run(command.current_dir("/").write_stdin("hello\n"));
    let found = (ran.code, ran.out.as_str());
    assert_eq!(found, (0, "HELLO\nmine\n/\n"), "without key and code");
    let knocked = format!("postern: knocked {GATE} at …\noops\n");
    let closed = format!("postern: asked {GATE} at … to close udp/53 for 127.0.0.1\n");
    says(&ran.err, &(knocked + &closed));
    let mut opened = world.request();
    assert!(matches!(opened.items.pop(), Some(Item::Code(_))));
    world.expect_close(opened);
}

#[test]
fn command_waits_for_the_open_port() {
    let world = World::new(UDP);
    let (_listener, service) = open_port();
    let ran = world.run_script(&["-s", &service], "echo started");
    assert_eq!((ran.code, ran.out.as_str()), (0, "started\n"));
    says(&ran.err, "postern: knocked …\npostern: … is open after …");
    let opened = world.request();
    world.expect_close(opened);
    let service = ClosedPort::new().service();
    let ran = world.run_script(&["-q", "-s", &service, "--wait", "200ms"], "echo started");
    ran.fails(3, &format!("{service} did not open within 200ms; …"));
    let opened = world.request();
    world.expect_close(opened);
}

/// In a session of its own, without a terminal, and with default signal handling. Returns its process ID and its output.
fn start(
    world: &World,
    wrapper: &str,
    options: &[&str],
    script: &str,
) -> (Child, String, BufReader<ChildStdout>) {
    let shell = ["/bin/sh", "-c", "echo $$; exec \"$0\" \"$@\"", program()];
    let mut command = Command::new("env");
    command
        .args(["--default-signal", "setsid", "--wait", wrapper])
        .args(shell)
        .args(arguments(options, script))
        .env("POSTERN_CONFIG", world.home.path("config.toml"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let process = line(&mut output);
    (child, process, output)
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn signal(process: &str, signal: Signal) {
    kill_process(Pid::from_raw(process.parse().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn signals_reach_the_command() {
    let world = World::new(UDP);
    for (sent, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
    ] {
        let trap = format!("trap 'echo got {name}; exit 9' {name}");
        let script = format!("{trap}; echo ready; while :; do sleep 0.05; done");
        let (mut child, process, mut output) = start(&world, "env", &["-q"], &script);
        assert_eq!(line(&mut output), "ready");
        let opened = world.request();
        signal(&process, sent);
        assert_eq!(line(&mut output), format!("got {name}"));
        assert_eq!(child.wait().unwrap().code(), Some(9));
        world.expect_close(opened);
    }
}

/// What is not dumpable leaves no core file, and its memory is closed to a process of the same user.
#[test]
fn only_the_command_may_be_dumped() {
    let world = World::new(UDP);
    let limit = ["prlimit", "--core=4096:4096"];
    let unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let is_root = rustix::process::geteuid().is_root();
    let wrapper = [&limit[..], if is_root { &unprivileged } else { &[] }].concat();
    let script = "for at in $$ $PPID; do head -c 0 /proc/$at/mem 2>&1 && echo open; done; \
                  grep -c '^Max core file size *4096 *4096 ' /proc/self/limits";
    let mut command = postern_behind(&wrapper, &arguments(&["-q"], script));
    command.env("POSTERN_CONFIG", world.home.path("config.toml"));
    says(
        &run(&mut command).ok(),
        "open\nhead: …Permission denied\n1\n",
    );
    let opened = world.request();
    world.expect_close(opened);
}

#[test]
fn early_signal_ends_the_wait() {
    let world = World::new(UDP);
    let port = ClosedPort::new();
    let options = ["-q", "-s", &port.service(), "--wait", "60s", "--once"];
    let (mut child, process, mut output) = start(&world, "env", &options, "echo started");
    let opened = world.request();
    signal(&process, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(line(&mut output), "");
    world.expect_close(opened);
}

#[test]
fn ignored_signal_stays_ignored() {
    let world = World::new(UDP);
    let script = "grep SigIgn /proc/self/status; echo ready; read line; echo done";
    let (mut child, process, mut output) = start(&world, "nohup", &["-q"], script);
    let mask = line(&mut output);
    let ignored = u64::from_str_radix(mask.trim_start_matches("SigIgn:").trim(), 16).unwrap();
    assert_eq!(ignored & 1, 1, "SIGHUP is signal 1");
    assert_eq!(line(&mut output), "ready");
    signal(&process, Signal::HUP);
    drop(child.stdin.take());
    assert_eq!(line(&mut output), "done");
    child.wait().unwrap();
    let opened = world.request();
    world.expect_close(opened);
}

/// The terminal itself sends Ctrl-C to the command, so postern must not send it again.
#[test]
fn terminal_interrupt_reaches_the_command_once() {
    let world = World::new(UDP);
    let stop = world.home.text_path("stop");
    let body = format!(
        "trap 'count=$((count+1)); echo interrupted $count' INT\necho ready\n\
         until [ -e {stop} ]; do sleep 0.05; done\necho total $count\nexit 5\n"
    );
    world.home.write("count.sh", &body);
    // exec, because a shell in between would take the interrupts.
    let postern = format!(
        "exec {} run home -q -- /bin/sh {}",
        program(),
        world.home.text_path("count.sh")
    );
    let mut script = Command::new("env")
        .args(["--default-signal", "script", "-qec", &postern, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("POSTERN_CONFIG", world.home.path("config.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of Debian's bsdutils");
    let mut output = BufReader::new(script.stdout.take().unwrap());
    assert_eq!(line(&mut output), "ready");
    for count in 1..=5 {
        script.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
        // The terminal may echo the key first.
        let mut shown = String::new();
        while !shown.ends_with(&format!("interrupted {count}")) {
            let more = line(&mut output);
            assert_ne!(more, "", "it ended after {shown:?}");
            shown += &more;
        }
    }
    world.home.write("stop", "");
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.trim(), "total 5", "five keys, five interrupts");
    assert_eq!(script.wait().unwrap().code(), Some(5));
    let opened = world.request();
    world.expect_close(opened);
}

#[test]
fn keep_open_renews_and_closes_once() {
    let world = World::new(UDP);
    let ran = world.run_script(&["--keep-open", "--for", "1s", "--json"], "sleep 2.5");
    let report: Value = serde_json::from_str(&ran.err).unwrap();
    let renewals = report["renewals"].as_u64().unwrap();
    assert!(ran.code == 0 && (1..=2).contains(&renewals), "{report}");
    let opened = world.request();
    for _ in 0..renewals {
        let again = world.request();
        let expected = (Action::Open, 1, &opened.items);
        assert_eq!((again.action, again.duration_s, &again.items), expected);
        assert!(again.timestamp_ms > opened.timestamp_ms);
    }
    world.expect_close(opened);
}

/// The wait for the port does not make a grant longer.
#[test]
fn first_renewal_counts_from_the_knock() {
    let world = World::new(UDP);
    let port = ClosedPort::new();
    let service = port.service();
    let started = std::time::Instant::now();
    let late = thread::spawn(move || {
        thread::sleep(std::time::Duration::from_millis(1500));
        port.open()
    });
    let options = [
        "--keep-open",
        "--for",
        "3s",
        "-s",
        &service,
        "--wait",
        "60s",
        "--json",
    ];
    let ran = world.run_script(&options, "sleep 1");
    let report: Value = serde_json::from_str(&ran.err).unwrap();
    assert!(started.elapsed().as_millis() >= 2500);
    assert!(ran.code == 0, "{report}");
    assert!(report["renewals"].as_u64() >= Some(1), "{report}");
    drop(late.join().unwrap());
    let expected = [Action::Open, Action::Open];
    assert_eq!([(); 2].map(|()| world.request().action), expected);
}

#[test]
fn each_renewal_has_a_new_code() {
    let counter = Home::new();
    let count = counter.text_path("count");
    let script = format!("echo x >> {count}; printf '10000%s\\\\n' $(wc -l < {count})");
    let command = format!("code_command = [\"/bin/sh\", \"-c\", \"{script}\"]");
    let world = World::new(&format!("{UDP}duration = \"1s\"\n{command}"));
    let mut command = world
        .home
        .command(&arguments(&["--keep-open", "-q"], "sleep 1.5"));
    run(command.env("PATH", "/usr/bin:/bin")).ok();
    let code = |request: &Request| request.code().map(|code| code.as_str().to_owned());
    for expected in ["100001", "100002"] {
        assert_eq!(code(&world.request()).as_deref(), Some(expected));
    }
    let close = world.request();
    assert_eq!((close.action, code(&close)), (Action::Close, None));
    world.gate.got_nothing();
}
