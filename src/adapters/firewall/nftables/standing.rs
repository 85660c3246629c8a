//! Whether the table still stands as it was put there: itself, the rules of each chain, every element that has time left, and no other.
//!
//! Owns the comparison of what the kernel lists with what the driver remembers. Changes nothing.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::answers::Trouble;
use super::elements::Element;
use super::link::Link;
use super::sets::Set;
use super::table::Chain;
use super::{Placed, fault};
use crate::model::time::Timestamp;

/// What ends this soon may be gone when it is looked for.
const SOON: Duration = Duration::from_secs(1);

/// The rules in each chain, in order, as the kernel words them: a rule that is replaced keeps its handle.
pub(super) type Rules = BTreeMap<String, Vec<Vec<u8>>>;

/// The rules that were placed just now, as the kernel lists them. Where it does not list as many as these chains have, somebody has
/// changed them already: then none, which stands for nothing that could be found.
pub(super) fn rules_of(link: &mut Link, chains: &[Chain]) -> Rules {
    let rules = link.rules().unwrap_or_default();
    let counts: BTreeMap<&str, usize> = rules
        .iter()
        .map(|(chain, rules)| (chain.as_str(), rules.len()))
        .collect();
    let wanted = chains
        .iter()
        .filter(|chain| !chain.rules.is_empty())
        .map(|chain| (chain.name, chain.rules.len()))
        .collect();
    if counts == wanted {
        rules
    } else {
        Rules::new()
    }
}

/// Whether the kernel lists all that was placed.
///
/// # Errors
/// Why the kernel could not be asked.
pub(super) fn stands(link: &mut Link, placed: &Placed, now: Timestamp) -> Result<bool, Trouble> {
    match link.is_dormant() {
        Ok(is_dormant) if is_dormant || link.rules()? != placed.rules => return Ok(false),
        Ok(_) => {}
        Err(Trouble::Refused(faults)) if faults.iter().all(fault::is_absence) => return Ok(false),
        Err(trouble) => return Err(trouble),
    }
    let mut wanted: BTreeMap<Set, Vec<Element>> = BTreeMap::new();
    for element in placed.holders.lasting(now.plus(SOON)) {
        wanted.entry(element.set).or_default().push(element);
    }
    let mut known: BTreeMap<Set, HashSet<Vec<u8>>> = BTreeMap::new();
    for element in placed.holders.lasting(Timestamp::default()) {
        known.entry(element.set).or_default().insert(element.key);
    }
    for set in Set::ALL {
        let found: HashSet<Vec<u8>> = match link.dump(set) {
            Ok(elements) => elements.into_iter().map(|(key, _, _)| key).collect(),
            Err(Trouble::Refused(faults)) if faults.iter().all(fault::is_absence) => {
                return Ok(false);
            }
            Err(trouble) => return Err(trouble),
        };
        if wanted
            .get(&set)
            .is_some_and(|wanted| wanted.iter().any(|element| !found.contains(&element.key)))
        {
            return Ok(false);
        }
        // A door of somebody else's.
        if found
            .iter()
            .any(|key| known.get(&set).is_none_or(|known| !known.contains(key)))
        {
            return Ok(false);
        }
    }
    Ok(true)
}
