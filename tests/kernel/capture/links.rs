//! Interfaces that go, come back, are replaced or come late. Each change is reported once, and capture continues.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use postern::adapters::capture::{Capture, Caught};
use postern::model::datagram::Datagram;
use postern_harness::packets::{RawLink, udp4, udp6};
use postern_harness::{Namespace, join, wait_for};

use super::{END, PORT, bound, capture, expect_quiet, gate_and_peer, payloads_until_end, send};

fn report(capture: &mut dyn Capture) -> String {
    wait_for("report", || {
        match capture.next(&mut Datagram::empty()).unwrap() {
            Caught::Nothing => None,
            Caught::Lost { interface, .. } => Some(format!("{interface} is lost")),
            Caught::Back { interface } => Some(format!("{interface} is back")),
            caught @ (Caught::Datagram | Caught::Hit(_)) => panic!("{caught:?}"),
        }
    })
}

fn expect_lost(capture: &mut dyn Capture) {
    assert_eq!(report(capture), "gate0 is lost");
}

fn expect_back(capture: &mut dyn Capture) {
    assert_eq!(report(capture), "gate0 is back");
}

/// Sends a datagram and expects it and nothing else.
fn expect_captured(peer: &Namespace, capture: &mut dyn Capture) {
    peer.wait_for_carrier("peer0");
    let mut link = RawLink::open(peer, "peer0");
    link.send_ip(&udp4(PORT, b"again"));
    link.send_ip(&udp6(PORT, END));
    assert_eq!(payloads_until_end(capture), [b"again"]);
}

pub(crate) fn link_down_is_reported_once_and_capture_resumes() {
    let (gate, peer) = gate_and_peer();
    let mut capture = capture(&gate, Some("gate0"));
    for _ in 0..2 {
        gate.ip("link set gate0 down");
        expect_lost(&mut capture);
        expect_quiet(&mut capture, Duration::from_secs(3));
        gate.ip("link set gate0 up");
        expect_back(&mut capture);
        expect_captured(&peer, &mut capture);
    }
}

pub(crate) fn datagram_before_link_down_is_not_lost() {
    let (gate, peer) = gate_and_peer();
    let mut capture = capture(&gate, Some("gate0"));
    send(&peer, "192.0.2.1", PORT, END);
    gate.ip("link set gate0 down");
    expect_lost(&mut capture);
    gate.ip("link set gate0 up");
    expect_back(&mut capture);
    assert!(payloads_until_end(&mut capture).is_empty());
}

/// The number of this process's descriptors of a socket.
fn descriptors(socket: &OwnedFd) -> usize {
    let target = |number: &str| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
    let own = target(&socket.as_raw_fd().to_string()).unwrap();
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
    numbers
        .filter(|number| {
            let number = number.as_ref().unwrap().file_name();
            target(number.to_str().unwrap()).as_ref() == Some(&own)
        })
        .count()
}

pub(crate) fn recreated_interface_is_captured_without_leaks() {
    let (gate, peer) = gate_and_peer();
    let (socket, mut capture) = bound(&gate, Some("gate0"));
    // first with a pause in which the interface is missing, then without
    for has_pause in [true, true, false] {
        gate.ip("link del gate0");
        if has_pause {
            expect_lost(&mut capture);
            expect_quiet(&mut capture, Duration::from_secs(2));
            join(&gate, &peer);
        } else {
            join(&gate, &peer);
            expect_lost(&mut capture);
        }
        expect_back(&mut capture);
        expect_captured(&peer, &mut capture);
    }
    drop(capture);
    assert_eq!(descriptors(&socket), 1);
}

pub(crate) fn renamed_interface_is_released() {
    let (gate, peer) = gate_and_peer();
    let mut capture = capture(&gate, Some("gate0"));
    gate.ip("link set gate0 name other0");
    expect_lost(&mut capture);
    gate.ip("link del other0");
    join(&gate, &peer);
    expect_back(&mut capture);
    expect_captured(&peer, &mut capture);
}

pub(crate) fn capture_on_every_interface_ignores_link_changes() {
    let (gate, peer) = gate_and_peer();
    let mut capture = capture(&gate, None);
    gate.ip("link set gate0 down");
    expect_quiet(&mut capture, Duration::from_secs(2));
    send(&gate, "127.0.0.1", PORT, END);
    assert!(payloads_until_end(&mut capture).is_empty());
    gate.ip("link set gate0 up");
    expect_captured(&peer, &mut capture);
    gate.ip("link del gate0");
    join(&gate, &peer);
    expect_captured(&peer, &mut capture);
}
