//! `postern connect`: what goes in comes out at the other end and back, each direction ends by itself, and a knock is sent
//! only to a closed port.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postern_proto::{Item, Protocol, Service, UserKeys};
use serde_json::Value;

use crate::door::Shut;
use crate::gate::FakeGate;
use crate::program::{GATE, Home, Ran, expect_documented, key, program, run, shared};

const PATIENCE: Duration = Duration::from_secs(30);

fn home(gate: &FakeGate, more: &str) -> (Home, UserKeys) {
    let key = key(31);
    (
        Home::with_profile(&format!(
            "address = \"{}\"\nkey = \"{key}\"\n{more}",
            gate.address()
        )),
        shared(&key),
    )
}

/// A server for one connection.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    (
        place,
        thread::spawn(move || serve(listener.accept().unwrap().0)),
    )
}

/// `postern connect` that runs.
struct Connection(Child);

impl Connection {
    fn start(home: &Home, to: SocketAddr, more: &[&str]) -> Self {
        let mut command = Command::new(program());
        command
            .args(["connect", "home", "127.0.0.1", &to.port().to_string()])
            .args(more);
        command
            .env_clear()
            .env("POSTERN_CONFIG", home.path("config.toml"));
        Self(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    fn input(&mut self) -> ChildStdin {
        self.0.stdin.take().unwrap()
    }

    fn output(&mut self) -> ChildStdout {
        self.0.stdout.take().unwrap()
    }

    /// What became of it; fails if it does not end.
    fn end(mut self) -> Ran {
        let start = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            if start.elapsed() > PATIENCE {
                self.0.kill().unwrap();
                panic!("it does not end");
            }
            thread::sleep(Duration::from_millis(10));
        }
        let output = self.0.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// One that finds its port shut.
fn knocking(home: &Home, more: &[&str]) -> (Shut, Connection) {
    let door = Shut::new();
    let connection = Connection::start(home, door.address(), more);
    (door, connection)
}

/// Bytes that do not repeat soon.
fn much(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn an_open_port_is_reached_without_a_knock_and_without_a_word() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "services = [\"tcp/22\"]");
    let (to, served) = server(|mut peer| {
        let mut said = String::new();
        peer.read_to_string(&mut said).unwrap();
        write!(peer, "{} bytes", said.len()).unwrap();
    });
    let mut connection = Connection::start(&home, to, &[]);
    connection.input().write_all(b"hello").unwrap();
    assert_eq!(
        connection.end().ok(),
        "5 bytes",
        "the end of the input is passed on, and what comes after it comes back"
    );
    served.join().unwrap();
    gate.heard_nothing();
}

#[test]
fn a_closed_port_is_knocked_for_and_reached_once_it_opens() {
    for (services, asked) in [("tcp/1-65535", 1), ("tcp/22", 0)] {
        let gate = FakeGate::v4();
        let (home, keys) = home(&gate, &format!("services = [\"{services}\"]"));
        let (door, mut connection) = knocking(&home, &[]);
        let to = door.address();
        let input = connection.input();
        let request = gate.knock(&keys);
        let (first, last) = if asked == 1 {
            (1, 65_535)
        } else {
            (to.port(), to.port())
        };
        assert_eq!(
            request.items,
            [Item::Service(
                Service::new(Protocol::Tcp, first, last).unwrap()
            )],
            "what the profile names if it fits"
        );
        door.open()
            .accept()
            .unwrap()
            .0
            .write_all(b"welcome")
            .unwrap();
        drop(input);
        let ran = connection.end();
        assert_eq!((ran.code, ran.out.as_str()), (0, "welcome"));
        let lines: Vec<&str> = ran.err.lines().collect();
        assert!(
            lines[0].starts_with(&format!("postern: knocked {GATE} at ")) && lines.len() == 2,
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with(&format!("postern: {to} is open after ")),
            "{lines:?}"
        );
        gate.heard_nothing();
    }
}

#[test]
fn a_service_that_is_named_is_asked_for_and_a_host_behind_the_gate_is_the_target() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "services = [\"tcp/22\"]");
    let (_door, connection) = knocking(
        &home,
        &["-s", "web", "--target", "--for", "10m", "--wait", "200ms"],
    );
    let request = gate.knock(&keys);
    assert_eq!(
        (
            request.names().count(),
            request.items.len(),
            request.duration_s
        ),
        (1, 1, 600)
    );
    assert_eq!(request.target, Some("::ffff:127.0.0.1".parse().unwrap()));
    assert_eq!(connection.end().code, 3);
}

#[test]
fn a_port_that_does_not_open_is_3_and_nothing_is_on_standard_output() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    let door = Shut::new();
    let port = door.address().port().to_string();
    let words = ["connect", "home", "127.0.0.1", &port, "--wait=200ms"];
    let quiet = home.run(&[&words[..], &["-q"]].concat()).failed(3);
    assert!(
        quiet.starts_with(&format!(
            "postern: 127.0.0.1 port {port} did not open within 200ms; "
        )),
        "{quiet}"
    );
    gate.knock(&keys);
    let ran = home.run(&words);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.lines().count()),
        (3, "", 2),
        "{}",
        ran.err
    );
    gate.knock(&keys);
    gate.heard_nothing();
}

#[test]
fn json_says_whether_it_knocked_on_standard_error() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "");
    let (to, served) = server(|mut peer| peer.write_all(b"hi").unwrap());
    let mut open = Connection::start(&home, to, &["--json"]);
    drop(open.input());
    let ran = open.end();
    served.join().unwrap();
    let said: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!((ran.out.as_str(), ran.err.lines().count()), ("hi", 1));
    assert_eq!(
        (&said["version"], &said["command"], &said["knocked"]),
        (&1.into(), &"connect".into(), &false.into())
    );
    assert_eq!(
        (&said["wait"]["address"], &said["knocks"]),
        (&to.to_string().into(), &serde_json::json!([]))
    );

    let (door, mut closed) = knocking(&home, &["--json"]);
    drop(closed.input());
    gate.knock(&keys);
    drop(door.open().accept().unwrap());
    let ran = closed.end();
    let said: Value = serde_json::from_str(&ran.err).unwrap();
    expect_documented(&said);
    assert_eq!(
        (ran.code, &said["knocked"], &said["knocks"][0]["sent"]),
        (0, &true.into(), &true.into())
    );
}

#[test]
fn what_cannot_be_reached_or_asked_for_has_its_own_status() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    for (arguments, status, part) in [
        (
            &["connect", "home", "nowhere.invalid", "22"][..],
            68,
            "nowhere.invalid has no address: ",
        ),
        (
            &["connect", "home", "127.0.0.1", "22", "-6"],
            68,
            "127.0.0.1 has no IPv6 address; ",
        ),
        (
            &["connect", "home", "127.0.0.1", "0"],
            2,
            "0 is not in 1..=",
        ),
        (&["connect", "home", "127.0.0.1"], 2, "<PORT>"),
        (
            &["connect", "work", "127.0.0.1", "22"],
            78,
            "no profile work in ",
        ),
    ] {
        let line = home.run(arguments).failed(status);
        assert!(line.contains(part), "{line}");
    }
    // In a network namespace of its own not even the loopback interface is up.
    let mut command = assert_cmd::Command::new("unshare");
    command
        .args(["--map-root-user", "--net"])
        .arg(program())
        .args(["connect", "home", "192.0.2.1", "22"]);
    let line = run(command.env("POSTERN_CONFIG", home.path("config.toml"))).failed(69);
    assert!(
        line.contains("no way to 192.0.2.1 port 22: Network is unreachable"),
        "{line}"
    );
    gate.heard_nothing();
}

#[test]
fn large_streams_in_both_directions_at_once_arrive_whole() {
    const LENGTH: usize = 24 << 20;
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    let (to, served) = server(|mut peer| {
        let mut sending = peer.try_clone().unwrap();
        let sender = thread::spawn(move || {
            sending.write_all(&much(1, LENGTH)).unwrap();
            sending.shutdown(Shutdown::Write).unwrap();
        });
        let mut came = Vec::new();
        peer.read_to_end(&mut came).unwrap();
        sender.join().unwrap();
        assert!(came == much(2, LENGTH), "{} bytes came", came.len());
    });
    let mut connection = Connection::start(&home, to, &[]);
    let (mut input, mut output) = (connection.input(), connection.output());
    let sender = thread::spawn(move || input.write_all(&much(2, LENGTH)).unwrap());
    let mut came = Vec::new();
    output.read_to_end(&mut came).unwrap();
    assert!(came == much(1, LENGTH), "{} bytes came", came.len());
    sender.join().unwrap();
    served.join().unwrap();
    assert_eq!(connection.end().ok(), "");
}

#[test]
fn the_peers_end_closes_standard_output_and_what_is_sent_after_it_still_arrives() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    let (to, served) = server(|mut peer| {
        peer.write_all(b"that is all").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut came = String::new();
        peer.read_to_string(&mut came).unwrap();
        assert_eq!(came, "and here is more");
    });
    let mut connection = Connection::start(&home, to, &[]);
    let (mut input, mut output) = (connection.input(), connection.output());
    let mut came = String::new();
    output.read_to_string(&mut came).unwrap();
    assert_eq!(
        came, "that is all",
        "standard output ends though standard input has not"
    );
    input.write_all(b"and here is more").unwrap();
    drop(input);
    served.join().unwrap();
    assert_eq!(connection.end().code, 0);
}

#[test]
fn it_ends_when_the_peer_takes_nothing_more_though_theinput_stays_open() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    let (to, served) = server(drop);
    let mut connection = Connection::start(&home, to, &[]);
    let mut input = connection.input();
    served.join().unwrap();
    // The peer is gone for good: the first bytes are refused, which ends it.
    let mut output = connection.output();
    output.read_to_end(&mut Vec::new()).unwrap();
    input.write_all(b"is anybody there?").unwrap();
    assert_eq!(connection.end().code, 0);
    drop(input);
}

#[test]
fn a_connection_that_breaks_is_74() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    // Bytes that are not read when a connection is closed break it.
    let (to, served) = server(|peer| _ = peer.peek(&mut [0]).unwrap());
    let mut connection = Connection::start(&home, to, &[]);
    let mut input = connection.input();
    input.write_all(b"unread").unwrap();
    served.join().unwrap();
    let line = connection.end().failed(74);
    assert!(line.contains("the connection broke: "), "{line}");
    drop(input);
}

#[test]
fn it_ends_when_nobody_reads_its_output_any_more() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    let (to, served) = server(|mut peer| {
        let endless = [b'x'; 4096];
        while peer.write_all(&endless).is_ok() {}
    });
    let mut connection = Connection::start(&home, to, &[]);
    let input = connection.input();
    let mut output = connection.output();
    output.read_exact(&mut [0; 10]).unwrap();
    drop(output);
    assert_eq!(connection.end().ok(), "");
    served.join().unwrap();
    drop(input);
}

#[test]
fn an_idle_connection_costs_no_time_of_the_processor() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    let (to, served) = server(|mut peer| {
        peer.write_all(b"x").unwrap();
        peer.read_to_end(&mut Vec::new()).unwrap();
    });
    let mut connection = Connection::start(&home, to, &[]);
    let (input, mut output) = (connection.input(), connection.output());
    output.read_exact(&mut [0]).unwrap();
    // In hundredths of a second, user and system; the fields behind the name, which is in brackets.
    let ticks = || {
        let stat = postern::adapters::files::read_system(
            format!("/proc/{}/stat", connection.0.id()).as_ref(),
        )
        .unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        fields[11] + fields[12]
    };
    let before = ticks();
    thread::sleep(Duration::from_secs(1));
    let spent = ticks() - before;
    assert!(spent <= 20, "{spent} hundredths of a second");
    drop(input);
    served.join().unwrap();
    connection.end().ok();
}
