//! The cost of a flood of invalid knocks, with the classic filter and with the hint filter.
//!
//! It runs in its own network namespaces and needs root and `ip`. The filters alternate in each round, so that other
//! load on the machine affects both; medians are printed. CPU time is that of the receiving thread. In each flood, a
//! hundred datagrams have a known hint, and all of them must arrive.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use postern::adapters::capture::hint_filter::{HintFilter, Hints};
use postern::adapters::capture::packet::{self, CapturedInterface, PacketCapture};
use postern::adapters::capture::{Capture, Caught};
use postern::core::gate::HintTable;
use postern::model::datagram::Datagram;
use postern_proto::{GateName, KeyMaterial, SharedKey, Step, UserKeys};
use rustix::time::{ClockId, clock_gettime};

use postern_harness::{Namespace, join};

const PORT: u16 = 62201;
const ROUNDS: usize = 5;
const FLOOD: Duration = Duration::from_millis(1500);
const KNOWN: u64 = 100;

/// The result of one flood.
struct Measured {
    sent: u64,
    to_user: u64,
    known: u64,
    cpu: Duration,
}

fn main() {
    // `cargo test --benches` only checks that it runs
    let (rounds, flood) = if std::env::args().any(|argument| argument == "--bench") {
        (ROUNDS, FLOOD)
    } else {
        (1, FLOOD / 10)
    };
    let (gate, peer) = (Namespace::new(), Namespace::new());
    join(&gate, &peer);
    let mut measured = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for (with_hints, measured) in [false, true].into_iter().zip(&mut measured) {
            measured.push(measure(&gate, &peer, with_hints, flood));
        }
    }
    println!("{rounds} floods of {} ms each; medians", flood.as_millis());
    for (name, measured) in ["classic filter", "hint filter"].iter().zip(&measured) {
        let of = |what: fn(&Measured) -> f64| median(measured.iter().map(what).collect());
        let fewest = measured.iter().map(|one| one.known).min().unwrap();
        println!(
            "{name:14} {:>9.0} sent/s, {:>8.0} to user space, {:>7.1} ns of CPU a packet sent, {fewest} of {KNOWN} known arrived",
            of(|one| one.sent as f64) / flood.as_secs_f64(),
            of(|one| one.to_user as f64),
            of(|one| one.cpu.as_nanos() as f64 / one.sent as f64),
        );
    }
}

fn known_hint() -> ([u8; 8], HintTable) {
    let gate = GateName::new("gate.example.org").unwrap();
    let key = UserKeys::derive(&gate, &KeyMaterial::shared(&SharedKey::from_bytes([1; 32])))
        .hint_key()
        .clone();
    (
        key.hint(Step(10)).0,
        HintTable::build(&[key].into_iter().collect(), 10..=10),
    )
}

fn measure(gate: &Namespace, peer: &Namespace, with_hints: bool, flood: Duration) -> Measured {
    let (hint, table) = known_hint();
    let (start, over) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let (starts, is_over) = (Arc::clone(&start), Arc::clone(&over));
    let receiver = gate.run(move || {
        let socket = packet::open(&[PORT]).unwrap();
        let hints = with_hints.then(|| {
            let filter = HintFilter::load(&[PORT], 16, false).unwrap();
            filter.attach(socket.as_fd()).unwrap();
            let mut maps = filter.maps();
            let map = maps.next().unwrap().try_clone_to_owned().unwrap();
            let mut hints = Hints::adopt(map).unwrap();
            hints.update(&table).unwrap();
            hints
        });
        let inside = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let index = rustix::net::netdevice::name_to_index(&inside, "gate0").unwrap();
        let interface = Some(CapturedInterface::new("gate0".to_owned(), index));
        let mut capture = PacketCapture::new(socket, interface, vec![PORT]).unwrap();
        thread::spawn(move || {
            let _hints = hints;
            let (mut to_user, mut known, mut datagram) = (0, 0, Datagram::empty());
            starts.wait();
            let before = clock_gettime(ClockId::ThreadCPUTime);
            while !is_over.load(Ordering::Relaxed) {
                if let Caught::Datagram = capture.next(&mut datagram).unwrap() {
                    to_user += 1;
                    known += u64::from(datagram.payload().starts_with(&hint));
                }
            }
            let after = clock_gettime(ClockId::ThreadCPUTime);
            let nanos =
                (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec;
            let cpu = Duration::from_nanos(u64::try_from(nanos).unwrap());
            (to_user, known, cpu)
        })
    });
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    peer.run(move || {
        let socket = UdpSocket::bind("192.0.2.2:0").unwrap();
        socket.connect(("192.0.2.1", PORT)).unwrap();
        let mut payload = [0; 300];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        start.wait();
        let began = Instant::now();
        let mut knocks = 0;
        while began.elapsed() < flood {
            for _ in 0..64 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                payload[..8].copy_from_slice(&state.to_be_bytes());
                // the kernel answers for the closed port, which the next call reports as an error
                count.fetch_add(u64::from(socket.send(&payload).is_ok()), Ordering::Relaxed);
            }
            let due = began.elapsed().as_micros() as u64 * KNOWN / flood.as_micros() as u64;
            while knocks < due.min(KNOWN) {
                payload[..8].copy_from_slice(&hint);
                while socket.send(&payload).is_err() {}
                knocks += 1;
            }
        }
        payload[..8].copy_from_slice(&hint);
        for _ in knocks..KNOWN {
            while socket.send(&payload).is_err() {}
        }
    });
    // longer than a capture waits, so that the last packets arrive
    thread::sleep(Duration::from_millis(1300));
    over.store(true, Ordering::Relaxed);
    let (to_user, known, cpu) = receiver.join().unwrap();
    Measured {
        sent: sent.load(Ordering::Relaxed),
        to_user,
        known,
        cpu,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
