//! The bound socket that never answers.

use std::io;
use std::time::Duration;

use postern::adapters::capture::udp::{self, UdpCapture};
use postern_harness::Namespace;

use super::{END, PORT, expect_quiet, gate_and_peer, payloads_until_end, send, texts_until_end};

pub(crate) fn bound_socket_receives_both_families() {
    let (gate, peer) = gate_and_peer();
    let mut capture = UdpCapture::new(gate.run(|| udp::bind(PORT).unwrap()), PORT);
    send(&peer, "192.0.2.1", PORT, b"four");
    send(&peer, "2001:db8::1", PORT, b"six");
    send(&peer, "192.0.2.1", PORT, END);
    let expected = [
        "Datagram { 192.0.2.2 -> 0.0.0.0 port 62201, 4 bytes }",
        "Datagram { 2001:db8::2 -> :: port 62201, 3 bytes }",
    ];
    assert_eq!(texts_until_end(&mut capture), expected);
    let taken = gate.run(|| udp::bind(PORT).unwrap_err());
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
}

pub(crate) fn bound_socket_cuts_long_datagrams() {
    let namespace = Namespace::new();
    let mut capture = UdpCapture::new(namespace.run(|| udp::bind(PORT).unwrap()), PORT);
    for payload in [&[7; 4000][..], &[], &[8; 132], END] {
        send(&namespace, "127.0.0.1", PORT, payload);
    }
    let expected = [&[7; 1501][..], &[], &[8; 132]];
    assert_eq!(payloads_until_end(&mut capture), expected);
    expect_quiet(&mut capture, Duration::from_secs(2));
}
