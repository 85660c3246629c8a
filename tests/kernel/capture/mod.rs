//! Capture on the real kernel, in network namespaces of each test's own. Needs root, `ip` and `python3`.
//!
//! ```text
//!   gate namespace                          peer namespace
//!   lo    127.0.0.1, ::1
//!   tun0  (one test)
//!   gate0 192.0.2.1, 2001:db8::1  ═ veth ═  peer0 192.0.2.2, 2001:db8::2
//! ```

use std::io::Read;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use postern::adapters::capture::packet::{self, CapturedInterface, PacketCapture};
use postern::adapters::capture::{Capture, Caught};
use postern::model::datagram::Datagram;
use postern_harness::packets::{udp4, udp6, with};
use postern_harness::{Machine, Namespace, Random, Requirement, join, trials};
use rustix::net::netdevice::name_to_index;

mod filter;
mod hints;
mod links;
mod packets;
mod udp;

const PORTS: [u16; 3] = [62201, 53, 65535];
const PORT: u16 = PORTS[0];
/// The end of what a test sends.
const END: &[u8] = b"the end";

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let requirements = [
        Requirement::Root,
        Requirement::Program("ip"),
        Requirement::Program("python3"),
    ];
    trials![
        machine, &requirements;
        filter::only_packets_like_a_knock_are_delivered,
        filter::mutated_packets_pass_if_the_parser_takes_them,
        hints::only_known_hints_of_knock_length_pass,
        hints::look_alikes_of_fwknop_pass_without_a_hint,
        hints::mutated_packets_pass_if_the_gate_would_look_them_up,
        hints::only_copies_of_used_packets_are_dropped,
        hints::map_follows_the_hint_table,
        hints::tunnel_and_vlan_packets_pass_the_hint_filter,
        links::link_down_is_reported_once_and_capture_resumes,
        links::datagram_before_link_down_is_not_lost,
        links::recreated_interface_is_captured_without_leaks,
        links::renamed_interface_is_released,
        links::capture_on_every_interface_ignores_link_changes,
        packets::socket_is_silent_before_it_is_bound,
        packets::both_families_are_captured_on_a_closed_port,
        packets::loopback_datagram_is_captured_once,
        packets::own_datagrams_are_not_captured,
        packets::vlan_tagged_packets_are_captured,
        udp::bound_socket_receives_both_families,
        udp::bound_socket_cuts_long_datagrams,
    ]
}

fn gate_and_peer() -> (Namespace, Namespace) {
    let (gate, peer) = (Namespace::new(), Namespace::new());
    join(&gate, &peer);
    // a packet of fwknop may be longer than Ethernet's
    gate.ip("link set gate0 mtu 2000");
    peer.ip("link set peer0 mtu 2000");
    (gate, peer)
}

/// A capture whose owner looks the interface up before each read.
struct Followed {
    capture: PacketCapture,
    interface: Option<CapturedInterface>,
    inside: UdpSocket,
}

impl Capture for Followed {
    fn take(&mut self, datagram: &mut Datagram) -> std::io::Result<Caught> {
        if let Some(interface) = &self.interface {
            let index = name_to_index(&self.inside, &interface.name);
            interface.index.store(index.unwrap_or(0), Ordering::Relaxed);
        }
        self.capture.take(datagram)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.capture.descriptor()
    }

    fn holds(&self) -> bool {
        self.capture.holds()
    }
}

fn capture(namespace: &Namespace, interface: Option<&str>) -> Followed {
    bound(namespace, interface).1
}

/// A packet socket, and the capture that bound it.
fn bound(namespace: &Namespace, interface: Option<&str>) -> (OwnedFd, Followed) {
    let interface = interface.map(str::to_owned);
    namespace.run(move || {
        let (socket, inside) = (
            packet::open(&PORTS).unwrap(),
            UdpSocket::bind("0.0.0.0:0").unwrap(),
        );
        let interface = interface.map(|name| named(&inside, &name));
        let duplicate = socket.try_clone().unwrap();
        let capture = PacketCapture::new(duplicate, interface.clone(), PORTS.to_vec()).unwrap();
        let followed = Followed {
            capture,
            interface,
            inside,
        };
        (socket, followed)
    })
}

/// An interface of the namespace that this socket is in.
fn named(inside: &UdpSocket, name: &str) -> CapturedInterface {
    CapturedInterface::new(name.to_owned(), name_to_index(inside, name).unwrap())
}

/// Sends a datagram from an ordinary socket.
fn send(namespace: &Namespace, to: &'static str, port: u16, payload: &[u8]) {
    let payload = payload.to_vec();
    namespace.run(move || {
        let to: IpAddr = to.parse().unwrap();
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.send_to(&payload, (to, port)).unwrap();
    });
}

/// The datagrams that are captured before the end.
fn until_end(capture: &mut dyn Capture) -> Vec<Datagram> {
    let mut datagrams = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let mut datagram = Datagram::empty();
        match capture.next(&mut datagram).unwrap() {
            Caught::Datagram if datagram.payload() == END => return datagrams,
            Caught::Datagram => datagrams.push(datagram),
            Caught::Nothing => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("the end was not captured; before it came {datagrams:?}")
}

/// Their payloads.
fn payloads_until_end(capture: &mut dyn Capture) -> Vec<Vec<u8>> {
    let datagrams = until_end(capture);
    datagrams
        .iter()
        .map(|datagram| datagram.payload().to_vec())
        .collect()
}

/// Their text forms.
fn texts_until_end(capture: &mut dyn Capture) -> Vec<String> {
    let datagrams = until_end(capture);
    datagrams
        .iter()
        .map(|datagram| format!("{datagram:?}"))
        .collect()
}

/// The packets that the kernel delivers before the end, read from the socket itself.
fn delivered(socket: &OwnedFd) -> Vec<Vec<u8>> {
    let socket = socket2::Socket::from(socket.try_clone().unwrap());
    socket.set_nonblocking(false).unwrap();
    let timeout = Some(Duration::from_secs(5));
    socket.set_read_timeout(timeout).unwrap();
    let mut packets = Vec::new();
    loop {
        let mut packet = vec![0; 65_536];
        let length = (&socket)
            .read(&mut packet)
            .expect("the end was not delivered");
        packet.truncate(length);
        if packet.ends_with(END) {
            return packets;
        }
        packets.push(packet);
    }
}

/// Asks for `time` and expects no report, in a few slow calls.
fn expect_quiet(capture: &mut dyn Capture, time: Duration) {
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < time {
        let caught = capture.next(&mut Datagram::empty()).unwrap();
        assert!(matches!(caught, Caught::Nothing), "{caught:?}");
        calls += 1;
    }
    // signals of other tests' children end some waits early; a loop that spins makes a hundred thousand calls
    assert!(calls <= time.as_secs() + 20, "{calls} calls in {time:?}");
}

/// Packets with up to two random bytes among the first ones replaced.
fn mutated(payload: impl Fn(&mut Random) -> Vec<u8>, within: usize) -> Vec<Vec<u8>> {
    let random = &mut Random(1);
    let mutate = |_| {
        let payload = payload(random);
        let mut packet = match random.below(2) {
            0 => udp4(PORT, &payload),
            _ => udp6(PORT, &payload),
        };
        for _ in 0..random.below(3) {
            let place = random.below(within.min(packet.len()) as u64) as usize;
            packet = with(packet, &[(place, random.below(256) as u8)]);
        }
        packet
    };
    (0..4000).map(mutate).collect()
}
