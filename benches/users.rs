//! A posternd with many users: the time until it serves, the time of a reload, its memory, its wake-ups, and the time from a
//! knock to the open port.
//!
//! Memory is that of all its processes together, with the kernel's maps and the config in the kernel, at its peak. A reload has two
//! engines. It needs root, and runs a whole posternd in network namespaces. One more argument names the folder in which the config
//! stays, for other measurements.
//!
//! `cargo bench --bench users -- 10000 100000`, or `-- pairs 10000` for users with key pairs. With `roster` they come from a roster:
//! `-- roster 10000` with sealed keys, `-- roster pairs 10000` with public keys
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic
)]

mod roster;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_harness::{Family, GateConfig, KnockMaker, SERVICE, World, key, seed};
use postern_proto::PrivateKey;
use rustix::process::Signal;

const KNOCKS: usize = 100;
/// So long wake-ups are counted.
const IDLE: Duration = Duration::from_secs(60);
/// Between two looks at the memory.
const PAUSE: Duration = Duration::from_millis(2);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_measured = arguments.iter().any(|argument| argument == "--bench");
    let pairs = arguments.iter().any(|argument| argument == "pairs");
    let by_roster = arguments.iter().any(|argument| argument == "roster");
    let mut counts: Vec<u32> = arguments
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    if counts.is_empty() {
        counts = if is_measured {
            vec![1, 10_000, 100_000]
        } else {
            vec![2]
        };
    }
    for count in counts {
        measure(count, pairs, by_roster, is_measured);
    }
}

fn measure(count: u32, pairs: bool, by_roster: bool, is_measured: bool) {
    let plan = GateConfig::empty("nftables").quiet();
    let plan = if by_roster {
        roster::trusted(plan)
    } else if pairs {
        plan.gate("private_key = \"gate.key\"")
    } else {
        plan
    };
    let mut world = World::prepare(&plan.member("bob", "quota = \"1000/s\""));
    roster::write_gate_key(&world);
    if by_roster {
        let (sealed, pairs) = if pairs { (0, count) } else { (count, 0) };
        let took = roster::apply(&world, sealed, pairs).as_secs_f64();
        println!("{count} users of a roster: taken in {took:.3} s");
    } else {
        fs::create_dir(world.folder().join("users.d")).unwrap();
        world.write("users.d/many.toml", &users(count, pairs));
    }

    let start = Instant::now();
    world.daemon.start_process(&world.gate);
    let mut peak = Peak::default();
    while !world.daemon.log().contains("the engine serves") {
        assert!(
            start.elapsed() < Duration::from_secs(300),
            "{}",
            world.daemon.log()
        );
        peak.look(&world);
    }
    let took = start.elapsed();
    let kind = match (by_roster, pairs) {
        (false, false) => "users",
        (false, true) => "users with key pairs",
        (true, false) => "users of a roster",
        (true, true) => "users of a roster with key pairs",
    };
    println!(
        "{count} {kind}: serves after {:.3} s, at most {peak}",
        took.as_secs_f64()
    );
    let settled = Peak::default().looked(&world);
    println!("{count} {kind}: then {settled}");

    let start = Instant::now();
    world.daemon.signal(Signal::HUP);
    let mut peak = Peak::default();
    while world.daemon.log().matches("the engine serves").count() < 2 {
        assert!(
            start.elapsed() < Duration::from_secs(300),
            "{}",
            world.daemon.log()
        );
        peak.look(&world);
    }
    println!(
        "{count} {kind}: reload in {:.3} s, at most {peak}",
        start.elapsed().as_secs_f64()
    );

    let maker = KnockMaker::new("bob");
    let mut times: Vec<Duration> = (0..if is_measured { KNOCKS } else { 1 })
        .map(|_| {
            let packet = maker.open(world.first.address(Family::V4), SERVICE, 30);
            let took = world.first.time_to_open(&packet);
            world.at_gate(&["close", "--all"]);
            world.wait_until_closed();
            took
        })
        .collect();
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{count} {kind}: a knock opens in {:.2} ms, of 95 in 100 at most {:.2} ms",
        at(50),
        at(95)
    );
    if is_measured && std::env::var_os("POSTERN_IDLE").is_some() {
        let before = wake_ups(&world);
        std::thread::sleep(IDLE);
        println!(
            "{count} {kind}: {} wake-ups a minute while idle",
            wake_ups(&world) - before
        );
    }
}

/// A file of users, each with the same service and a key of his own.
fn users(count: u32, pairs: bool) -> String {
    let mut text = String::new();
    for name in (0..count).map(|number| format!("user{number}")) {
        let key = if pairs {
            let own = PrivateKey::from_bytes(seed(&name));
            format!(
                "public_key = \"{}\"",
                STANDARD.encode(own.public().as_bytes())
            )
        } else {
            format!("key = \"{}\"", key(&name))
        };
        writeln!(
            text,
            "[[user]]\nname = \"{name}\"\n{key}\nservices = [\"tcp/{SERVICE}\"]\n"
        )
        .unwrap();
    }
    text
}

fn processes(world: &World) -> Vec<u32> {
    let mut all = world.daemon.engines();
    all.push(world.daemon.pid());
    all
}

/// Times that a thread of posternd gave up the processor by itself.
fn wake_ups(world: &World) -> u64 {
    let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status"));
    let threads = processes(world).into_iter();
    let threads = threads.flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).unwrap());
    let lines =
        threads.filter_map(|thread| field(&status(thread.ok()?).ok()?, "voluntary_ctxt_switches:"));
    lines.sum()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes, and the greatest sum of them.
#[derive(Default)]
struct Peak {
    monitor: u64,
    engines: u64,
    kernel: u64,
    sum: u64,
}

impl Peak {
    fn looked(mut self, world: &World) -> Self {
        self.look(world);
        self
    }

    fn look(&mut self, world: &World) {
        std::thread::sleep(PAUSE);
        let resident = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            field(&status, "VmRSS:").unwrap_or_default() << 10
        };
        let monitor = resident(world.daemon.pid());
        let engines = world.daemon.engines();
        let kernel = engines
            .iter()
            .chain([&world.daemon.pid()])
            .map(|pid| in_kernel(*pid))
            .sum();
        let engines = engines.into_iter().map(resident).sum();
        let sum = monitor + engines + kernel;
        if sum > self.sum {
            *self = Self {
                monitor,
                engines,
                kernel,
                sum,
            };
        }
    }
}

impl std::fmt::Display for Peak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [sum, monitor, engines, kernel] =
            [self.sum, self.monitor, self.engines, self.kernel].map(|bytes| bytes as f64 / 1e6);
        write!(
            f,
            "{sum:.1} MB ({monitor:.1} monitor, {engines:.1} engines, {kernel:.1} kernel)"
        )
    }
}

/// Maps, and files that are only in memory.
fn in_kernel(pid: u32) -> u64 {
    let of = |name: std::ffi::OsString| {
        let (place, number) = (Path::new("/proc").join(pid.to_string()), name);
        let info = fs::read_to_string(place.join("fdinfo").join(&number)).unwrap_or_default();
        let is_file = fs::read_link(place.join("fd").join(&number))
            .is_ok_and(|target| target.to_string_lossy().contains("memfd:"));
        let file = fs::metadata(place.join("fd").join(&number))
            .ok()
            .filter(|_| is_file);
        let file = file.map_or(0, |file| {
            std::os::unix::fs::MetadataExt::blocks(&file) * 512
        });
        field(&info, "memlock:").unwrap_or_default() + file
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    let descriptors = descriptors.into_iter().flatten().flatten();
    descriptors.map(|entry| of(entry.file_name())).sum()
}
