//! Reads the rules of the host's own firewall, and what the host's network looks like from outside.

mod interfaces;
mod iptables_save;
mod listeners;
mod nf_tables;
mod rules;
mod snapshot;
#[cfg(test)]
mod tests;
pub(crate) mod tracking;

pub(crate) use interfaces::{Network, read as network};
pub(crate) use listeners::udp as udp_sockets;
pub(crate) use rules::{Tools, has_legacy_tables, read_rules};
pub(crate) use snapshot::{HostSnapshot, take};
#[cfg(test)]
pub(crate) use {
    iptables_save::read as read_iptables_save,
    nf_tables::{Recording, read_recording},
};
