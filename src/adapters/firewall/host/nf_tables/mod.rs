//! Reads the rules of nf_tables over netlink, without a program.
//!
//! Numbers are those of linux/netfilter/nf_tables.h. An expression that is not known becomes an unknown condition.

mod bytes;
mod dump;
mod expression;
mod fields;
mod lookup;
mod owned;
mod reader;
mod registers;
mod rule;
mod sets;
mod view;
mod xtables;

#[cfg(test)]
pub(crate) use dump::Recording;
pub(super) use dump::open;
pub(super) use owned::owned_tables;
#[cfg(test)]
pub(crate) use reader::read_recording;
pub(super) use reader::{Owners, Scope, TRANSLATING_CHAINS_MAX};
pub(super) use view::View;
