//! What a packet of a flood costs the gate's processes, and whether knocks open meanwhile.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use postern_harness::{LookAlikes, Sources};

use crate::Plan;
use crate::figures::{Figures, print_table, row, write_csv};
use crate::subject::{Fwknopd, Subject};

const KNOCKS: u32 = 20;
/// From one knock to the next.
const APART: Duration = Duration::from_millis(200);
/// Packets a second: what fwknopd can read, ten and a hundred thousand, and as many as the sender can.
const PACES: [u32; 4] = [2_000, 10_000, 100_000, u32::MAX];
/// The source of the flood.
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

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
    let mut lines = Vec::new();
    let mut round = 0;
    for subject in &mut subjects {
        // the flood's packets have another destination, so that only what looks at the link gets them
        subject.world.gate.ip("address add 192.0.2.1 dev lo");
        for (kind, vary) in [("replays", false), ("wrong macs under a known hint", true)] {
            for pace in PACES {
                round += 100;
                let flood = flood(subject, round, vary, pace);
                let figures = Figures::of(&flood.knocks);
                lines.push(format!(
                    "\"{}\",{kind},{:.0},{:.3},{:.3},{}",
                    subject.name,
                    flood.pace,
                    flood.user,
                    flood.system,
                    flood.knocks.len()
                ));
                rows.push(vec![
                    format!("{}: {kind}", subject.name),
                    format!("{:.0}", flood.pace),
                    format!("{:.2}", flood.user),
                    format!("{:.2}", flood.system),
                    format!("{} of {KNOCKS}", flood.knocks.len()),
                    format!("{:.2}", figures.median()),
                    format!("{:.2}", figures.at(100)),
                ]);
            }
        }
    }
    let head = "subject,flood,packets_per_second,user_us,system_us,opened";
    write_csv(&plan.out, "floods.csv", head, &lines);
    print_table(&rows);
}

struct Flood {
    pace: f64,
    user: f64,
    system: f64,
    knocks: Vec<f64>,
}

/// A flood of this user's packet, unchanged or each with another end.
fn flood(subject: &mut Subject, round: u32, vary: bool, pace: u32) -> Flood {
    // it opened once, so that the rest are replays
    let packet = subject.knock(Ipv4Addr::from_bits(0x0a80_0000 + round));
    subject
        .world
        .first
        .send(postern_harness::Family::V4, &packet);
    std::thread::sleep(APART);
    let running = LookAlikes::start(
        &subject.world.second,
        &packet,
        Sources::One(SOURCE),
        vary,
        pace,
    );
    let before = times(subject);
    let knocks = (1..=KNOCKS).filter_map(|n| {
        std::thread::sleep(APART);
        subject.time_to_open(round + n)
    });
    let knocks = knocks.map(|took| took.as_secs_f64() * 1e3).collect();
    let (sent, pace) = running.end();
    let [user, system] = [0, 1].map(|n| (times(subject)[n] - before[n]) * 1e6 / sent as f64);
    Flood {
        pace,
        user,
        system,
        knocks,
    }
}

/// The processor time of its processes in user space and in the kernel, in seconds.
fn times(subject: &Subject) -> [f64; 2] {
    let mut all = [0.0; 2];
    for pid in subject.processes() {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = line.rsplit_once(") ").unwrap();
        // hundredths of a second
        for (sum, ticks) in all.iter_mut().zip(fields.split(' ').skip(11)) {
            *sum += ticks.parse::<f64>().unwrap() / 100.0;
        }
    }
    all
}
