//! What the driver has installed, and whether the kernel still has exactly that.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::grant_sets;
use super::kernel::{Kernel, Rules};
use super::nat::Nat;
use super::open_grants::OpenGrants;
use super::rule::Chain;
use super::sets::Set;
use super::table::TABLE;
use crate::adapters::netlink::NetlinkError;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

#[derive(Debug)]
pub(super) struct Installed {
    pub(super) protection: Protection,
    pub(super) nat: Nat,
    pub(super) grants: OpenGrants,
    pub(super) rules: Rules,
}

/// The rules of these chains as the kernel lists them after an installation. If their number differs, somebody has
/// changed them already. Then the result is empty, which no later comparison matches.
pub(super) fn list_rules(kernel: &mut Kernel, table: &str, chains: &[Chain]) -> Rules {
    let rules = kernel.rules(table).unwrap_or_default();
    let listed = rules
        .iter()
        .map(|(chain, rules)| (chain.as_str(), rules.len()));
    let expected = chains.iter().map(|chain| (chain.name, chain.rules.len()));
    let expected = expected.filter(|(_, count)| *count > 0);
    if listed.collect::<BTreeMap<_, _>>() == expected.collect() {
        return rules;
    }
    Rules::new()
}

impl Installed {
    /// Whether the kernel has all rules, all elements with time left, and no other elements.
    pub(super) fn is_intact(
        &self,
        kernel: &mut Kernel,
        now: Timestamp,
    ) -> Result<bool, NetlinkError> {
        match self.compare(kernel, now) {
            Err(error) if error.is_all(Errno::NOENT) => Ok(false),
            result => result,
        }
    }

    fn compare(&self, kernel: &mut Kernel, now: Timestamp) -> Result<bool, NetlinkError> {
        if kernel.is_dormant(TABLE)? || kernel.rules(TABLE)? != self.rules {
            return Ok(false);
        }
        grant_sets::are_whole(kernel, TABLE, Set::all(), &self.grants, now)
    }
}
