//! The native nftables driver: one table of our own, changed over netlink in transactions, without a program.
//!
//! Grants are set elements with a timeout, so the kernel ends each grant on time (invariant 4). The set `record`
//! stores the grants themselves, so a new process can read them back. What the kernel refuses is reported as failed
//! (invariant 10).

mod driver;
mod elements;
mod errors;
mod expressions;
mod grant_sets;
mod host_sets;
mod installed;
pub(crate) mod iptables_tables;
mod kernel;
mod live;
mod live_chains;
mod messages;
mod nat;
mod open_grants;
mod record;
mod replies;
mod rule;
mod ruleset;
mod sensor;
mod sets;
mod table;
mod xt_matches;

pub use driver::Nftables;
pub(crate) use host_sets::{HostSets, KeyKind, Known, Owner, SetChange, SetElement, Unfit};
pub(crate) use kernel::number_of_ruleset;
pub(crate) use live::{LIVE_TABLE, LiveTable};
pub(crate) use ruleset::{change_host_rules, owned};
pub(crate) use table::TABLE;
