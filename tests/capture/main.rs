//! Capture against the real kernel, in network namespaces that each test makes for itself. Needs root, `ip` and `python3`;
//! without them the tests are ignored.
//!
//! ```text
//!   gate namespace                          peer namespace
//!   lo    127.0.0.1, ::1
//!   tun0  (one test)
//!   gate0 192.0.2.1, 2001:db8::1  ═ veth ═  peer0 192.0.2.2, 2001:db8::2
//!   02:00:00:00:00:01                       02:00:00:00:00:02
//! ```
#![cfg(feature = "daemon")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use postern::adapters::capture::packet::{self, PacketCapture};
use postern::adapters::capture::{Capture, Caught};
use postern::model::datagram::Datagram;

mod filter;
mod hints;
mod links;
mod packets;
mod udp;

use postern_harness::{Machine, Requirement, trials};
use postern_harness::{Namespace, join};

const PORTS: [u16; 3] = [62201, 53, 65535];
const PORT: u16 = PORTS[0];
/// What a test sends last.
const END: &[u8] = b"the end";

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let trials = trials![
        machine, &[Requirement::Root, Requirement::Program("ip"), Requirement::Program("python3")];
        filter::what_cannot_be_a_knock_never_leaves_the_kernel,
        filter::what_could_be_a_knock_or_nearly_leaves_the_kernel_whole,
        filter::of_mutated_packets_the_kernel_delivers_all_that_we_read_and_nothing_to_other_ports,
        hints::only_a_known_hint_in_a_knocks_length_leaves_the_kernel_and_the_rest_is_counted,
        hints::of_mutated_packets_the_hint_filter_delivers_just_those_that_we_would_look_up,
        hints::the_map_follows_the_hint_table_and_never_loses_a_hint_of_both,
        hints::a_user_without_any_privilege_keeps_the_map_and_can_put_the_classic_filter_back,
        hints::packets_of_tunnels_and_with_vlan_tags_pass_the_hint_filter,
        links::an_interface_that_goes_down_is_told_once_and_is_captured_from_when_up_again,
        links::a_datagram_of_just_before_the_link_went_down_is_not_lost,
        links::an_interface_that_is_deleted_and_made_again_is_captured_from_and_no_descriptor_leaks,
        links::an_interface_that_was_replaced_between_two_looks_is_told_and_captured_from,
        links::an_interface_that_takes_another_name_is_let_go_and_the_next_of_the_name_is_captured_from,
        links::an_interface_that_comes_later_is_waited_for_until_it_is_up,
        links::every_interface_is_heard_undisturbed_by_links_that_go_and_come,
        links::a_user_without_any_privilege_binds_and_binds_again,
        packets::the_socket_is_closed_on_exec_and_has_a_large_buffer,
        packets::a_socket_hears_nothing_before_it_is_bound,
        packets::both_families_are_captured_with_their_addresses_though_the_port_is_closed,
        packets::loopback_shows_each_datagram_once,
        packets::own_outgoing_datagrams_are_not_captured,
        packets::packets_of_a_tun_device_are_captured,
        packets::packets_with_a_vlan_tag_are_captured_without_a_vlan_device,
        udp::a_bound_socket_hears_both_families_with_plain_addresses,
        udp::a_bound_socket_cuts_what_is_too_long_and_waits_in_silence,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn capture(namespace: &Namespace, interface: Option<&str>) -> PacketCapture {
    let interface = interface.map(str::to_owned);
    namespace.run(move || {
        PacketCapture::new(packet::open(&PORTS).unwrap(), interface, PORTS.to_vec()).unwrap()
    })
}

/// Sends from an ordinary socket.
fn send(namespace: &Namespace, to: &'static str, port: u16, payload: &[u8]) {
    let payload = payload.to_vec();
    namespace.run(move || {
        let to: IpAddr = to.parse().unwrap();
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        UdpSocket::bind(any)
            .unwrap()
            .send_to(&payload, (to, port))
            .unwrap();
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
        let capture = PacketCapture::new(
            socket.try_clone().unwrap(),
            Some("gate0".to_owned()),
            PORTS.to_vec(),
        )
        .unwrap();
        (socket, capture)
    })
}
