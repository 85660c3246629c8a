//! The rule in the host's chain lets nobody in without Postern's table, whatever other tools write into the packet mark.

use libtest_mimic::Trial;
use postern_harness::Requirement::Program;
use postern_harness::{GateConfig, Machine, World};

use super::hosts::NFT_BASICS;

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let needs = [Program("ip"), Program("nft")];
    vec![machine.trial(
        "marks::foreign_marks_open_nothing",
        &needs,
        foreign_marks_open_nothing,
    )]
}

fn foreign_marks_open_nothing() {
    let mut world = World::prepare(&GateConfig::new("auto"));
    world.gate.sh(&format!(
        "nft 'table inet filter {{ chain input {{ type filter hook input priority filter; policy drop; {NFT_BASICS} }}; }}'"
    ));
    world.daemon.start(&world.gate);
    world.gate.sh("nft add table inet marker; nft 'add chain inet marker c { type filter hook prerouting priority raw; }'");
    let all = (0..32).map(|bit| 1_u32 << bit).chain([u32::MAX]);
    for table_is_there in [true, false] {
        if !table_is_there {
            world.daemon.stop();
            world.gate.sh("nft delete table inet postern");
        }
        for mark in all.clone() {
            world.gate.sh(&format!(
                "nft flush chain inet marker c; nft add rule inet marker c meta mark set {mark} ct mark set {mark}"
            ));
            world.second.expect_shut_out(postern_harness::Family::V4);
        }
    }
}
