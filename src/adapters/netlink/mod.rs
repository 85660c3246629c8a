//! Netlink sockets, which the nftables driver and the conntrack adapter share.
//!
//! Neither file knows what a message means to the kernel.

pub(crate) mod attributes;
mod events;
mod socket;

pub(crate) use events::{Event, RulesetEvents};

pub(crate) use socket::{Message, Netlink, NetlinkError, Refusal};
