//! What outlives the daemon: grants with their time, protection, marks; and what it takes with it when it is told to.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use postern_harness::{FAMILIES, Family, GateConfig, World, find, run, text, wait_for};

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
    let mut after = world.daemon.grants();
    after.sort_by_key(|grant| grant.id);
    let mut before = before;
    before.sort_by_key(|grant| grant.id);
    assert_eq!(after, before, "the same grants with the same end");
    world.first.expect_both_let_in();
    let left = wait_for("the first grant's end", || {
        Some(world.daemon.grants()).filter(|grants| grants.len() == 1)
    });
    world.first.expect_shut_out(Family::V4);
    world.first.expect_let_in(Family::V6);
    assert!(left[0].until.since(before[0].until) > Duration::from_secs(500));
}

pub(crate) fn restart_reuses_no_grant_number(backend: &'static str) {
    let mut world = World::start(&GateConfig::new(backend));
    world.first.knock("alice", Family::V4, &["--for", "10m"]);
    let old = world.wait_for_grants(1)[0].id;
    world.daemon.stop();
    world.start_again();
    world.second.knock("alice", Family::V4, &[]);
    let ids: Vec<_> = world
        .wait_for_grants(2)
        .iter()
        .map(|grant| grant.id)
        .collect();
    assert!(ids.contains(&old) && ids[0] != ids[1], "{ids:?}");
}

pub(crate) fn on_stop_remove_restores_the_firewall(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend).firewall("on_stop = \"remove\""));
    let before = with_rules_of_others(&world);
    world.start_again();
    assert!(world.firewall() != before);
    for family in FAMILIES {
        world.first.knock("alice", family, &["--for", "10m"]);
        world.first.expect_let_in(family);
    }
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
        let flushed = world.daemon.at_gate(&world.gate, &["flush"]);
        assert!(
            flushed.status.success(),
            "{}",
            String::from_utf8_lossy(&flushed.stderr)
        );
        assert!(
            text(&flushed).contains("nothing of Postern's is left"),
            "{}",
            text(&flushed)
        );
        assert_eq!(world.firewall(), before);
        world.second.expect_both_let_in();
        let again = world.daemon.at_gate(&world.gate, &["flush"]);
        assert!(
            again.status.success(),
            "a second time is no error: {}",
            String::from_utf8_lossy(&again.stderr)
        );
        assert_eq!(world.firewall(), before);
    }
}

/// The programs make tables on their first run; on a host that never had any these go too. A look changes nothing either.
pub(crate) fn flush_leaves_no_table(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    assert_eq!(everything(&world), "");
    assert!(
        world
            .daemon
            .at_gate(&world.gate, &["check"])
            .status
            .success()
    );
    assert_eq!(everything(&world), "", "after a check");
    for end in [Signal::TERM, Signal::KILL] {
        world.start_again();
        for family in FAMILIES {
            world.first.knock("alice", family, &["--for", "10m"]);
        }
        world.wait_for_grants(2);
        world.daemon.stop();
        world.start_again();
        world.daemon.signal(end);
        world.daemon.wait();
        assert!(!everything(&world).is_empty());
        assert!(
            world
                .daemon
                .at_gate(&world.gate, &["flush"])
                .status
                .success()
        );
        assert_eq!(everything(&world), "", "after a flush");
    }
}

/// Killed while it sets up for the first time: what it has made by then is known as its own.
pub(crate) fn flush_after_a_killed_start(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    for pause in (0..120).step_by(10) {
        world.daemon.start_process(&world.gate);
        thread::sleep(Duration::from_millis(pause));
        world.daemon.signal(Signal::KILL);
        world.daemon.wait();
        // A program that it had started may still be at it.
        thread::sleep(Duration::from_millis(200));
        assert!(
            world
                .daemon
                .at_gate(&world.gate, &["flush"])
                .status
                .success()
        );
        assert_eq!(everything(&world), "", "killed after {pause} ms");
    }
}

fn everything(world: &World) -> String {
    let said = |program: &str, arguments: &[&str]| {
        text(&run(&world.gate, program, arguments))
            .trim()
            .to_owned()
    };
    said("iptables-save", &[]) + &said("ip6tables-save", &[]) + &said("nft", &["list", "ruleset"])
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
    world.first.knock("alice", Family::V4, &[]);
    world.first.expect_let_in(Family::V4);
    world.daemon.stop();
    assert!(
        world
            .daemon
            .at_gate(&world.gate, &["flush"])
            .status
            .success()
    );
}

/// The firewall of a host that has rules already, which must come out of it all untouched.
pub(crate) fn with_rules_of_others(world: &World) -> String {
    for program in ["iptables", "ip6tables"] {
        for rule in [
            "-A INPUT -p tcp --dport 25 -j DROP",
            "-N OTHERS",
            "-A FORWARD -j OTHERS",
            "-A OUTPUT -p tcp --dport 25 -j OTHERS",
        ] {
            let words: Vec<&str> = rule.split(' ').collect();
            let ran = run(&world.gate, program, &words);
            assert!(
                ran.status.success(),
                "{program} {rule}: {}",
                String::from_utf8_lossy(&ran.stderr)
            );
        }
    }
    if find("nft").is_some() {
        for line in [
            "add table inet theirs",
            "add chain inet theirs input { type filter hook input priority 5; }",
            "add rule inet theirs input tcp dport 25 drop",
        ] {
            let ran = run(&world.gate, "nft", &[line]);
            assert!(
                ran.status.success(),
                "nft {line}: {}",
                String::from_utf8_lossy(&ran.stderr)
            );
        }
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
        world.daemon.stop();
        world.start_again();
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
