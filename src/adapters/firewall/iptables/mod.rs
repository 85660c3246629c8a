//! The iptables driver: runs `iptables-restore` and `ip6tables-restore`, once for each family and batch.
//!
//! It owns the chains that `chains` names and nothing else. Each run changes a table in one transaction. Both variants,
//! nft and legacy, are supported. Invariants 4 (a rule ends by itself, `-m time`), 6 and 10.

mod batch;
mod busy;
mod chains;
mod comment;
mod driver;
mod failure;
mod forward;
mod generation;
mod grants;
mod input;
mod installed;
mod marks;
mod matches;
mod programs;
mod rules;
mod runner;
mod save;
mod sensor;
mod side;
#[cfg(test)]
mod tests;

pub use driver::Iptables;
pub(crate) use programs::NftTables;
pub use programs::{Pair, Paths};
