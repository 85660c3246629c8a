//! Grants in the sets of one of Postern's tables: sends changes, reads grants back, and compares them with the kernel.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use rustix::io::Errno;

use super::elements::{Action, ElementChange};
use super::kernel::Kernel;
use super::open_grants::OpenGrants;
use super::record::Parts;
use super::sets::Set;
use super::{errors, messages};
use crate::adapters::firewall::FirewallError;
use crate::adapters::netlink::{NetlinkError, Refusal, RulesetEvents};
use crate::model::grant::Grant;
use crate::model::time::Timestamp;

/// An element that ends this soon may be gone already.
const SOON: Duration = Duration::from_secs(1);

pub(super) enum ChangeError {
    /// The table is not as the driver left it.
    Diverged(FirewallError),
    /// The kernel may have made the change or not.
    Lost(FirewallError),
    Refused(FirewallError),
}

impl From<ChangeError> for FirewallError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Diverged(error)
            | ChangeError::Lost(error)
            | ChangeError::Refused(error) => error,
        }
    }
}

/// Prepares the changes as one transaction, asks once whether they are wanted, and sends it. If elements are absent that may have
/// expired, sends the others again. Returns `false` if the changes are not wanted.
pub(super) fn send(
    kernel: &mut Kernel,
    table: &str,
    now: Timestamp,
    mut changes: Vec<ElementChange>,
    is_wanted: &mut dyn FnMut() -> bool,
) -> Result<bool, ChangeError> {
    let mut asked = None;
    let mut is_wanted = || *asked.get_or_insert_with(&mut *is_wanted);
    loop {
        let messages = changes
            .iter()
            .map(|change| messages::change_element(table, change, now));
        let refusals = match kernel.transaction_if(messages, &mut is_wanted) {
            Ok(is_done) => return Ok(is_done),
            Err(NetlinkError::Refused(refusals)) => refusals,
            Err(error) => {
                let error = errors::failed(&"changing grants", &error);
                return Err(ChangeError::Lost(error));
            }
        };
        let change_of = |refusal: &Refusal| changes.get(refusal.index?);
        let may_be_absent = |refusal: &Refusal| {
            let action = change_of(refusal).map(|change| &change.action);
            refusal.errno == Errno::NOENT && action == Some(&Action::DeleteIfPresent)
        };
        if let Some(refusal) = refusals.iter().find(|refusal| !may_be_absent(refusal)) {
            let error = match change_of(refusal) {
                Some(change) => errors::refused(change, refusal),
                None => errors::refused(&"changing grants", refusal),
            };
            return Err(match refusal.errno {
                Errno::NOENT | Errno::EXIST => ChangeError::Diverged(error),
                _ => ChangeError::Refused(error),
            });
        }
        let absent = refusals.iter().filter_map(|refusal| refusal.index);
        let absent: BTreeSet<usize> = absent.collect();
        let mut index = 0_usize..;
        changes.retain(|_| index.next().is_none_or(|index| !absent.contains(&index)));
    }
}

/// The grants that the record of a table holds; none if there is no table.
pub(super) fn read(
    kernel: &mut Kernel,
    table: &str,
    now: Timestamp,
) -> Result<Vec<Grant>, FirewallError> {
    let elements = match kernel.elements(table, Set::RECORD) {
        Ok(elements) => elements,
        Err(error) if error.is_all(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => {
            let what = format_args!("reading set record of table inet {table}");
            return Err(errors::failed(&what, &error));
        }
    };
    let mut parts = Parts::default();
    let now = Some(now).filter(|now| *now != Timestamp::default());
    // Others wrote what is not readable: a listing that was loaded, for example. The installation removes it.
    let mut unreadable = None;
    for element in &elements {
        let added = parts.add(&element.key, &element.userdata, element.remaining_ms);
        unreadable = added.err().or(unreadable);
    }
    let (grants, incomplete) = parts.grants(now);
    if let Some(error) = unreadable.or(incomplete) {
        tracing::warn!(%error, "nftables: another program wrote to table inet {table}; what is not readable counts as closed");
    }
    Ok(grants)
}

/// Whether the sets have all elements of these grants with time left, and no others.
pub(super) fn are_whole(
    kernel: &mut Kernel,
    table: &str,
    sets: impl Iterator<Item = Set>,
    grants: &OpenGrants,
    now: Timestamp,
) -> Result<bool, NetlinkError> {
    let keys_after = |after| {
        let mut keys: BTreeMap<Set, HashSet<Vec<u8>>> = BTreeMap::new();
        for element in grants.elements_after(after) {
            keys.entry(element.set).or_default().insert(element.key);
        }
        keys
    };
    let mut required = keys_after(now.plus(SOON));
    let mut known = keys_after(Timestamp::default());
    for set in sets {
        let listed = kernel.elements(table, set)?.into_iter();
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

/// Whether others have changed the table since the last call, or may have.
pub(super) fn is_touched(events: Option<&mut RulesetEvents>, own_port: u32, table: &str) -> bool {
    events.is_none_or(|events| {
        let mut is_touched = false;
        events.each(|event| {
            is_touched |= event.port != own_port && event.is_of(messages::NFPROTO_INET, table);
        }) || is_touched
    })
}
