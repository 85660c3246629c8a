//! What the driver has installed, and whether the kernel still has exactly that.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rustix::io::Errno;

use super::kernel::{Kernel, Rules};
use super::nat::Nat;
use super::open_grants::OpenGrants;
use super::rule::Chain;
use super::sets::Set;
use super::table::TABLE;
use crate::adapters::netlink::NetlinkError;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

/// An element that ends this soon may be gone already.
const SOON: Duration = Duration::from_secs(1);

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
        let keys_after = |after| {
            let mut keys: BTreeMap<Set, HashSet<Vec<u8>>> = BTreeMap::new();
            for element in self.grants.elements_after(after) {
                keys.entry(element.set).or_default().insert(element.key);
            }
            keys
        };
        let mut required = keys_after(now.plus(SOON));
        let mut known = keys_after(Timestamp::default());
        for set in Set::all() {
            let listed = kernel.elements(TABLE, set)?.into_iter();
            let listed: HashSet<Vec<u8>> = listed.map(|element| element.key).collect();
            let required = required.remove(&set).unwrap_or_default();
            let known = known.remove(&set).unwrap_or_default();
            // another program added an unknown element
            if !required.is_subset(&listed) || !listed.is_subset(&known) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
