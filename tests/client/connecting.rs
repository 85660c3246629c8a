//! `postern connect` relays both directions and knocks only if the port is closed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::setup::{
    ClosedPort, GATE, Home, Ran, World, expect_documented, open_port, postern_behind, program, run,
    tcp,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server for one connection.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let (listener, _) = open_port();
    let address = listener.local_addr().unwrap();
    (
        address,
        thread::spawn(move || serve(listener.accept().unwrap().0)),
    )
}

/// A running `postern connect`.
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
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn input(&mut self) -> ChildStdin {
        self.0.stdin.take().unwrap()
    }

    fn output(&mut self) -> ChildStdout {
        self.0.stdout.take().unwrap()
    }

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

/// Bytes that do not repeat soon.
fn stream(seed: u64, length: usize) -> Vec<u8> {
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
fn open_port_needs_no_knock() {
    let world = World::new("services = [\"tcp/22\"]");
    let (to, served) = server(|mut peer| {
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        write!(peer, "{} bytes", text.len()).unwrap();
    });
    let mut connection = Connection::start(&world.home, to, &[]);
    connection.input().write_all(b"hello").unwrap();
    assert_eq!(
        connection.end().ok(),
        "5 bytes",
        "each direction ends by itself"
    );
    served.join().unwrap();
    world.gate.got_nothing();
}

#[test]
fn closed_port_is_knocked_for() {
    for services in ["tcp/1-65535", "tcp/22"] {
        let world = World::new(&format!("services = [\"{services}\"]"));
        let port = ClosedPort::new();
        let to = port.address();
        let mut connection = Connection::start(&world.home, to, &[]);
        let input = connection.input();
        let asked = match services {
            "tcp/22" => tcp(to.port(), to.port()),
            _ => tcp(1, 65_535),
        };
        assert_eq!(world.request().items, [asked]);
        port.open()
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
            lines[0].starts_with(&format!("postern: knocked {GATE} at ")),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with(&format!("postern: {to} is open after ")),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 2);
        world.gate.got_nothing();
    }
}

#[test]
fn options_choose_service_and_target() {
    let world = World::new("services = [\"tcp/22\"]");
    let port = ClosedPort::new();
    let options = ["-s", "web", "--target", "--for", "10m", "--wait", "200ms"];
    let connection = Connection::start(&world.home, port.address(), &options);
    let request = world.request();
    assert_eq!((request.names().count(), request.items.len()), (1, 1));
    assert_eq!(request.duration_s, 600);
    assert_eq!(request.target, Some("::ffff:127.0.0.1".parse().unwrap()));
    assert_eq!(connection.end().code, 3);
}

#[test]
fn port_that_stays_closed_is_3() {
    let world = World::new("");
    let port = ClosedPort::new().address().port().to_string();
    let arguments = ["connect", "home", "127.0.0.1", &port, "--wait=200ms"];
    let ran = world.run(&[&arguments[..], &["-q"]].concat());
    ran.fails(
        3,
        &[&format!(
            "postern: 127.0.0.1 port {port} did not open within 200ms; "
        )],
    );
    world.request();
    let ran = world.run(&arguments);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.lines().count()),
        (3, "", 2),
        "{}",
        ran.err
    );
    world.request();
    world.gate.got_nothing();
}

#[test]
fn json_goes_to_standard_error() {
    let world = World::new("");
    let (to, served) = server(|mut peer| peer.write_all(b"hi").unwrap());
    let mut open = Connection::start(&world.home, to, &["--json"]);
    drop(open.input());
    let ran = open.end();
    served.join().unwrap();
    assert_eq!((ran.out.as_str(), ran.err.lines().count()), ("hi", 1));
    let report: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(
        (&report["version"], &report["command"]),
        (&1.into(), &"connect".into())
    );
    assert_eq!(
        (&report["knocked"], &report["knocks"]),
        (&false.into(), &json!([]))
    );
    assert_eq!(report["wait"]["address"], to.to_string());
    expect_documented(&report);
}

#[test]
fn unreachable_host_has_its_own_status() {
    let world = World::new("");
    for (arguments, status, part) in [
        (
            "connect home nowhere.invalid 22",
            68,
            "nowhere.invalid has no address: ",
        ),
        (
            "connect home 127.0.0.1 22 -6",
            68,
            "127.0.0.1 has no IPv6 address; ",
        ),
        ("connect work 127.0.0.1 22", 78, "no profile work in "),
    ] {
        world
            .run(&arguments.split(' ').collect::<Vec<_>>())
            .fails(status, &[part]);
    }
    // A new network namespace has no interface that is up.
    let wrapper = ["unshare", "--map-root-user", "--net"];
    let mut command = postern_behind(&wrapper, &["connect", "home", "192.0.2.1", "22"]);
    command.env("POSTERN_CONFIG", world.home.path("config.toml"));
    run(&mut command).fails(69, &["no way to 192.0.2.1 port 22: Network is unreachable"]);
    world.gate.got_nothing();
}

#[test]
fn large_streams_arrive_complete() {
    const LENGTH: usize = 24 << 20;
    let world = World::new("");
    let (to, served) = server(|mut peer| {
        let mut sending = peer.try_clone().unwrap();
        let sender = thread::spawn(move || {
            sending.write_all(&stream(1, LENGTH)).unwrap();
            sending.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        sender.join().unwrap();
        assert!(received == stream(2, LENGTH), "{} bytes", received.len());
    });
    let mut connection = Connection::start(&world.home, to, &[]);
    let (mut input, mut output) = (connection.input(), connection.output());
    let sender = thread::spawn(move || input.write_all(&stream(2, LENGTH)).unwrap());
    let mut received = Vec::new();
    output.read_to_end(&mut received).unwrap();
    assert!(received == stream(1, LENGTH), "{} bytes", received.len());
    sender.join().unwrap();
    served.join().unwrap();
    assert_eq!(connection.end().ok(), "");
}

#[test]
fn half_closed_connection_still_sends() {
    let world = World::new("");
    let (to, served) = server(|mut peer| {
        peer.write_all(b"that is all").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut received = String::new();
        peer.read_to_string(&mut received).unwrap();
        assert_eq!(received, "and here is more");
    });
    let mut connection = Connection::start(&world.home, to, &[]);
    let (mut input, mut output) = (connection.input(), connection.output());
    let mut received = String::new();
    output.read_to_string(&mut received).unwrap();
    assert_eq!(
        received, "that is all",
        "standard output ends before standard input"
    );
    input.write_all(b"and here is more").unwrap();
    drop(input);
    served.join().unwrap();
    assert_eq!(connection.end().code, 0);
}

#[test]
fn closed_peer_ends_the_relay() {
    let world = World::new("");
    let (to, served) = server(drop);
    let mut connection = Connection::start(&world.home, to, &[]);
    let mut input = connection.input();
    served.join().unwrap();
    connection.output().read_to_end(&mut Vec::new()).unwrap();
    input.write_all(b"is anybody there?").unwrap();
    assert_eq!(
        connection.end().code,
        0,
        "although standard input stays open"
    );
    drop(input);
}

#[test]
fn broken_connection_is_74() {
    let world = World::new("");
    // Closing a connection with unread bytes resets it.
    let (to, served) = server(|peer| _ = peer.peek(&mut [0]).unwrap());
    let mut connection = Connection::start(&world.home, to, &[]);
    let mut input = connection.input();
    input.write_all(b"unread").unwrap();
    served.join().unwrap();
    connection.end().fails(74, &["the connection broke: "]);
    drop(input);
}

#[test]
fn closed_output_ends_the_relay() {
    let world = World::new("");
    let (to, served) = server(|mut peer| while peer.write_all(&[b'x'; 4096]).is_ok() {});
    let mut connection = Connection::start(&world.home, to, &[]);
    let (input, mut output) = (connection.input(), connection.output());
    output.read_exact(&mut [0; 10]).unwrap();
    drop(output);
    assert_eq!(connection.end().ok(), "");
    served.join().unwrap();
    drop(input);
}
