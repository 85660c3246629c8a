//! What the iptables driver needs from nf_tables: the number of the ruleset, and deletion of an empty table.

use super::kernel::Kernel;
use super::{errors, messages};
use crate::adapters::firewall::FirewallError;
use crate::model::address::Family;

/// Deletes an empty table that iptables or ip6tables (nft variant) made and has no command to delete.
pub(crate) fn delete_table_of_iptables(ipv6: bool, name: &str) -> Result<(), FirewallError> {
    let family = if ipv6 { Family::V6 } else { Family::V4 };
    Kernel::open()?
        .transaction([messages::delete_table_of(family, name)])
        .map_err(|error| errors::failed(&format_args!("deleting the empty table {name}"), &error))
}

/// A function that asks for the number of the ruleset in the network namespace of the calling thread; `None` if the
/// kernel does not answer.
pub(crate) fn number_of_ruleset() -> Result<Box<dyn FnMut() -> Option<u32> + Send>, FirewallError> {
    let mut kernel = Kernel::open()?;
    Ok(Box::new(move || kernel.generation().ok()))
}
