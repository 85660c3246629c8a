//! A grant opens on every host, and nothing is ever more open than without Postern (invariants 11 and 12).
//!
//! ```text
//! client 1, client 2 ── veth ── gate: the host's own firewall + posternd + a listener
//! ```

mod bans;
mod beside;
mod guests;
mod hosts;
mod kept_rules;
mod marks;
mod modules;
mod published;
mod repair;
mod saved;
mod sets;
mod strangers;

use libtest_mimic::Trial;
use postern_harness::Machine;

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let mut trials = hosts::tests(machine);
    trials.extend(bans::tests(machine));
    trials.extend(beside::tests(machine));
    trials.extend(kept_rules::tests(machine));
    trials.extend(marks::tests(machine));
    trials.extend(modules::tests(machine));
    trials.extend(repair::tests(machine));
    trials.extend(saved::tests(machine));
    trials.extend(strangers::tests(machine));
    trials.extend(sets::tests(machine));
    trials.extend(published::tests(machine));
    trials.extend(guests::tests(machine));
    trials
}
