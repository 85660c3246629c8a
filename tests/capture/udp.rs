//! The bound socket that never answers.

use std::io;
use std::time::Duration;

use postern::adapters::capture::udp::{self, UdpCapture};

use crate::{END, PORT, expect_quiet, gate_and_peer, payloads, send, until_end};
use postern_harness::Namespace;

pub(crate) fn a_bound_socket_hears_both_families_with_plain_addresses() {
    let (gate, peer) = gate_and_peer();
    let mut capture = UdpCapture::new(gate.run(|| udp::bind(PORT).unwrap()), PORT);
    send(&peer, "192.0.2.1", PORT, b"four");
    send(&peer, "2001:db8::1", PORT, b"six");
    send(&peer, "192.0.2.1", PORT, END);
    let datagrams: Vec<_> = until_end(&mut capture)
        .iter()
        .map(|datagram| format!("{datagram:?}"))
        .collect();
    let four = "Datagram { 192.0.2.2 -> 0.0.0.0 port 62201, 4 bytes }";
    let six = "Datagram { 2001:db8::2 -> :: port 62201, 3 bytes }";
    assert_eq!(datagrams, [four, six]);
    let taken = gate.run(|| udp::bind(PORT).unwrap_err());
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
}

pub(crate) fn a_bound_socket_cuts_what_is_too_long_and_waits_in_silence() {
    let namespace = Namespace::new();
    let mut capture = UdpCapture::new(namespace.run(|| udp::bind(PORT).unwrap()), PORT);
    send(&namespace, "127.0.0.1", PORT, &[7; 4000]);
    send(&namespace, "127.0.0.1", PORT, &[]);
    send(&namespace, "127.0.0.1", PORT, &[8; 132]);
    send(&namespace, "127.0.0.1", PORT, END);
    assert_eq!(
        payloads(&until_end(&mut capture)),
        [&[7; 517][..], &[], &[8; 132]]
    );
    expect_quiet(&mut capture, Duration::from_secs(2));
}
