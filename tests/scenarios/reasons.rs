//! The register of scenarios by reason: a new reason without a scenario of its own fails here.
//!
//! A scenario is run once more to see that its reason is really given in it.

use std::cell::RefCell;

use postern::model::reason::{CodeFault, Drop, Reason, Rule};
use postern_proto::Malformed;

use crate::world::{Outcome, World};
use crate::{codes, dropped, failing, limits, malformed, refused};

thread_local! {
    static GIVEN: RefCell<Vec<Reason>> = const { RefCell::new(Vec::new()) };
}

/// The world tells of every reason it sees.
pub(crate) fn was_given(reason: Reason) {
    GIVEN.with_borrow_mut(|given| given.push(reason));
}

/// `None` where there is no scenario. There is one for each rule of section 5 in a table of its own.
fn scenario(reason: Reason) -> Option<Box<dyn Fn()>> {
    let scenario: fn() = match reason {
        Reason::Drop(Drop::Length) => {
            dropped::what_is_too_short_or_too_long_for_a_knock_is_dropped_by_its_length
        }
        Reason::Drop(Drop::UnknownHint) => {
            dropped::random_bytes_of_a_knocks_length_are_dropped_by_their_hint
        }
        Reason::Drop(Drop::BadMac) => dropped::a_knock_with_one_changed_byte_is_dropped_by_its_mac,
        Reason::Drop(Drop::BadSeal) => dropped::a_right_mac_over_a_wrong_seal_is_dropped,
        Reason::Drop(Drop::StepMismatch) => {
            dropped::a_knock_under_the_hint_of_another_step_is_dropped
        }
        Reason::Drop(Drop::TooOld) => dropped::a_knock_that_was_on_its_way_for_too_long_is_dropped,
        Reason::Drop(Drop::TooNew) => dropped::a_knock_from_the_future_is_dropped,
        Reason::Drop(Drop::Replay) => dropped::a_recorded_knock_opens_nothing_when_sent_again,
        Reason::Drop(Drop::Duplicate) => {
            dropped::a_second_copy_within_a_second_is_a_duplicate_and_no_alarm
        }
        Reason::Drop(Drop::Malformed(rule)) => {
            return malformed::body_that_breaks(rule)
                .map(|_| Box::new(move || malformed::scenario(rule)) as _);
        }
        Reason::Refuse(Rule::Networks) => refused::an_address_outside_the_users_networks_is_refused,
        Reason::Refuse(Rule::Prefix) => refused::a_network_wider_than_max_prefix_is_refused,
        Reason::Refuse(Rule::GrantTo) => {
            refused::the_other_kind_of_address_than_grant_to_says_is_refused
        }
        Reason::Refuse(Rule::Target) => {
            refused::a_host_behind_the_gate_that_the_policy_does_not_list_is_refused
        }
        Reason::Refuse(Rule::Family) => refused::a_target_of_the_other_family_is_refused,
        Reason::Refuse(Rule::Service) => {
            refused::one_service_that_is_not_the_users_refuses_the_whole_knock
        }
        Reason::Refuse(Rule::UnknownService) => {
            refused::a_name_that_this_gate_does_not_know_is_refused
        }
        Reason::Refuse(Rule::Code(CodeFault::Missing)) => {
            codes::a_knock_without_the_code_that_its_user_needs_is_refused
        }
        Reason::Refuse(Rule::Code(CodeFault::Wrong)) => {
            codes::a_wrong_code_and_one_of_another_time_are_refused
        }
        Reason::Refuse(Rule::Code(CodeFault::Used)) => {
            codes::a_code_opens_once_for_each_family_and_then_no_more
        }
        Reason::Refuse(Rule::Code(CodeFault::Blocked)) => {
            codes::whoever_guesses_is_held_up_and_a_right_code_with_him
        }
        Reason::Refuse(Rule::Quota) => limits::a_spent_quota_refuses_and_comes_back_with_time,
        Reason::Refuse(Rule::Store) => {
            failing::while_the_disk_fails_nothing_opens_and_the_same_knock_stays_refused
        }
        Reason::Refuse(Rule::Firewall) => {
            failing::a_firewall_that_fails_is_told_as_failed_and_the_next_knock_opens
        }
        Reason::Refuse(Rule::Duration) => {
            failing::a_monitor_with_a_shorter_maximum_refuses_what_the_engine_clipped_by_the_old_one
        }
        Reason::Refuse(Rule::User) => {
            failing::a_monitor_that_no_longer_knows_the_user_refuses_what_the_engine_admits
        }
    };
    Some(Box::new(scenario))
}

#[test]
fn every_reason_has_a_scenario_and_is_given_in_it() {
    for reason in Reason::all() {
        let scenario = scenario(reason).unwrap_or_else(|| panic!("{reason} has no scenario"));
        GIVEN.take();
        scenario();
        assert!(
            GIVEN.take().contains(&reason),
            "{reason} is not given in its scenario"
        );
    }
    assert_eq!(Reason::all().count(), Reason::COUNT);
    assert!(
        Malformed::ALL
            .iter()
            .all(|rule| Reason::all().any(|reason| reason == Reason::Drop(Drop::Malformed(*rule))))
    );
}

/// What holds for every dropped datagram: one counter, not a word at info or above, and the world is as before.
pub(crate) fn assert_dropped(
    world: &mut World,
    send: impl FnOnce(&mut World) -> Outcome,
    reason: Drop,
) {
    let reason = Reason::Drop(reason);
    let before = (world.open(), world.core.gate().marks(), world.count(reason));
    let outcome = send(world);
    assert_eq!((outcome.admitted, outcome.reason), (false, Some(reason)));
    assert!(
        outcome.said.is_empty() && outcome.reports.is_empty(),
        "{outcome:?}"
    );
    assert_eq!(
        (world.open(), world.core.gate().marks(), world.count(reason)),
        (before.0, before.1, before.2 + 1)
    );
}

/// What holds for every knock that policy or quota refuses: one counter, one line at info with user and rule, and nothing opens.
pub(crate) fn assert_refused(
    world: &mut World,
    send: impl FnOnce(&mut World) -> Outcome,
    rule: Rule,
) {
    let reason = Reason::Refuse(rule);
    let before = (world.open(), world.core.gate().marks(), world.count(reason));
    let outcome = send(world);
    assert_eq!((outcome.admitted, outcome.reason), (false, Some(reason)));
    let [line] = &outcome.said[..] else {
        panic!("one line, not {:?}", outcome.said)
    };
    for part in ["INFO", "alice", rule.name(), rule.sentence()] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(
        outcome.reports.is_empty(),
        "the monitor never heard of it: {outcome:?}"
    );
    assert_eq!(
        (world.open(), world.core.gate().marks(), world.count(reason)),
        (before.0, before.1, before.2 + 1)
    );
}
