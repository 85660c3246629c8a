//! Pure decisions: a value and the time go in, a value comes out. No I/O, clock or thread (invariant 1).

pub mod attempts;
pub mod claims;
pub mod clearance;
#[cfg(test)]
pub(crate) mod fixture;
pub mod fleet;
pub mod gate;
pub(crate) mod host_rules;
pub mod ledger;
pub mod log_line;
pub mod order;
pub mod roster;
pub mod sequence;
