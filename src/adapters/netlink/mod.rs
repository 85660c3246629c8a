//! Netlink sockets, which the nftables driver, the conntrack adapter and NFLOG share, and the interfaces of the host.

pub(crate) mod attributes;
mod events;
mod links;
pub(crate) mod nflog;
mod socket;

pub(crate) use events::{Event, RulesetEvents};
pub(crate) use links::{Link, Links};

pub(crate) use socket::{Message, Messages, Netlink, NetlinkError, Refusal};
