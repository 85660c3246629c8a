//! Writes `dist/functions.ld`: the functions that monitor, engine and client run, so that the linker puts them beside each other.
//!
//! Each function of a program has a breakpoint at its start, which goes when it is hit. A gate with each driver starts with a roster, admits
//! and closes, answers its commands and reads its config again. In between all breakpoints are set again for a few knocks. What these run
//! comes first: the less memory a knock needs, the sooner it opens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench"
)]

mod roster;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use postern_harness::process::is_engine;
use regex::Regex;

use postern_harness::{
    Family, GateConfig, SERVICE, World, key, postern, posternd, repository, text, wait_for,
};

/// A shell that waits for its tracer and becomes a program.
const STOPPED: &str = "kill -STOP $$; exec \"$@\"";

const USERS: usize = 3000;

/// Users of a roster with each kind of key, enough for a text in parts.
const ROSTER_USERS: u32 = 200;

const CLIENT: u8 = 1;
const MONITOR: u8 = 2;
const ENGINE: u8 = 4;
/// Of monitor and engine: a knock runs it.
const KNOCK: u8 = 8;

/// It starts and ends what counts as a knock. No process minds it.
const MARK: Signal = Signal::SIGWINCH;
/// So long a process may take to stop at it.
const MARKED_WITHIN: Duration = Duration::from_secs(1);

/// The functions of each process are next to each other.
const ORDER: [u8; 13] = [
    KNOCK | MONITOR,
    KNOCK | CLIENT | MONITOR,
    KNOCK | MONITOR | ENGINE,
    KNOCK | CLIENT | MONITOR | ENGINE,
    KNOCK | CLIENT | ENGINE,
    KNOCK | ENGINE,
    CLIENT,
    CLIENT | MONITOR,
    MONITOR,
    MONITOR | ENGINE,
    CLIENT | MONITOR | ENGINE,
    CLIENT | ENGINE,
    ENGINE,
];

/// Which processes run a function.
type Roles = BTreeMap<String, u8>;

/// For each name: which processes run it, and which functions of the name run.
type Run = BTreeMap<String, (u8, BTreeSet<String>)>;

/// The functions of a program: their places in the file, and their symbols.
type Functions = BTreeMap<u64, Vec<String>>;

fn main() {
    // `cargo test --benches` runs it without this word.
    if std::env::args().all(|word| word != "--bench") {
        return;
    }
    let mut run = Run::new();
    for backend in ["nftables", "iptables"] {
        for (symbol, role) in daemon(backend).into_iter().chain(client(backend)) {
            let (roles, symbols) = run.entry(name(&symbol)).or_default();
            *roles |= role;
            symbols.insert(symbol);
        }
    }
    let mut all = HashMap::<String, BTreeSet<String>>::new();
    for symbol in [posternd(), postern()]
        .into_iter()
        .flat_map(functions)
        .flat_map(|(_, symbols)| symbols)
    {
        all.entry(name(&symbol)).or_default().insert(symbol);
    }
    let mut script = "SECTIONS {\n  .text.run : {\n".to_owned();
    // Instances of a generic function have one name. Where most of them do not run, they follow all others.
    for is_mixed in [false, true] {
        for role in ORDER {
            let names = run.iter().filter(|(_, (roles, _))| *roles == role);
            let names =
                names.filter(|(name, (_, run))| is_mixed == (all[*name].len() > 2 * run.len()));
            for (name, _) in names {
                writeln!(script, "    *(.text*.{name})").unwrap();
            }
        }
    }
    script += "  }\n} INSERT BEFORE .text;\n";
    fs::write(repository().join("dist/functions.ld"), script).unwrap();
    println!("{} functions", run.len());
}

/// With enough users for a file in parts and several threads.
fn config(backend: &str) -> GateConfig {
    let users = (0..USERS).map(|n| {
        let key = key(&format!("user {n}"));
        format!("[[user]]\nname = \"local{n}\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE}\"]\n")
    });
    let config = GateConfig::empty(backend).quiet();
    let config = config.member("alice", "quota = \"100/min\"\nmax_grants = 100");
    let classic = format!(
        "fwknop = {{ key = \"{}\", hmac_key = \"{}\" }}\nservices = [\"tcp/{SERVICE}\"]",
        key("fwknop"),
        key("mac")
    );
    let config = config.user_with("classic", &classic);
    config.section(&users.collect::<String>())
}

fn daemon(backend: &str) -> Roles {
    let mut world = World::prepare(&roster::trusted(config(backend)));
    roster::write_gate_key(&world);
    roster::apply(&world, ROSTER_USERS, ROSTER_USERS);
    world.daemon.through = Some(STOPPED.to_owned());
    world.daemon.start_process(&world.gate);
    let tracer = trace(world.daemon.pid(), posternd());
    let served = |times| {
        let count = || world.daemon.logged(&["the engine serves"]).len();
        wait_for("an engine", || (count() == times).then_some(()));
    };
    served(1);
    world.first.open("alice", Family::V4, &[]);
    world.first.close("alice", Family::V4);
    world.first.open("alice", Family::V6, &[]);
    let mark = || {
        for process in [world.daemon.pid(), world.daemon.engine()] {
            kill(Pid::from_raw(process.cast_signed()), MARK).unwrap();
        }
        thread::sleep(MARKED_WITHIN);
    };
    mark();
    for _ in 0..3 {
        world.first.open("alice", Family::V4, &[]);
        world.first.close("alice", Family::V4);
    }
    mark();
    for command in ["status", "grants", "metrics", "reload"] {
        drop(world.daemon.asked(&[command]));
    }
    served(2);
    // The tracer is who waits for its end.
    world.daemon.signal(rustix::process::Signal::TERM);
    tracer.join().unwrap()
}

fn client(backend: &str) -> Roles {
    let world = World::start(&config(backend));
    let config = world.folder().join("alice.toml");
    // The tracer waits for it.
    #[allow(clippy::zombie_processes)]
    let child: Child = world.first.space.run(move || {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", STOPPED, "sh", postern(), "knock", "v4"]);
        command.env_clear().env("POSTERN_CONFIG", config);
        command.stdout(Stdio::null()).spawn().unwrap()
    });
    let tracer = trace(child.id(), postern());
    tracer.join().unwrap()
}

/// Traces a stopped process and all that it starts, until it ends.
fn trace(first: u32, program: &'static str) -> JoinHandle<Roles> {
    thread::spawn(move || {
        let first = Pid::from_raw(first.try_into().unwrap());
        wait_for("the process to stop", || {
            let stat = fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
            stat.contains(") T ").then_some(())
        });
        let options = Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(first, options).unwrap();
        kill(first, Signal::SIGCONT).unwrap();
        let mut tracer = Tracer {
            functions: functions(program),
            program,
            images: Vec::new(),
            run: Roles::new(),
        };
        tracer.follow(first);
        tracer.run
    })
}

fn functions(program: &str) -> Functions {
    let said = Command::new("nm")
        .args(["--defined-only", program])
        .output();
    let mut functions = Functions::new();
    for line in text(&said.unwrap()).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [at, "t" | "T", symbol] = words[..]
            && symbol.starts_with("_ZN") | symbol.starts_with("_R")
        {
            let at = u64::from_str_radix(at, 16).unwrap();
            functions.entry(at).or_default().push(symbol.to_owned());
        }
    }
    functions
}

/// A pattern for a symbol, without the hashes that another compiler or version makes anew, and without the linker's number.
fn name(symbol: &str) -> String {
    let symbol = match symbol.rsplit_once("17h") {
        Some((name, _)) => format!("{name}17h"),
        None => symbol.split('.').next().unwrap_or_default().to_owned(),
    };
    static CRATE: LazyLock<Regex> = LazyLock::new(|| Regex::new("Cs[0-9A-Za-z]+_").unwrap());
    format!("{}*", CRATE.replace_all(&symbol, "Cs*_"))
}

struct Tracer {
    functions: Functions,
    program: &'static str,
    images: Vec<Image>,
    run: Roles,
}

/// The program in the memory of a process.
struct Image {
    base: u64,
    role: u8,
    /// What is under the breakpoints.
    bytes: HashMap<u64, u8>,
    in_knock: bool,
}

impl Tracer {
    fn follow(&mut self, first: Pid) {
        // Only those of this thread: others wait for the children of the bench.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        while let Ok(status) = waitpid(None, Some(flags)) {
            let (pid, signal) = match status {
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == first => {
                    return;
                }
                WaitStatus::PtraceEvent(pid, _, event) => {
                    if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 {
                        self.plant(pid);
                    }
                    (pid, None)
                }
                WaitStatus::Stopped(pid, Signal::SIGTRAP) => {
                    self.hit(pid);
                    (pid, None)
                }
                WaitStatus::Stopped(pid, MARK) => {
                    self.mark(pid);
                    (pid, None)
                }
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            // It may have been killed meanwhile.
            let _ = ptrace::cont(pid, signal);
        }
    }

    fn plant(&mut self, pid: Pid) {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let Some(first) = maps.lines().find(|line| line.ends_with(self.program)) else {
            return;
        };
        let base = u64::from_str_radix(first.split('-').next().unwrap(), 16).unwrap();
        let memory = memory(pid);
        let mut bytes = HashMap::new();
        for at in self.functions.keys() {
            let mut byte = [0];
            memory.read_exact_at(&mut byte, base + at).unwrap();
            memory.write_all_at(&[0xcc], base + at).unwrap();
            bytes.insert(*at, byte[0]);
        }
        let role = role_of(self.program, pid);
        self.images.push(Image {
            base,
            role,
            bytes,
            in_knock: false,
        });
    }

    /// Sets all breakpoints of a process again, or ends what counts as a knock.
    fn mark(&mut self, pid: Pid) {
        let role = role_of(self.program, pid);
        let image = self.images.iter_mut().rev().find(|it| it.role == role);
        let image = image.unwrap();
        image.in_knock = !image.in_knock;
        if image.in_knock {
            let memory = memory(pid);
            for at in image.bytes.keys() {
                memory.write_all_at(&[0xcc], image.base + at).unwrap();
            }
        }
    }

    /// A thread hit a breakpoint, perhaps of another process whose memory it shares until it executes a program.
    fn hit(&mut self, thread: Pid) {
        let mut registers = ptrace::getregs(thread).unwrap();
        let at = registers.rip - 1;
        for image in self.images.iter().rev() {
            let place = at.wrapping_sub(image.base);
            let Some(byte) = image.bytes.get(&place) else {
                continue;
            };
            memory(thread).write_all_at(&[*byte], at).unwrap();
            registers.rip = at;
            ptrace::setregs(thread, registers).unwrap();
            for symbol in &self.functions[&place] {
                let knock = if image.in_knock { KNOCK } else { 0 };
                *self.run.entry(symbol.clone()).or_default() |= image.role | knock;
            }
            return;
        }
    }
}

fn role_of(program: &str, pid: Pid) -> u8 {
    if program == postern() {
        CLIENT
    } else if is_engine(pid.as_raw().try_into().unwrap()) {
        ENGINE
    } else {
        MONITOR
    }
}

fn memory(pid: Pid) -> File {
    let path = format!("/proc/{pid}/mem");
    File::options().read(true).write(true).open(path).unwrap()
}
