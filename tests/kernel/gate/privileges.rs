//! What the running engine may do, and that others on the machine cannot see its keys, and what the monitor may do.

use std::fs;

use postern_harness::{GateConfig, World, key, wait_until};

/// What a monitor keeps, by its numbers in linux/capability.h: CHOWN, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_ADMIN,
/// NET_RAW, BPF.
const KEPT: [u32; 9] = [0, 5, 6, 7, 8, 10, 12, 13, 39];

const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// One thread's or process's own description of itself.
struct Described(String);

impl Described {
    fn process(pid: u32) -> Self {
        Self(fs::read_to_string(format!("/proc/{pid}/status")).unwrap())
    }

    /// Every thread by itself: capabilities and filters are a thread's own.
    fn threads(pid: u32) -> Vec<Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks
            .map(|task| Self(fs::read_to_string(task.unwrap().path().join("status")).unwrap()))
            .collect()
    }

    fn field(&self, name: &str) -> &str {
        let line = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.0))
            .trim()
    }
}

pub(crate) fn engine_has_no_privileges(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend).gate("run_as = \"daemon\""));
    let user = nix::unistd::User::from_name("daemon").unwrap().unwrap();
    let four = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
    let engine = world.daemon.engine();
    assert_eq!(Described::process(engine).field("Groups"), "");
    let threads = Described::threads(engine);
    assert!(threads.len() > 3, "{} threads", threads.len());
    for thread in &threads {
        assert_eq!(thread.field("Uid"), four(user.uid.as_raw()));
        assert_eq!(thread.field("Gid"), four(user.gid.as_raw()));
        for set in CAPABILITIES {
            assert_eq!(thread.field(set), "0".repeat(16), "{set}");
        }
        assert_eq!(
            [thread.field("NoNewPrivs"), thread.field("Seccomp")],
            ["1", "2"]
        );
    }
    shows_its_memory_to_nobody(engine);
}

pub(crate) fn monitor_keeps_only_needed_capabilities(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let monitor = world.daemon.pid();
    // No process keeps a capability that this machine lacks.
    let mine =
        u64::from_str_radix(Described::process(std::process::id()).field("CapPrm"), 16).unwrap();
    let kept = KEPT.iter().fold(0u64, |set, number| set | 1 << number) & mine;
    for thread in Described::threads(monitor) {
        assert_eq!(thread.field("Uid"), "0\t0\t0\t0");
        for (set, wanted) in CAPABILITIES.into_iter().zip([0, kept, kept, kept, 0]) {
            assert_eq!(thread.field(set), format!("{wanted:016x}"), "{set}");
        }
        // With iptables it runs programs, whose system calls are not known.
        assert_eq!(
            [thread.field("NoNewPrivs"), thread.field("Seccomp")],
            ["1", if backend == "nftables" { "2" } else { "0" }]
        );
    }
    shows_its_memory_to_nobody(monitor);
}

/// No core dump, and nothing in /proc for anybody without the right to trace everyone, not even for the same user.
fn shows_its_memory_to_nobody(pid: u32) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let mut words = core.unwrap().split_whitespace().skip(4);
    assert_eq!([words.next(), words.next()], [Some("0"); 2], "{core:?}");
    let status = Described::process(pid);
    let user = status.field("Uid").split('\t').next().unwrap();
    // With such a right the process would be protected anyway.
    let without = |arguments: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args([
            "--reuid",
            user,
            "--clear-groups",
            "--bounding-set=-sys_ptrace",
        ]);
        command.arg("--inh-caps=-sys_ptrace").args(arguments);
        command
    };
    let looked = |at: u32| {
        let memory = format!("/proc/{at}/mem");
        without(&["head", "-c", "0", &memory]).output().unwrap()
    };
    // As that user, a process of one's own that says nothing else about itself is open.
    let mut sleeper = without(&["sleep", "60"]).spawn().unwrap();
    wait_until("a readable process", || {
        looked(sleeper.id()).status.success()
    });
    let closed = looked(pid);
    let _ = sleeper.kill();
    let _ = sleeper.wait();
    let said = String::from_utf8_lossy(&closed.stderr).into_owned();
    assert!(
        !closed.status.success() && said.contains("Permission denied"),
        "{said}"
    );
}

/// By this name `killall -9 posternd` finds them, and by these words an administrator tells them apart.
pub(crate) fn both_processes_have_the_programs_name(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    for (pid, role) in [
        (world.daemon.pid(), "run"),
        (world.daemon.engine(), "engine"),
    ] {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        assert_eq!(read("comm"), "posternd\n");
        let words = read("cmdline");
        let words: Vec<&str> = words.split('\0').collect();
        assert!(
            words[0].ends_with("posternd") && words[1] == role,
            "{words:?}"
        );
    }
}

pub(crate) fn keys_are_in_no_command_line_or_log(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let secret = key("alice");
    for pid in [world.daemon.pid(), world.daemon.engine()] {
        for file in ["cmdline", "environ"] {
            let shown = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!shown.is_empty(), "{file} of {pid}");
            let shown = String::from_utf8_lossy(&shown).into_owned();
            assert!(!shown.contains(&secret), "{file} of {pid}: {shown}");
        }
    }
    world.first.knock("alice", postern_harness::Family::V4, &[]);
    world.wait_for_grants(1);
    assert!(!world.daemon.log().contains(&secret), "the log shows a key");
}
