//! Reads the rules of the host's own firewall, and what the host's network looks like from outside.

mod interfaces;
mod iptables_save;
mod legacy;
mod listeners;
mod nf_tables;
mod programs;
mod rules;
mod snapshot;
#[cfg(test)]
mod tests;
pub(crate) mod tracking;

pub(crate) use interfaces::{Network, read as network};
pub(crate) use legacy::{MAX_LISTING, tables as legacy_tables, watch_lock};
pub(crate) use listeners::{tcp as tcp_sockets, udp as udp_sockets};
pub(crate) use programs::Tools;
pub(crate) use rules::KeptRules;
pub(crate) use snapshot::{HostSnapshot, take};
#[cfg(test)]
pub(crate) use {
    iptables_save::read as read_iptables_save,
    nf_tables::{Recording, read_recording},
};
