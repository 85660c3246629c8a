//! `postern connect` relays both directions and knocks only if the port is closed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postern_proto::{Item, ServiceName};

use crate::setup::{
    ClosedPort, GATE, Home, World, open, open_port, postern_behind, program, run, says, tcp,
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

/// A running `postern connect`, its input and its output.
struct Connection {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Connection {
    fn start(home: &Home, to: SocketAddr, more: &[&str]) -> Self {
        let mut command = Command::new(program());
        command
            .args(["connect", "home", "127.0.0.1", &to.port().to_string()])
            .args(more)
            .env_clear()
            .env("POSTERN_CONFIG", home.path("config.toml"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
        }
    }

    fn read(&mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        text
    }

    /// Closes standard input. Returns exit status, output and messages.
    fn close(self) -> (i32, String, String) {
        let mut child = self.child;
        drop(self.input);
        child.stdout = Some(self.output);
        let ran = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = ran.status.code().unwrap();
        (code, text(ran.stdout), text(ran.stderr))
    }

    /// Waits for the end, while standard input stays open. Returns exit status and messages.
    fn end(mut self) -> (i32, String) {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > PATIENCE => {
                    self.child.kill().unwrap();
                    panic!("it does not end");
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        let mut messages = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut messages).unwrap();
        (status.code().unwrap(), messages)
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
    let mut connection = Connection::start(&world.home, to, &["--json"]);
    connection.input.write_all(b"hello").unwrap();
    let (code, output, messages) = connection.close();
    assert_eq!(output, "5 bytes", "each direction ends by itself");
    let report: serde_json::Value = serde_json::from_str(&messages).unwrap();
    assert!(code == 0 && report["knocked"] == false, "{report}");
    assert_eq!(report["wait"]["address"], to.to_string());
    served.join().unwrap();
    world.gate.got_nothing();
}

#[test]
fn closed_port_is_knocked_for() {
    for services in ["tcp/1-65535", "tcp/22"] {
        let world = World::new(&format!("services = [\"{services}\"]"));
        let port = ClosedPort::new();
        let to = port.address();
        let connection = Connection::start(&world.home, to, &["--once"]);
        let asked = match services {
            "tcp/22" => tcp(to.port(), to.port()),
            _ => tcp(1, 65_535),
        };
        assert_eq!(world.request().items, [asked]);
        let (mut peer, _) = port.open().accept().unwrap();
        peer.write_all(b"welcome").unwrap();
        drop(peer);
        let (code, output, messages) = connection.close();
        assert_eq!(output, "welcome");
        let knocked = format!("postern: knocked {GATE} at …\n");
        says(
            &messages,
            &format!("{knocked}postern: {to} is open after …\n"),
        );
        assert_eq!((code, messages.lines().count()), (0, 2));
        world.gate.got_nothing();
    }
}

/// Every knock of a wait is a new packet.
#[test]
fn closed_port_is_knocked_for_again() {
    let world = World::new("services = [\"tcp/1-65535\"]\nquota = \"6/min\"");
    let port = ClosedPort::new();
    let connection = Connection::start(&world.home, port.address(), &["--json", "--wait=60s"]);
    let mut packets = [(); 3].map(|()| world.gate.packet());
    let (mut peer, _) = port.open().accept().unwrap();
    peer.write_all(b"welcome").unwrap();
    drop(peer);
    let (code, output, messages) = connection.close();
    assert_eq!((code, output.as_str()), (0, "welcome"));
    let report: serde_json::Value = serde_json::from_str(&messages).unwrap();
    assert_eq!(report["knocks"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(
        report["knocks"][0]["count"], 3,
        "half of the quota: {report}"
    );
    packets.sort();
    assert!(packets[0] != packets[1] && packets[1] != packets[2]);
    for packet in packets {
        open(&packet, &world.keys);
    }
    world.gate.got_nothing();
}

#[test]
fn code_is_sent_once_unless_a_program_has_another() {
    let port = ClosedPort::new().address().port();
    let knock = format!("connect home 127.0.0.1 {port} --wait=600ms");
    let world = World::new("code_command = [\"/bin/echo\", \"123456\"]");
    for code in ["654321", ""] {
        let mut command = world.home.command(&knock.split(' ').collect::<Vec<_>>());
        if !code.is_empty() {
            command.env("POSTERN_CODE", code);
        }
        assert_eq!(run(&mut command).code, 3);
        assert!(world.request().code().is_some());
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
    let name = Item::Name(ServiceName::new("web").unwrap());
    assert_eq!(request.items.as_slice(), [name]);
    assert_eq!(request.duration_s, 600);
    assert_eq!(request.target, Some("::ffff:127.0.0.1".parse().unwrap()));
    assert_eq!(connection.end().0, 3);
}

#[test]
fn unreachable_host_has_its_own_status() {
    let world = World::new("");
    for (arguments, pattern) in [
        (
            "connect home nowhere.invalid 22",
            "nowhere.invalid has no address: …",
        ),
        (
            "connect home 127.0.0.1 22 -6",
            "127.0.0.1 has no IPv6 address; …",
        ),
    ] {
        world.line(arguments).fails(68, pattern);
    }
    // A new network namespace has no interface that is up.
    let wrapper = ["unshare", "--map-root-user", "--net"];
    let mut command = postern_behind(&wrapper, &["connect", "home", "192.0.2.1", "22"]);
    command.env("POSTERN_CONFIG", world.home.path("config.toml"));
    run(&mut command).fails(
        69,
        "cannot reach 192.0.2.1 port 22: Network is unreachable…",
    );
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
    let Connection {
        child,
        mut input,
        mut output,
    } = Connection::start(&world.home, to, &[]);
    let sender = thread::spawn(move || input.write_all(&stream(2, LENGTH)).unwrap());
    let mut received = Vec::new();
    output.read_to_end(&mut received).unwrap();
    assert!(received == stream(1, LENGTH), "{} bytes", received.len());
    sender.join().unwrap();
    served.join().unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
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
    assert_eq!(connection.read(), "that is all", "standard input is open");
    connection.input.write_all(b"and here is more").unwrap();
    let mut child = connection.child;
    drop(connection.input);
    served.join().unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn closed_peer_ends_the_relay() {
    let world = World::new("");
    let (to, served) = server(drop);
    let mut connection = Connection::start(&world.home, to, &[]);
    served.join().unwrap();
    assert_eq!(connection.read(), "");
    connection.input.write_all(b"is anybody there?").unwrap();
    assert_eq!(connection.end().0, 0, "although standard input stays open");
}

#[test]
fn broken_connection_is_74() {
    let world = World::new("");
    // Closing a connection with unread bytes resets it.
    let (to, served) = server(|peer| _ = peer.peek(&mut [0]).unwrap());
    let mut connection = Connection::start(&world.home, to, &[]);
    connection.input.write_all(b"unread").unwrap();
    served.join().unwrap();
    assert_eq!(connection.read(), "");
    let (code, messages) = connection.end();
    says(&messages, "postern: the connection broke: …; …\n");
    assert_eq!(code, 74);
}

#[test]
fn closed_output_ends_the_relay() {
    let world = World::new("");
    let (to, served) = server(|mut peer| while peer.write_all(&[b'x'; 4096]).is_ok() {});
    let Connection {
        mut child,
        input,
        mut output,
    } = Connection::start(&world.home, to, &[]);
    output.read_exact(&mut [0; 10]).unwrap();
    drop(output);
    assert!(child.wait().unwrap().success());
    served.join().unwrap();
    drop(input);
}
