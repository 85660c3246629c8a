//! The kernel's hint filter in a real gate: junk never reaches the engine and is counted all the same, knocks always do.
//!
//! A gate that logs at debug has none, because it logs each dropped datagram. So these gates do not log at debug.

use std::time::Duration;

use super::reload;
use postern_harness::{FAMILIES, Family, GateConfig, Status, World, now, wait_until};

const JUNK: u64 = 500;
/// A step of the wire format, milliseconds.
const STEP_MS: u64 = 64_000;

fn plan(backend: &str) -> GateConfig {
    GateConfig::empty(backend)
        .member("alice", "quota = \"1000/min\"\nmax_grants = 1000")
        .quiet()
}

pub(crate) fn hint_filter_drops_and_counts_junk(backend: &'static str) {
    let world = World::start(&plan(backend));
    assert!(world.daemon.status().hint_filter, "{}", world.daemon.log());
    for family in FAMILIES {
        for n in 0..JUNK {
            let mut junk = vec![0x5a; 132 + usize::try_from(n % 380).unwrap()];
            junk[..8].copy_from_slice(&(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            world.first.send(family, &junk);
            world.first.send(family, &junk[..100]);
        }
        world.first.expect_shut_out(family);
        world.first.open("alice", family, &["--for", "60s"]);
    }
    let status = world.daemon.status();
    for reason in ["drop unknown-hint", "drop length"] {
        assert_eq!(status.count(reason), 2 * JUNK, "{status:?}");
    }
    assert_eq!(status.admitted, 2);
    let read: u64 = status.captures.iter().map(|capture| capture.received).sum();
    assert_eq!(read, 2, "the engine has read the knocks alone: {status:?}");
}

/// Admitted and refused packets come back, also to the next engine: it reads one copy, and the kernel counts the others.
pub(crate) fn replays_die_in_the_kernel(backend: &'static str) {
    let mut world = World::start(&plan(backend));
    let refused = world.first.packet("alice", Family::V4, &["-s", "tcp/9"]);
    let [four, six] = FAMILIES.map(|family| world.first.packet("alice", family, &[]));
    let packets = [(Family::V4, four), (Family::V6, six), (Family::V4, refused)];
    for is_first in [true, false] {
        if is_first {
            for (family, packet) in &packets {
                world.first.send(*family, packet);
            }
            wait_until("the verdicts", || world.daemon.status().judged() == 3);
        } else {
            world.restart();
            for (family, packet) in &packets {
                wait_until("a replay", || {
                    let before = world.daemon.status().count("drop replay");
                    world.first.send(*family, packet);
                    world.daemon.status().count("drop replay") > before
                });
            }
        }
        let before = world.daemon.status();
        for (family, packet) in packets.iter().cycle().take(300) {
            world.first.send(*family, packet);
        }
        // A changed copy is judged.
        let mut changed = packets[0].1.clone();
        changed[21] ^= 1;
        world.first.send(Family::V4, &changed);
        let after = world.daemon.wait_for_count("drop bad-mac", 1);
        let copies = |status: &Status| status.count("drop replay") + status.count("drop duplicate");
        let read = |status: &Status| status.captures.iter().map(|one| one.received).sum::<u64>();
        assert_eq!(copies(&after) - copies(&before), 300, "{after:?}");
        assert_eq!(read(&after) - read(&before), 1, "{after:?}");
        assert_eq!(after.admitted, before.admitted);
    }
}

pub(crate) fn hint_filter_reload_loses_no_knock(backend: &'static str) {
    reload::lose_none(&plan(backend).member("bob", "quota = \"1000/min\"\nmax_grants = 1000"));
}

/// The map follows the hint table: knocks open in the step that the gate began in, and in the one that follows.
pub(crate) fn hint_filter_passes_the_next_step(backend: &'static str) {
    let world = World::start(&plan(backend));
    let step = || now().as_millis() / STEP_MS;
    let began = step();
    world.first.open("alice", Family::V4, &["--for", "2s"]);
    while step() == began {
        std::thread::sleep(Duration::from_millis(200));
    }
    for family in FAMILIES {
        world.first.open("alice", family, &["--for", "60s"]);
    }
    let status = world.daemon.status();
    assert!(
        status.hint_filter && status.count("drop unknown-hint") == 0,
        "{status:?}"
    );
}

/// Without the right to load it the gate uses the classic filter alone, and says so.
pub(crate) fn gate_works_without_the_hint_filter(backend: &'static str) {
    let mut world = World::prepare(&plan(backend));
    world.daemon.through = Some("exec setpriv --bounding-set -bpf,-sys_admin \"$@\"".to_owned());
    world.start_again();
    let why = "the kernel does not check hints: Operation not permitted";
    world.daemon.wait_for_lines(1, &["INFO", why]);
    world.first.send(Family::V4, &[7; 200]);
    for family in FAMILIES {
        world.first.open("alice", family, &[]);
    }
    let status = world.daemon.status();
    assert!(
        !status.hint_filter && status.count("drop unknown-hint") == 1,
        "{status:?}"
    );
}
