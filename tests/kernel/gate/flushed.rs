//! Another program empties the firewall: posternd detects it and restores the rules and every live grant.

use std::time::Duration;

use postern_harness::world::checks::expect_ledger_and_kernel_agree;
use postern_harness::{FAMILIES, GateConfig, SERVICE, World, wait_at_most, wait_for};

/// A check by iptables takes a tenth of a second, and the next one follows after a second.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);

const BY_IPTABLES: &[&[&str]] = &[
    &["-F"],
    &["-F", "-X"],
    &["-D INPUT -j POSTERN"],
    &["-A POSTERN-GRANTS -j ACCEPT"],
    &["-F POSTERN"],
    &["-D POSTERN 1"],
    &["-A POSTERN -j ACCEPT"],
    // Still so many rules, and still to DROP, but for others than before.
    &["-R POSTERN 5 -p tcp --dport 1 -j DROP"],
];

const BY_NFT: &[&[&str]] = &[
    &["flush ruleset"],
    &["delete table inet postern"],
    &["flush table inet postern"],
    &["flush chain inet postern hidden"],
    &[
        "flush set inet postern grants4",
        "flush set inet postern grants6",
    ],
    &["flush set inet postern record"],
    // An element that Postern did not add, and the whole table disabled.
    &["add element inet postern grants4 '{ 198.51.100.9 . tcp . 22 }'"],
    &["add table inet postern '{ flags dormant; }'"],
];

/// What the iptables driver has in nf_tables.
const LIVE_BY_NFT: &[&[&str]] = &[
    &["delete table inet postern_live"],
    &["flush chain inet postern_live grants"],
    &["flush set inet postern_live grants4"],
    &["flush set inet postern_live record"],
    &["flush set inet postern_live live"],
    &["add element inet postern_live grants4 '{ 198.51.100.9 . tcp . 22 }'"],
];

pub(crate) fn flushed_rules_are_restored(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    world.open_both("10m");
    let grants = world.daemon.grants();
    let both: &[&str] = &["iptables", "ip6tables"];
    let ways: &[(&[&str], &[&[&str]])] = if backend == "iptables" {
        &[(both, BY_IPTABLES), (&["nft"], LIVE_BY_NFT)]
    } else {
        &[(&["nft"], BY_NFT)]
    };
    let each = ways.iter();
    let each = each.flat_map(|(programs, ways)| ways.iter().map(move |way| (*programs, *way)));
    let said = "another program changed the firewall; protection and 2 grants were restored";
    let lines = || world.daemon.logged(&["WARN", said]).len();
    let state = || (rules(&world), world.rules().len());
    let (before, mut told) = (state(), 0);
    for (programs, commands) in each {
        for command in commands {
            for program in programs {
                // Postern may have restored a chain before the second command deletes it.
                let _ = world.gate.try_sh(&format!("{program} {command}"));
            }
        }
        wait_at_most(
            NOTICED_WITHIN,
            &format!("restored after {commands:?}"),
            || (lines() > told && state() == before).then_some(()),
        );
        world.first.expect_both_let_in();
        world.second.expect_both_shut_out();
        assert_eq!(world.daemon.grants(), grants);
        expect_ledger_and_kernel_agree(&world, backend);
        // One line for each change, or two if it was half done when it was noticed.
        assert!(lines() <= told + 2, "{commands:?}");
        told = lines();
    }
}

/// All rules without the elements of sets, whose times differ after they are restored.
fn rules(world: &World) -> String {
    let all = world.firewall();
    all.split("elements = {")
        .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest))
        .collect()
}

pub(crate) fn knock_into_flushed_firewall_is_reported_correctly(backend: &'static str) {
    let world = World::start(
        &GateConfig::new(backend).member("bob", "quota = \"1000/min\"\nmax_grants = 1000"),
    );
    let command = if backend == "iptables" {
        "iptables -F; iptables -X"
    } else {
        "nft flush ruleset"
    };
    let family = FAMILIES[0];
    for round in 1..=3 {
        // Postern may have restored its chains between the two, and then they can't be deleted. That does no harm here.
        let _ = world.gate.try_sh(command);
        world.first.knock("bob", family, &["--for", "10m"]);
        world.daemon.wait_for_admitted(round);
        // The report is correct in the end.
        wait_for("protection", || world.second.connect(family, SERVICE).err());
        expect_ledger_and_kernel_agree(&world, backend);
        let is_open = !world.daemon.grants().is_empty();
        assert_eq!(world.first.connect(family, SERVICE).is_ok(), is_open);
        world.daemon.asked(&["close", "--all"]);
    }
}

pub(crate) fn unchanged_firewall_is_left_alone(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    world.first.knock("alice", FAMILIES[0], &["--for", "2s"]);
    world.first.knock("alice", FAMILIES[1], &["--for", "10m"]);
    world.first.expect_both_let_in();
    world.wait_for_grants(1);
    std::thread::sleep(Duration::from_secs(3));
    world.daemon.expect_logged(0, &["another program changed"]);
    world
        .daemon
        .expect_logged(0, &["the firewall can't be read"]);
}
