//! What outlives the daemon: grants with their time, protection and marks; and what `on_stop = "remove"` removes.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use postern_harness::{FAMILIES, Family, GateConfig, World, find, wait_for};

pub(crate) fn grants_survive_a_restart(backend: &'static str) {
    let mut world = World::start(&GateConfig::new(backend));
    for (family, time) in FAMILIES.into_iter().zip(["20s", "10m"]) {
        world.first.knock("alice", family, &["--for", time]);
    }
    let before = world.wait_for_grants(2);
    assert!(world.daemon.stop().success());
    assert!(
        !world.folder().join("control.sock").exists(),
        "nobody answers there any more"
    );
    for family in FAMILIES {
        world.first.expect_let_in(family);
        world.second.expect_shut_out(family);
    }
    world.start_again();
    let after = world.daemon.grants();
    assert_eq!(after, before, "the same grants with the same end");
    world.first.expect_both_let_in();
    let left = world.wait_for_grants(1);
    world.first.expect_shut_out(Family::V4);
    world.first.expect_let_in(Family::V6);
    assert!(left[0].until.since(before[0].until) > Duration::from_secs(500));
}

pub(crate) fn restart_reuses_no_grant_number(backend: &'static str) {
    let mut world = World::start(&GateConfig::new(backend));
    world.first.knock("alice", Family::V4, &["--for", "10m"]);
    let old = world.wait_for_grants(1)[0].id;
    world.restart();
    world.second.knock("alice", Family::V4, &[]);
    let [first, second] = world.wait_for_grants(2).try_into().unwrap();
    assert!(first.id == old && second.id != old, "{first} {second}");
}

pub(crate) fn on_stop_remove_restores_the_firewall(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend).firewall("on_stop = \"remove\""));
    let before = with_rules_of_others(&world);
    world.start_again();
    assert!(world.firewall() != before);
    world.open_both("10m");
    assert!(world.daemon.stop().success());
    assert_eq!(world.firewall(), before);
    world.second.expect_both_let_in();
}

/// Whether posternd was stopped or killed.
pub(crate) fn flush_restores_the_firewall(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend).user(
        "carol",
        "services = [\"tcp/22\"]\ntargets = [\"10.9.0.0/16\"]",
    ));
    let before = with_rules_of_others(&world);
    for end in [Signal::TERM, Signal::KILL] {
        world.start_again();
        for family in FAMILIES {
            world.first.knock("alice", family, &["--for", "10m"]);
        }
        world.wait_for_grants(2);
        world.daemon.signal(end);
        world.daemon.wait();
        assert!(!world.rules().is_empty(), "grants stay after a stop");
        let said = world.at_gate(&["flush"]);
        assert!(said.contains("nothing of Postern's is left"), "{said}");
        assert_eq!(world.firewall(), before);
        world.second.expect_both_let_in();
        world.at_gate(&["flush"]); // a second time is no error
        assert_eq!(world.firewall(), before);
    }
}

/// The programs make tables on their first run; on a host without tables these are removed, too. Reading the rules changes nothing.
pub(crate) fn flush_leaves_no_table(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    assert_eq!(everything(&world), "");
    world.at_gate(&["check"]);
    assert_eq!(everything(&world), "", "after a check");
    for end in [Signal::TERM, Signal::KILL] {
        world.start_again();
        for family in FAMILIES {
            world.first.knock("alice", family, &["--for", "10m"]);
        }
        world.wait_for_grants(2);
        world.restart();
        world.daemon.signal(end);
        world.daemon.wait();
        assert!(!everything(&world).is_empty());
        world.at_gate(&["flush"]);
        assert_eq!(everything(&world), "", "after a flush");
    }
}

/// Killed while it sets up for the first time: what it has made by then is known as its own.
pub(crate) fn flush_after_a_killed_start(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    for pause in (0..120).step_by(10) {
        world.daemon.start_process(&world.gate);
        thread::sleep(Duration::from_millis(pause));
        world.kill();
        // A program that it had started may still run.
        thread::sleep(Duration::from_millis(200));
        world.at_gate(&["flush"]);
        assert_eq!(everything(&world), "", "killed after {pause} ms");
    }
}

fn everything(world: &World) -> String {
    let all = "{ iptables-save; ip6tables-save; nft list ruleset; } 2>/dev/null";
    world.gate.sh(all).trim().to_owned()
}

/// Somebody installs iptables, or takes it away: what the other driver left would close what this one opens.
pub(crate) fn rules_of_the_other_driver_are_removed(backend: &'static str) {
    let other = if backend == "iptables" {
        "nftables"
    } else {
        "iptables"
    };
    let mut world = World::start(&GateConfig::new(other));
    world.daemon.stop();
    world.rewrite(&GateConfig::new(backend));
    world.start_again();
    world.second.expect_both_shut_out();
    world.first.open("alice", Family::V4, &[]);
    world.daemon.stop();
    world.at_gate(&["flush"]);
}

/// The firewall of a host that has rules already, which must stay unchanged.
pub(crate) fn with_rules_of_others(world: &World) -> String {
    for program in ["iptables", "ip6tables"] {
        for rule in [
            "-A INPUT -p tcp --dport 25 -j DROP",
            "-N OTHERS",
            "-A FORWARD -j OTHERS",
            "-A OUTPUT -p tcp --dport 25 -j OTHERS",
        ] {
            world.gate.sh(&format!("{program} {rule}"));
        }
    }
    if find("nft").is_some() {
        world.gate.sh("nft 'table inet theirs { chain input { type filter hook input priority 5; tcp dport 25 drop; }; }'");
    }
    world.firewall()
}

pub(crate) fn replay_after_restart_is_refused(backend: &'static str) {
    let mut world = World::start(&GateConfig::new(backend));
    for family in FAMILIES {
        let packet = world.first.packet("alice", family, &[]);
        world.first.send(family, &packet);
        world.wait_for_grants(1);
        world.daemon.asked(&["close", "--all"]);
        world.restart();
        let status = world.daemon.status();
        assert!(status.marks >= 1 && status.admitted == 0, "{status:?}");
        // Soon after the start the same bytes may still count as a second copy of one datagram.
        let again = wait_for("a verdict on the old packet", || {
            world.first.send(family, &packet);
            Some(world.daemon.status()).filter(|status| status.count("drop replay") > 0)
        });
        assert_eq!(again.admitted, 0);
        world.expect_nothing_open();
        world.first.expect_shut_out(family);
    }
}
