//! Thousands of grants are open when somebody else empties the firewall: it is noticed, and every one of them is put back.

use std::time::Instant;

use postern::daemon::monitor;
use postern::model::settings::DriverKind;

use crate::{Lives, count, doors, opened_by_knocks, prepared, say};
use postern_harness::{FAMILIES, World, run, wait_for};

pub(crate) fn is_put_back(backend: &'static str) {
    let mut world = prepared(backend);
    world.start_again();
    let all = opened_by_knocks(&world, count(), Lives(600, 900));
    let commands: &[(&str, &[&str])] = if backend == "iptables" {
        &[("iptables", &["-F"]), ("ip6tables", &["-F"])]
    } else {
        &[("nft", &["flush", "ruleset"])]
    };
    for (program, arguments) in commands {
        assert!(run(&world.gate, program, arguments).status.success());
    }
    let start = Instant::now();
    let noticed = wait_for("the first word of it", || {
        let is_said = !world
            .daemon
            .logged(&["WARN", "grants were put back"])
            .is_empty();
        is_said.then(|| start.elapsed())
    });
    wait_for("every grant in the kernel", || {
        (in_kernel(&world, backend) == all.len()).then_some(())
    });
    let whole = start.elapsed();
    for family in FAMILIES {
        assert!(
            world.second.connect(family, doors::PORT).is_err(),
            "a stranger is let in"
        );
    }
    say(&format!(
        "{backend}: {} grants, flushed: put back and said {:.2} s later, seen whole in the kernel {:.2} s later",
        all.len(),
        noticed.as_secs_f64(),
        whole.as_secs_f64()
    ));
}

fn in_kernel(world: &World, backend: &'static str) -> usize {
    let kind = if backend == "iptables" {
        DriverKind::Iptables
    } else {
        DriverKind::Nftables
    };
    world
        .gate
        .run(move || monitor::native(kind).unwrap().list().unwrap().len())
}
