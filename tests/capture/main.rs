//! Capture against the real kernel, in network namespaces that each test makes for itself. Needs root, `ip` and `python3`.
//!
//! ```text
//!   gate namespace                          peer namespace
//!   lo    127.0.0.1, ::1
//!   tun0  (one test)
//!   gate0 192.0.2.1, 2001:db8::1  ═ veth ═  peer0 192.0.2.2, 2001:db8::2
//!   02:00:00:00:00:01                       02:00:00:00:00:02
//! ```
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods)]

use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use postern::capture::packet::{self, PacketCapture};
use postern::capture::{Capture, Caught};
use postern::datagram::Datagram;

mod filter;
mod links;
#[path = "../netns/mod.rs"]
mod netns;
mod packets;
mod udp;

use netns::{Namespace, join};

const PORTS: [u16; 3] = [62201, 53, 65535];
const PORT: u16 = PORTS[0];
/// What a test sends last.
const END: &[u8] = b"the end";

fn capture(namespace: &Namespace, interface: Option<&str>) -> PacketCapture {
    let interface = interface.map(str::to_owned);
    namespace.run(move || PacketCapture::new(packet::open(&PORTS).unwrap(), interface, PORTS.to_vec()).unwrap())
}

/// Sends from an ordinary socket.
fn send(namespace: &Namespace, to: &'static str, port: u16, payload: &[u8]) {
    let payload = payload.to_vec();
    namespace.run(move || {
        let to: IpAddr = to.parse().unwrap();
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        UdpSocket::bind(any).unwrap().send_to(&payload, (to, port)).unwrap();
    });
}

/// All that is captured up to the last datagram of the test.
fn until_end(capture: &mut dyn Capture) -> Vec<Datagram> {
    let mut datagrams = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match capture.next().unwrap() {
            Caught::Datagram(datagram) if datagram.payload() == END => return datagrams,
            Caught::Datagram(datagram) => datagrams.push(datagram),
            Caught::Nothing => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("the last datagram was not captured; before it came {datagrams:?}")
}

fn payloads(datagrams: &[Datagram]) -> Vec<&[u8]> {
    datagrams.iter().map(Datagram::payload).collect()
}

/// Asks for `time` and expects to be told nothing, slowly.
fn expect_quiet(capture: &mut dyn Capture, time: Duration) {
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < time {
        let caught = capture.next().unwrap();
        assert!(matches!(caught, Caught::Nothing), "{caught:?}");
        calls += 1;
    }
    // A signal ends a wait early, and other tests' children make some; a loop that spins makes a hundred thousand calls.
    assert!(calls <= time.as_secs() + 20, "{calls} calls in {time:?}");
}

fn gate_and_peer() -> (Namespace, Namespace) {
    let (gate, peer) = (Namespace::new(), Namespace::new());
    join(&gate, &peer);
    (gate, peer)
}

/// A bound socket whose packets nobody else reads, and the capture that bound it.
fn bound_socket(gate: &Namespace) -> (OwnedFd, PacketCapture) {
    gate.run(|| {
        let socket = packet::open(&PORTS).unwrap();
        let capture = PacketCapture::new(socket.try_clone().unwrap(), Some("gate0".to_owned()), PORTS.to_vec()).unwrap();
        (socket, capture)
    })
}
