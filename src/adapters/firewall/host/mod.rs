//! Reads the rules of the host's own firewall, and what the host's network looks like from outside.

mod interfaces;
mod iptables_save;
mod listeners;
mod nft_listing;
mod nft_match;
mod rules;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use rules::Tools;
pub(crate) use snapshot::{HostSnapshot, take};
#[cfg(test)]
pub(crate) use {iptables_save::read as read_iptables_save, nft_listing::read as read_nft_listing};
