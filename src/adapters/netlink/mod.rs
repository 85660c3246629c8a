//! Netlink sockets, which the nftables driver and the conntrack adapter share.
//!
//! Neither file knows what a message means to the kernel.

pub mod attributes;
mod socket;

pub use socket::{Message, Netlink, NetlinkError, Refusal};
