//! Whether the table still stands as it was put there: the rules of each chain, and every element that has time left.
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
use crate::time::Timestamp;

/// What ends this soon may be gone when it is looked for.
const SOON: Duration = Duration::from_secs(1);

/// How many rules stand in each chain.
pub(super) type Rules = BTreeMap<String, usize>;

/// How many rules these chains have.
pub(super) fn rules_of(chains: &[Chain]) -> Rules {
    chains.iter().filter(|chain| !chain.rules.is_empty()).map(|chain| (chain.name.to_owned(), chain.rules.len())).collect()
}

/// Whether the kernel lists all that was placed.
///
/// # Errors
/// Why the kernel could not be asked.
pub(super) fn stands(link: &mut Link, placed: &Placed, now: Timestamp) -> Result<bool, Trouble> {
    if link.rules()? != placed.rules {
        return Ok(false);
    }
    let mut wanted: BTreeMap<Set, Vec<Element>> = BTreeMap::new();
    for element in placed.holders.lasting(now.plus(SOON)) {
        wanted.entry(element.set).or_default().push(element);
    }
    for set in Set::ALL {
        let found: HashSet<Vec<u8>> = match link.dump(set) {
            Ok(elements) => elements.into_iter().map(|(key, _, _)| key).collect(),
            Err(Trouble::Refused(faults)) if faults.iter().all(fault::is_absence) => return Ok(false),
            Err(trouble) => return Err(trouble),
        };
        if wanted.get(&set).is_some_and(|wanted| wanted.iter().any(|element| !found.contains(&element.key))) {
            return Ok(false);
        }
    }
    Ok(true)
}
