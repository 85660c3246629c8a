//! Every reason is given in a scenario: a new reason without one fails here.

use std::cell::RefCell;

use postern::model::reason::{Drop, Reason, Rule};

use crate::{behind_the_gate, cluster, codes, dropped, fwknop, refused};

thread_local! {
    static GIVEN: RefCell<Vec<Reason>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn was_given(reason: Reason) {
    GIVEN.with_borrow_mut(|given| given.push(reason));
}

#[test]
fn every_reason_is_given_in_a_scenario() {
    dropped::each_step_drops_what_it_checks();
    dropped::a_used_knock_is_a_duplicate_then_a_replay();
    refused::each_policy_rule_refuses_and_is_explained();
    refused::a_used_up_quota_is_restored_with_time();
    codes::missing_and_wrong_codes_are_refused();
    codes::a_code_counts_once_for_each_family();
    codes::guessing_blocks_the_user();
    fwknop::each_rule_of_fwknop_refuses();
    fwknop::packets_to_another_address_are_refused();
    behind_the_gate::a_failing_disk_opens_nothing();
    behind_the_gate::a_failing_firewall_is_reported();
    behind_the_gate::the_monitor_refuses_what_its_config_forbids();
    cluster::unknown_claims_refuse_until_the_coordinator_is_back();
    behind_the_gate::more_grants_than_max_grants_are_refused();
    let given = GIVEN.take();
    // The vectors have the other rules of bodies (`tests/vectors.rs`, `fwknop/tests`); the queue is the engine's, and a
    // hit is no datagram (`tests/kernel`, `gate::sequences`; `src/core/gate/sequences.rs`).
    let is_elsewhere = |reason: &Reason| {
        matches!(
            reason,
            Reason::Drop(Drop::Malformed(_) | Drop::Fwknop(_) | Drop::FwknopBusy | Drop::WrongHit)
                | Reason::Refuse(Rule::UsedSequences)
        )
    };
    for reason in Reason::all().filter(|reason| !is_elsewhere(reason)) {
        assert!(given.contains(&reason), "{reason} is given in no scenario");
    }
}
