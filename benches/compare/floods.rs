//! What a packet of a flood costs the gate's processes, and whether knocks open meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use postern_harness::{Client, Family, KNOCK, Random, socket_for};

use crate::Plan;
use crate::figures::{Figures, print_table, row, write_csv};
use crate::subject::{Fwknopd, Subject, processor_times};

const KNOCKS: u32 = 20;
/// From one knock to the next.
const APART: Duration = Duration::from_millis(100);
/// How long the flood runs before the first look, and how long its cost is measured, before the first knock.
const BEFORE: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(4);
/// Packets a second; the last is as many as the sender can.
const PACES: [u32; 3] = [10_000, 100_000, u32::MAX];
/// Packets between two looks at the clock.
const BURST: u64 = 32;

pub(crate) fn measure(plan: &Plan) {
    let mut subjects = vec![
        Subject::postern("nftables", 0),
        Subject::postern("iptables", 0),
    ];
    subjects.extend(Subject::fwknopd(Fwknopd::Udp));
    let head = [
        "flood",
        "packets/s",
        "user-space CPU a packet, µs",
        "in the kernel, µs",
        "knocks that opened",
        "median, ms",
        "most, ms",
    ];
    let mut rows = vec![row(&head)];
    let mut round = 0;
    for subject in &mut subjects {
        for (kind, vary) in [("replays", false), ("wrong macs under a known hint", true)] {
            for pace in PACES {
                round += 100;
                let measured = flood(subject, round, vary, pace);
                let figures = Figures::of(&measured.knocks);
                rows.push(vec![
                    format!("{}: {kind}", subject.name),
                    format!("{:.0}", measured.pace),
                    format!("{:.2}", measured.user),
                    format!("{:.2}", measured.system),
                    format!("{} of {KNOCKS}", measured.knocks.len()),
                    format!("{:.2}", figures.median()),
                    format!("{:.2}", figures.at(100)),
                ]);
            }
        }
    }
    let lines: Vec<String> = rows[1..]
        .iter()
        .map(|cells| format!("\"{}\"", cells.join("\",\"")))
        .collect();
    write_csv(
        &plan.out,
        "floods.csv",
        &head.map(|name| name.replace(',', "")).join(","),
        &lines,
    );
    print_table(&rows);
}

struct Measured {
    pace: f64,
    user: f64,
    system: f64,
    knocks: Vec<f64>,
}

/// A flood of one packet of a user, unchanged or each with another end.
fn flood(subject: &mut Subject, round: u32, vary: bool, pace: u32) -> Measured {
    // it opens once, so that the rest are replays
    let packet = subject.knock(Ipv4Addr::from_bits(0x0a80_0000 + round));
    subject.world.first.send(Family::V4, &packet);
    let flood = Flood::start(&subject.world.second, packet, vary, pace);
    sleep(BEFORE);
    let (began, before, sent) = (
        Instant::now(),
        processor_times(&subject.processes()),
        flood.sent(),
    );
    sleep(MEASURED);
    let (took, after, sent) = (
        began.elapsed(),
        processor_times(&subject.processes()),
        flood.sent() - sent,
    );
    let knocks = (1..=KNOCKS).filter_map(|n| {
        sleep(APART);
        subject.time_to_open(round + n)
    });
    let knocks = knocks.map(|took| took.as_secs_f64() * 1e3).collect();
    flood.end();
    let [user, system] = [0, 1].map(|n| (after[n] - before[n]) * 1e6 / sent as f64);
    Measured {
        pace: sent as f64 / took.as_secs_f64(),
        user,
        system,
        knocks,
    }
}

/// A thread that sends packets from this client's socket.
struct Flood {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    fn start(from: &Client, mut packet: Vec<u8>, vary: bool, pace: u32) -> Self {
        let to = SocketAddr::new(Family::V4.address(1), KNOCK);
        let socket = from.space.run(move || socket_for(to));
        socket.connect(to).unwrap();
        let (is_over, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let (began, mut random) = (Instant::now(), Random(7));
            let end = packet.len() - 8;
            while !over.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    for byte in packet[end..].iter_mut().filter(|_| vary) {
                        *byte = b'A' + random.below(26) as u8;
                    }
                    // an error reports an earlier packet
                    let _ = socket.send(&packet);
                }
                let all = count.fetch_add(BURST, Ordering::Relaxed) + BURST;
                let due = Duration::from_secs_f64(all as f64 / f64::from(pace));
                sleep(due.saturating_sub(began.elapsed()));
            }
        });
        Self {
            is_over,
            sent,
            thread,
        }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}
