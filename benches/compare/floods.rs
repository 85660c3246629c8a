//! What a packet of a flood costs the gate's processes, and whether knocks open meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use postern_harness::{Client, Family, KNOCK, Random, socket_for};

use crate::Plan;
use crate::figures::{Figures, print_head, print_row, write_csv};
use crate::subject::{Fwknopd, Subject, processor_times};

const KNOCKS: u32 = 20;
/// From one knock to the next.
const APART: Duration = Duration::from_millis(100);
/// How long the flood runs before the first look, and how long its cost is measured, before the first knock.
const BEFORE: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(2);
/// Further knocks of a flood are not sent after this time. So a row takes at most 15 seconds.
const KNOCKING: Duration = Duration::from_secs(10);
/// Packets a second; the last is as many as the sender can.
const PACES: [u32; 3] = [10_000, 100_000, u32::MAX];
/// Packets between two looks at the clock.
const BURST: u64 = 32;

/// A kind of junk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OtherPort,
    WrongLength,
    Random,
    /// A packet of a user that has opened.
    Replay,
    /// The same with another end each time.
    WrongMac,
    LookAlike,
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::OtherPort, "another port"),
    (Kind::WrongLength, "a known hint and a wrong length"),
    (Kind::Random, "random bytes"),
    (Kind::Replay, "replays"),
    (Kind::WrongMac, "wrong macs under a known hint"),
    (Kind::LookAlike, "look-alikes of fwknop's packets"),
];

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
    let csv = head.map(|name| name.replace(',', "")).join(",");
    let (mut lines, mut round) = (Vec::new(), 0);
    print_head(&head);
    for (kind, kind_name) in KINDS {
        for subject in &mut subjects {
            for pace in PACES {
                round += 100;
                let measured = flood(subject, round, kind, pace);
                let millis = |percent| match &measured.knocks[..] {
                    [] => "none".to_owned(),
                    knocks => format!("{:.2}", Figures::of(knocks).at(percent)),
                };
                let cells = [
                    format!("{}: {kind_name}", subject.name),
                    format!("{:.0}", measured.pace),
                    format!("{:.2}", measured.user),
                    format!("{:.2}", measured.system),
                    format!("{} of {}", measured.knocks.len(), measured.sent),
                    millis(50),
                    millis(100),
                ];
                // At once: a run that is ended early has said what it measured.
                print_row(&cells);
                lines.push(format!("\"{}\"", cells.join("\",\"")));
                write_csv(&plan.out, "floods.csv", &csv, &lines);
            }
        }
    }
}

struct Measured {
    pace: f64,
    user: f64,
    system: f64,
    sent: u32,
    /// How long those that opened took.
    knocks: Vec<f64>,
}

fn flood(subject: &mut Subject, round: u32, kind: Kind, pace: u32) -> Measured {
    let packet = subject.knock(Ipv4Addr::from_bits(0x0a80_0000 + round));
    if kind == Kind::Replay {
        subject.world.first.send(Family::V4, &packet);
    }
    let flood = Flood::start(&subject.world.second, packet, kind, pace);
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
    let (mut knocks, mut number) = (Vec::new(), 0);
    let began = Instant::now();
    while number < KNOCKS && began.elapsed() < KNOCKING {
        sleep(APART);
        number += 1;
        let took = subject.time_to_open(round + number);
        knocks.extend(took.map(|took| took.as_secs_f64() * 1e3));
    }
    flood.end();
    let [user, system] = [0, 1].map(|n| (after[n] - before[n]) * 1e6 / sent as f64);
    Measured {
        pace: sent as f64 / took.as_secs_f64(),
        user,
        system,
        sent: number,
        knocks,
    }
}

/// The first packet of a flood, and the bytes that are others in each.
fn junk(mut knock: Vec<u8>, kind: Kind) -> (Vec<u8>, Range<usize>) {
    let end = knock.len();
    match kind {
        Kind::OtherPort | Kind::Replay => (knock, 0..0),
        Kind::WrongLength => {
            knock.truncate(100);
            (knock, 0..0)
        }
        Kind::Random => (knock, 0..8),
        Kind::WrongMac => (knock, end - 8..end),
        // of a length that has a mac of 43 characters and a whole number of blocks
        Kind::LookAlike => ([&b"8"[..], &[b'A'; 246]].concat(), 239..247),
    }
}

/// A thread that sends packets from this client's socket.
struct Flood {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    /// `packet` is a knock.
    fn start(from: &Client, packet: Vec<u8>, kind: Kind, pace: u32) -> Self {
        let port = KNOCK - u16::from(kind == Kind::OtherPort);
        let to = SocketAddr::new(Family::V4.address(1), port);
        let (mut packet, varied) = junk(packet, kind);
        let socket = from.space.run(move || socket_for(to));
        socket.connect(to).unwrap();
        let (is_over, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let (began, mut random) = (Instant::now(), Random(7));
            while !over.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    for byte in &mut packet[varied.clone()] {
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
