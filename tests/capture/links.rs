//! Interfaces that go, come, are replaced or come late: each is told once, nothing spins, and capture goes on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use postern::adapters::capture::packet::{self, PacketCapture};
use postern::adapters::capture::{Capture, Caught};

use crate::{
    END, PORT, PORTS, bound_socket, capture, expect_quiet, gate_and_peer, payloads, send, until_end,
};
use postern_harness::packets::{RawLink, udp4, udp6};
use postern_harness::{Namespace, join};

/// The first thing told that is not "nothing", and how many calls it took.
fn told(capture: &mut dyn Capture) -> (Caught, u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    for calls in 1.. {
        match capture.next().unwrap() {
            Caught::Nothing => assert!(Instant::now() < deadline, "nothing was told"),
            caught => return (caught, calls),
        }
    }
    unreachable!()
}

fn expect_lost(capture: &mut dyn Capture) {
    let (caught, _) = told(capture);
    assert!(
        matches!(&caught, Caught::Lost { interface, .. } if interface == "gate0"),
        "{caught:?}"
    );
}

fn expect_back(capture: &mut dyn Capture) {
    let (caught, _) = told(capture);
    assert!(
        matches!(&caught, Caught::Back { interface } if interface == "gate0"),
        "{caught:?}"
    );
}

pub(crate) fn an_interface_that_goes_down_is_told_once_and_is_captured_from_when_up_again() {
    let (gate, peer) = gate_and_peer();
    let mut capture = capture(&gate, Some("gate0"));
    for _ in 0..2 {
        gate.ip("link set gate0 down");
        expect_lost(&mut capture);
        expect_quiet(&mut capture, Duration::from_secs(3));
        gate.ip("link set gate0 up");
        expect_back(&mut capture);
        peer.wait_for_carrier("peer0");
        let mut wire = RawLink::open(&peer, "peer0");
        wire.send_ip(&udp4(PORT, b"again"));
        wire.send_ip(&udp4(PORT, END));
        assert_eq!(payloads(&until_end(&mut capture)), [b"again"]);
    }
}

pub(crate) fn a_datagram_of_just_before_the_link_went_down_is_not_lost() {
    let (gate, peer) = gate_and_peer();
    let mut capture = capture(&gate, Some("gate0"));
    send(&peer, "192.0.2.1", PORT, END);
    gate.ip("link set gate0 down");
    expect_lost(&mut capture);
    gate.ip("link set gate0 up");
    expect_back(&mut capture);
    assert!(until_end(&mut capture).is_empty());
}

/// How many descriptors of this process are of the same socket.
fn descriptors(socket: &OwnedFd) -> usize {
    let of = |number: &str| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
    let own = of(&socket.as_fd().as_raw_fd().to_string()).unwrap();
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    all.filter(|entry| {
        of(&entry.as_ref().unwrap().file_name().to_string_lossy()).as_ref() == Some(&own)
    })
    .count()
}

pub(crate) fn an_interface_that_is_deleted_and_made_again_is_captured_from_and_no_descriptor_leaks()
{
    let (gate, peer) = gate_and_peer();
    let (socket, mut capture) = bound_socket(&gate);
    // ours, the capture's, and the one that pnet reads
    assert_eq!(descriptors(&socket), 3);
    for _ in 0..2 {
        gate.ip("link del gate0");
        expect_lost(&mut capture);
        assert_eq!(descriptors(&socket), 2);
        expect_quiet(&mut capture, Duration::from_secs(2));
        join(&gate, &peer);
        expect_back(&mut capture);
        assert_eq!(descriptors(&socket), 3);
        RawLink::open(&peer, "peer0").send_ip(&udp6(PORT, END));
        assert!(until_end(&mut capture).is_empty());
    }
    drop(capture);
    assert_eq!(descriptors(&socket), 1);
}

pub(crate) fn an_interface_that_was_replaced_between_two_looks_is_told_and_captured_from() {
    let (gate, peer) = gate_and_peer();
    let mut capture = capture(&gate, Some("gate0"));
    gate.ip("link del gate0");
    join(&gate, &peer);
    expect_lost(&mut capture);
    expect_back(&mut capture);
    RawLink::open(&peer, "peer0").send_ip(&udp6(PORT, END));
    assert!(until_end(&mut capture).is_empty());
}

pub(crate) fn an_interface_that_takes_another_name_is_let_go_and_the_next_of_the_name_is_captured_from()
 {
    let (gate, peer) = gate_and_peer();
    let mut capture = capture(&gate, Some("gate0"));
    gate.ip("link set gate0 name other0");
    expect_lost(&mut capture);
    gate.ip("link del other0");
    join(&gate, &peer);
    expect_back(&mut capture);
    RawLink::open(&peer, "peer0").send_ip(&udp6(PORT, END));
    assert!(until_end(&mut capture).is_empty());
}

pub(crate) fn an_interface_that_comes_later_is_waited_for_until_it_is_up() {
    let (gate, peer) = (Namespace::new(), Namespace::new());
    let mut capture = capture(&gate, Some("gate0"));
    expect_lost(&mut capture);
    expect_quiet(&mut capture, Duration::from_secs(2));
    join(&gate, &peer);
    gate.ip("link set gate0 down");
    expect_quiet(&mut capture, Duration::from_secs(2));
    gate.ip("link set gate0 up");
    expect_back(&mut capture);
    peer.wait_for_carrier("peer0");
    RawLink::open(&peer, "peer0").send_ip(&udp4(PORT, END));
    assert!(until_end(&mut capture).is_empty());
}

pub(crate) fn every_interface_is_heard_undisturbed_by_links_that_go_and_come() {
    let (gate, peer) = gate_and_peer();
    let mut capture = capture(&gate, None);
    gate.ip("link set gate0 down");
    expect_quiet(&mut capture, Duration::from_secs(2));
    send(&gate, "127.0.0.1", PORT, END);
    assert!(until_end(&mut capture).is_empty());
    gate.ip("link set gate0 up");
    peer.wait_for_carrier("peer0");
    RawLink::open(&peer, "peer0").send_ip(&udp4(PORT, END));
    assert!(until_end(&mut capture).is_empty());
    gate.ip("link del gate0");
    join(&gate, &peer);
    RawLink::open(&peer, "peer0").send_ip(&udp6(PORT, END));
    assert!(until_end(&mut capture).is_empty());
}

pub(crate) fn a_user_without_any_privilege_binds_and_binds_again() {
    let (gate, peer) = gate_and_peer();
    let socket = gate.run(|| packet::open(&PORTS).unwrap());
    let unprivileged = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        assert_eq!(
            packet::open(&PORTS).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
        let mut capture =
            PacketCapture::new(socket, Some("gate0".to_owned()), PORTS.to_vec()).unwrap();
        gate.ip("link set gate0 down");
        expect_lost(&mut capture);
        gate.ip("link set gate0 up");
        expect_back(&mut capture);
        peer.wait_for_carrier("peer0");
        RawLink::open(&peer, "peer0").send_ip(&udp4(PORT, END));
        until_end(&mut capture).len()
    });
    assert_eq!(unprivileged.join().unwrap(), 0);
}
