//! What is captured: both families, every kind of link, each datagram once, and nothing of our own.

use postern::adapters::capture::packet::{self, PacketCapture};

use crate::{END, PORT, PORTS, capture, gate_and_peer, payloads, send, until_end};
use postern_harness::Namespace;
use postern_harness::packets::{RawLink, Tun, framed, udp4, udp6};

pub(crate) fn the_socket_is_closed_on_exec_and_has_a_large_buffer() {
    Namespace::new().run(|| {
        let socket = packet::open(&PORTS).unwrap();
        assert!(
            rustix::io::fcntl_getfd(&socket)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
        assert!(rustix::net::sockopt::socket_recv_buffer_size(&socket).unwrap() >= 8 << 20);
    });
}

pub(crate) fn a_socket_hears_nothing_before_it_is_bound() {
    let namespace = Namespace::new();
    let socket = namespace.run(|| packet::open(&PORTS).unwrap());
    send(&namespace, "127.0.0.1", PORT, b"early");
    let mut capture = PacketCapture::new(socket, None, PORTS.to_vec()).unwrap();
    send(&namespace, "127.0.0.1", PORT, END);
    assert!(until_end(&mut capture).is_empty());
}

pub(crate) fn both_families_are_captured_with_their_addresses_though_the_port_is_closed() {
    let (gate, peer) = gate_and_peer();
    for interface in [None, Some("gate0")] {
        let mut capture = capture(&gate, interface);
        send(&peer, "192.0.2.1", PORT, b"four");
        send(&peer, "2001:db8::1", PORTS[1], b"six");
        send(&peer, "192.0.2.1", PORT, END);
        let datagrams: Vec<_> = until_end(&mut capture)
            .iter()
            .map(|datagram| format!("{datagram:?}"))
            .collect();
        let four = "Datagram { 192.0.2.2 -> 192.0.2.1 port 62201, 4 bytes }";
        let six = "Datagram { 2001:db8::2 -> 2001:db8::1 port 53, 3 bytes }";
        assert_eq!(datagrams, [four, six]);
    }
}

pub(crate) fn loopback_shows_each_datagram_once() {
    let namespace = Namespace::new();
    for interface in [None, Some("lo")] {
        let mut capture = capture(&namespace, interface);
        send(&namespace, "127.0.0.1", PORT, b"four");
        send(&namespace, "::1", PORT, b"six");
        send(&namespace, "127.0.0.1", PORT, END);
        assert_eq!(payloads(&until_end(&mut capture)), [&b"four"[..], b"six"]);
    }
}

pub(crate) fn own_outgoing_datagrams_are_not_captured() {
    let (gate, peer) = gate_and_peer();
    let mut at_peer = capture(&peer, None);
    for interface in [None, Some("gate0")] {
        let mut at_gate = capture(&gate, interface);
        send(&gate, "192.0.2.2", PORT, b"four");
        send(&gate, "2001:db8::2", PORT, b"six");
        send(&gate, "192.0.2.2", PORT, END);
        assert_eq!(
            payloads(&until_end(&mut at_peer)),
            [&b"four"[..], b"six"],
            "they were sent"
        );
        send(&peer, "192.0.2.1", PORT, END);
        assert!(until_end(&mut at_gate).is_empty());
    }
}

pub(crate) fn packets_of_a_tun_device_are_captured() {
    let namespace = Namespace::new();
    let mut tun = Tun::new(&namespace);
    for interface in [None, Some("tun0")] {
        let mut capture = capture(&namespace, interface);
        tun.receives(&udp4(PORT, b"four"));
        tun.receives(&udp4(PORT + 1, b"another port"));
        tun.receives(&udp6(PORT, b"six"));
        tun.receives(&udp6(PORT, END));
        assert_eq!(payloads(&until_end(&mut capture)), [&b"four"[..], b"six"]);
    }
}

pub(crate) fn packets_with_a_vlan_tag_are_captured_without_a_vlan_device() {
    let (gate, peer) = gate_and_peer();
    let mut wire = RawLink::open(&peer, "peer0");
    for interface in [None, Some("gate0")] {
        let mut capture = capture(&gate, interface);
        wire.send(&framed(&[0x8100, 7, 0x0800], &udp4(PORT, b"four")));
        wire.send(&framed(&[0x8100, 4094, 0x86dd], &udp6(PORT, b"six")));
        wire.send(&framed(
            &[0x8100, 7, 0x0800],
            &udp4(PORT + 1, b"another port"),
        ));
        wire.send_ip(&udp4(PORT, END));
        assert_eq!(payloads(&until_end(&mut capture)), [&b"four"[..], b"six"]);
    }
}
