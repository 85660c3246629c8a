//! What the running engine may do, and what others on the machine can see of its keys: nothing.

use std::fs;

use crate::world::{Plan, World, key};

pub(crate) fn engine_has_none(backend: &'static str) {
    let world = World::start(&Plan::new(backend).gate("run_as = \"daemon\""));
    let user = nix::unistd::User::from_name("daemon").unwrap().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", world.daemon.engine())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    let four = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
    assert_eq!(field("Uid"), four(user.uid.as_raw()));
    assert_eq!(field("Gid"), four(user.gid.as_raw()));
    assert_eq!(field("Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0".repeat(16), "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    // Every thread by itself: capabilities are a thread's own.
    for task in fs::read_dir(format!("/proc/{}/task", world.daemon.engine())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let has = |words: &str| status.lines().any(|line| line == words);
        assert!(has(&format!("CapEff:\t{}", "0".repeat(16))) && has(&format!("Uid:\t{}", four(user.uid.as_raw()))), "{status}");
    }
}

/// Whatever the driver, no more capabilities than its work needs, none to be had back, and no core dumps. With native nftables, which
/// runs no program, its system calls are filtered as well.
pub(crate) fn monitor_keeps_what_it_needs(backend: &'static str) {
    let world = World::start(&Plan::new(backend));
    let proc = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", world.daemon.pid())).unwrap();
    let status = proc("status");
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    // linux/capability.h: CHOWN, KILL, SETGID, SETUID, SETPCAP, NET_ADMIN, NET_RAW, BPF
    let needed: u64 = [0, 5, 6, 7, 8, 12, 13, 39].map(|capability| 1 << capability).iter().sum();
    let own = u64::from_str_radix(&field(&fs::read_to_string("/proc/self/status").unwrap(), "CapPrm"), 16).unwrap();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(&status, set), format!("{:016x}", needed & own), "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), if backend == "nftables" { "2" } else { "0" });
    let limits = proc("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}

pub(crate) fn keys_are_not_on_show(backend: &'static str) {
    let world = World::start(&Plan::new(backend));
    let secret = key("alice");
    for pid in [world.daemon.pid(), world.daemon.engine()] {
        for file in ["cmdline", "environ"] {
            let shown = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!shown.is_empty(), "{file} of {pid}");
            let shown = String::from_utf8_lossy(&shown).into_owned();
            assert!(!shown.contains(&secret), "{file} of {pid}: {shown}");
        }
    }
    world.first.knock("alice", crate::world::Family::V4, &[]);
    world.wait_for_grants(1);
    assert!(!world.daemon.log().contains(&secret), "the log shows a key");
}
