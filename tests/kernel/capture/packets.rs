//! What is captured: both families on every kind of link, each datagram once, and nothing of the gate's own.

use postern::adapters::capture::packet::{self, PacketCapture};
use postern_harness::Namespace;
use postern_harness::packets::{RawLink, framed, udp4, udp6};

use super::{END, PORT, PORTS, capture, gate_and_peer, payloads_until_end, send, texts_until_end};

pub(crate) fn socket_is_silent_before_it_is_bound() {
    let namespace = Namespace::new();
    let socket = namespace.run(|| packet::open(&PORTS).unwrap());
    let flags = rustix::io::fcntl_getfd(&socket).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    assert!(rustix::net::sockopt::socket_recv_buffer_size(&socket).unwrap() >= 8 << 20);
    send(&namespace, "127.0.0.1", PORT, b"early");
    let mut capture = PacketCapture::new(socket, None, PORTS.to_vec()).unwrap();
    send(&namespace, "127.0.0.1", PORT, END);
    assert!(payloads_until_end(&mut capture).is_empty());
}

pub(crate) fn both_families_are_captured_on_a_closed_port() {
    let (gate, peer) = gate_and_peer();
    for interface in [None, Some("gate0")] {
        let mut capture = capture(&gate, interface);
        send(&peer, "192.0.2.1", PORT, b"four");
        send(&peer, "2001:db8::1", PORTS[1], b"six");
        send(&peer, "192.0.2.1", PORT, END);
        let expected = [
            "Datagram { 192.0.2.2 -> 192.0.2.1 port 62201, 4 bytes }",
            "Datagram { 2001:db8::2 -> 2001:db8::1 port 53, 3 bytes }",
        ];
        assert_eq!(texts_until_end(&mut capture), expected);
    }
}

pub(crate) fn loopback_datagram_is_captured_once() {
    let namespace = Namespace::new();
    for interface in [None, Some("lo")] {
        let mut capture = capture(&namespace, interface);
        send(&namespace, "127.0.0.1", PORT, b"four");
        send(&namespace, "::1", PORT, b"six");
        send(&namespace, "127.0.0.1", PORT, END);
        assert_eq!(payloads_until_end(&mut capture), [&b"four"[..], b"six"]);
    }
}

pub(crate) fn own_datagrams_are_not_captured() {
    let (gate, peer) = gate_and_peer();
    let mut at_peer = capture(&peer, None);
    for interface in [None, Some("gate0")] {
        let mut at_gate = capture(&gate, interface);
        send(&gate, "192.0.2.2", PORT, b"four");
        send(&gate, "2001:db8::2", PORT, b"six");
        send(&gate, "192.0.2.2", PORT, END);
        assert_eq!(payloads_until_end(&mut at_peer), [&b"four"[..], b"six"]);
        send(&peer, "192.0.2.1", PORT, END);
        assert!(payloads_until_end(&mut at_gate).is_empty());
    }
}

pub(crate) fn vlan_tagged_packets_are_captured() {
    let (gate, peer) = gate_and_peer();
    let mut link = RawLink::open(&peer, "peer0");
    for interface in [None, Some("gate0")] {
        let mut capture = capture(&gate, interface);
        link.send(&framed(&[0x8100, 7, 0x0800], &udp4(PORT, b"four")));
        link.send(&framed(&[0x8100, 4094, 0x86dd], &udp6(PORT, b"six")));
        link.send(&framed(&[0x8100, 7, 0x0800], &udp4(PORT + 1, b"other")));
        link.send_ip(&udp4(PORT, END));
        assert_eq!(payloads_until_end(&mut capture), [&b"four"[..], b"six"]);
    }
}
