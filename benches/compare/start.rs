//! Start, reload and memory with many users, and what a knock then takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_harness::process::{children, memory};
use postern_harness::{SERVICE, seed, wait_for};
use postern_proto::PrivateKey;
use rustix::process::Signal;

use crate::Plan;
use crate::figures::{print_table, row, write_csv};
use crate::knocks;
use crate::subject::{Fwknopd, Subject, prepare, processor_times};

/// Longer than any start.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at the memory.
const EACH: Duration = Duration::from_millis(5);
/// Knocks with each number of users.
const KNOCKS: usize = 200;
/// fwknopd, and key pairs, with so many only.
const FEW: usize = 10_000;

/// How a user's key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    Shared,
    Pair,
}

pub(crate) fn measure(plan: &Plan) {
    let head = [
        "users",
        "start, s",
        "its processor time, s",
        "peak at start, MB",
        "reload, s",
        "peak at reload, MB",
        "at rest, MB",
    ];
    let mut rows = vec![row(&head)];
    let mut subjects = vec![Subject::postern("nftables", 0)];
    let shared = plan.users.iter().map(|count| (*count, Keys::Shared));
    for (count, keys) in shared.chain([(FEW, Keys::Pair)]) {
        let mut cells = vec![match keys {
            Keys::Shared => format!("Postern, {count}"),
            Keys::Pair => format!("Postern, {count} key pairs"),
        }];
        match start(count, keys) {
            Ok((subject, figures)) => {
                cells.extend(figures);
                subjects.extend((keys == Keys::Shared).then_some(subject));
            }
            Err(why) => cells.push(why),
        }
        println!("{}", cells.join(" | "));
        rows.push(cells);
    }
    rows.extend(fwknopd());
    let lines: Vec<String> = rows[1..].iter().map(|cells| cells.join(",")).collect();
    write_csv(&plan.out, "users.csv", &head.join(","), &lines);
    print_table(&rows);
    println!();
    let few = Plan {
        rounds: plan.rounds.min(KNOCKS),
        out: plan.out.clone(),
        users: Vec::new(),
    };
    knocks::report(&few, "users-knocks", &mut subjects);
}

fn start(count: usize, keys: Keys) -> Result<(Subject, Vec<String>), String> {
    let mut world = prepare("nftables");
    let path = world.folder().join("posternd.toml");
    let text = users(count, keys);
    let mut config = OpenOptions::new().append(true).open(&path).unwrap();
    config.write_all(text.as_bytes()).unwrap();
    if keys == Keys::Pair {
        let key = world.write("gate.key", &format!("{}\n", STANDARD.encode(seed("gate"))));
        let config = fs::read_to_string(&path).unwrap();
        let line = format!("[gate]\nprivate_key = \"{}\"", key.display());
        fs::write(&path, config.replacen("[gate]", &line, 1)).unwrap();
    }
    drop(text);
    let notices = world.folder().join("notices");
    let socket = UnixDatagram::bind(&notices).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    world.daemon.through = Some(format!("NOTIFY_SOCKET={} exec \"$@\"", notices.display()));
    let began = Instant::now();
    world.daemon.start_process(&world.gate);
    let peak = Peak::watch(world.daemon.pid());
    let is_ready = |began: Instant| {
        let mut buffer = [0; 4096];
        while began.elapsed() < PATIENCE {
            let Ok(length) = socket.recv(&mut buffer) else {
                if world.daemon.log().contains("ERROR") {
                    let log = world.daemon.log();
                    return Err(log.lines().last().unwrap_or_default().to_owned());
                }
                continue;
            };
            if String::from_utf8_lossy(&buffer[..length]).contains("READY=1") {
                return Ok(began.elapsed().as_secs_f64());
            }
        }
        Err("it did not start".to_owned())
    };
    let took = is_ready(began)?;
    let worked = worked(world.daemon.pid());
    let at_start = peak.end();
    // what it does after it has said so
    thread::sleep(Duration::from_secs(2));
    let at_rest = held(world.daemon.pid());
    let peak = Peak::watch(world.daemon.pid());
    let began = Instant::now();
    world.daemon.signal(Signal::HUP);
    let reload = is_ready(began)?;
    // the first engine ends after the second one serves
    wait_for("one engine", || {
        (world.daemon.engines().len() == 1).then_some(())
    });
    let at_reload = peak.end();
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let figures = vec![
        format!("{took:.3}"),
        worked,
        megabytes(at_start),
        format!("{reload:.3}"),
        megabytes(at_reload),
        megabytes(at_rest),
    ];
    let subject = Subject::serving(format!("Postern, nftables, {count} users"), world);
    Ok((subject, figures))
}

fn users(count: usize, keys: Keys) -> String {
    let mut text = String::new();
    for n in 0..count {
        let key = seed(&format!("user {n}"));
        let key = match keys {
            Keys::Shared => format!("key = \"{}\"", STANDARD.encode(key)),
            Keys::Pair => {
                let public = PrivateKey::from_bytes(key).public();
                format!("public_key = \"{}\"", STANDARD.encode(public.as_bytes()))
            }
        };
        writeln!(
            text,
            "[[user]]\nname = \"user{n}\"\n{key}\nservices = [\"tcp/{SERVICE}\"]"
        )
        .unwrap();
    }
    text
}

/// fwknopd with as many stanzas. It says nothing when it serves; its socket is there then.
fn fwknopd() -> Option<Vec<String>> {
    let mut stanzas = String::new();
    for n in 0..FEW {
        let [key, mac] = ["key", "mac"].map(|which| STANDARD.encode(seed(&format!("{which} {n}"))));
        writeln!(
            stanzas,
            "SOURCE ANY\nKEY_BASE64 {key}\nHMAC_KEY_BASE64 {mac}"
        )
        .unwrap();
    }
    let began = Instant::now();
    let subject = Subject::fwknopd_with(Fwknopd::Udp, &stanzas)?;
    subject.wait_for_socket();
    let took = began.elapsed();
    let worked = worked(subject.processes()[0]);
    let peak: u64 = subject
        .processes()
        .iter()
        .map(|pid| memory(*pid) * 1000)
        .sum();
    let megabytes = format!("{:.1}", peak as f64 / 1e6);
    Some(vec![
        format!("fwknopd, {FEW}"),
        format!("{:.3}", took.as_secs_f64()),
        worked,
        megabytes.clone(),
        String::new(),
        String::new(),
        megabytes,
    ])
}

/// The processor time of a process and its children.
fn worked(pid: u32) -> String {
    let mut processes = vec![pid];
    processes.extend(children(pid));
    format!("{:.2}", processor_times(&processes).iter().sum::<f64>())
}

/// The most memory that a process, its children and their maps in the kernel held.
struct Peak {
    is_over: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Peak {
    fn watch(pid: u32) -> Self {
        let (is_over, most) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (over, peak) = (Arc::clone(&is_over), Arc::clone(&most));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(held(pid), Ordering::Relaxed);
                thread::sleep(EACH);
            }
        });
        Self {
            is_over,
            most,
            thread,
        }
    }

    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.most.load(Ordering::Relaxed)
    }
}

/// Bytes of resident memory of a process and its children, and of their maps in the kernel.
fn held(pid: u32) -> u64 {
    let mut processes = vec![pid];
    processes.extend(children(pid));
    let mut maps = BTreeMap::new();
    let mut sum = 0;
    for pid in processes {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages = text
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        sum += pages.unwrap_or_default() * 4096;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo"))
            .into_iter()
            .flatten();
        for descriptor in descriptors.flatten() {
            let text = fs::read_to_string(descriptor.path()).unwrap_or_default();
            let value = |name: &str| {
                let mut words = text.split_whitespace().skip_while(|word| *word != name);
                words.nth(1).and_then(|word| word.parse::<u64>().ok())
            };
            if let (Some(map), Some(bytes)) = (value("map_id:"), value("memlock:")) {
                maps.insert(map, bytes);
            }
        }
    }
    sum + maps.values().sum::<u64>()
}
