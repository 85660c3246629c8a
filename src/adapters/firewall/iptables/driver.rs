//! The driver: both address families, and the runs that they share.

use std::collections::BTreeMap;

use super::busy::{busy_ports, busy_sequence_ports};
use super::generation::Generation;
#[cfg(test)]
use super::generation::GenerationId;
use super::programs::{NftTables, Paths};
use super::runner::Runner;
use super::side::{Side, State, TimeMatch, unavailable};
use crate::adapters::firewall::nftables::{self, LiveTable};
use crate::adapters::firewall::{FirewallDriver, FirewallError};
use crate::model::address::Family;
use crate::model::grant::{Change, Grant, GrantId};
use crate::model::run::Run;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

const NO_IP6TABLES: &str =
    "ip6tables-restore and ip6tables-save are not installed; apt-get install iptables";

/// The iptables driver.
pub struct Iptables {
    run: Runner,
    v4: Side,
    v6: Option<Side>,
    /// What is installed.
    protection: Option<Protection>,
    live: Live,
}

/// What makes grants count, so that a saved file opens none.
#[derive(Default)]
enum Live {
    /// The kernel cannot do it: grants always count.
    #[default]
    Always,
    /// This driver opens no grant.
    Kept(LiveTable),
    Installed(LiveTable),
}

impl Live {
    fn table(&mut self) -> Option<&mut LiveTable> {
        match self {
            Self::Always => None,
            Self::Kept(table) | Self::Installed(table) => Some(table),
        }
    }
}

impl Iptables {
    /// Drives the programs at these paths. Runs none of them yet.
    pub fn new(run: Box<dyn Run + Send>, paths: Paths) -> Self {
        Self {
            run: Runner::new(run),
            v4: Side::new(Family::V4, paths.v4),
            v6: paths.v6.map(|pair| Side::new(Family::V6, pair)),
            protection: None,
            live: Live::Always,
        }
    }

    /// Grants count only while a table of nf_tables is installed, which holds those of single ports. The kernel tells
    /// whether the firewall changed. Both need nf_tables, in the network namespace of the calling thread. A kernel
    /// without it has the legacy variant of the programs.
    pub fn with_live_table(mut self) -> Self {
        if let (Ok(number), Ok(table)) = (nftables::number_of_ruleset(), LiveTable::open()) {
            self.run.generation = Generation::new(number);
            self.live = Live::Installed(table);
        }
        self
    }

    /// Opens no grant, and leaves the table alone: with it, grants that somebody loads from a file would count.
    pub(crate) fn without_grants(mut self) -> Self {
        self.live = match self.live {
            Live::Installed(table) => Live::Kept(table),
            live => live,
        };
        self
    }

    /// Adds what the nft variant needs beside its programs.
    pub(crate) fn with_nft_tables(mut self, tables: NftTables) -> Self {
        self.run.nft_tables = Some(tables);
        self
    }

    #[cfg(test)]
    pub(super) fn with_generation_id(mut self, ask: Box<GenerationId>) -> Self {
        self.run.generation = Generation::new(ask);
        self
    }

    fn sides(&self) -> impl Iterator<Item = &Side> {
        [Some(&self.v4), self.v6.as_ref()].into_iter().flatten()
    }

    fn for_both(
        &mut self,
        mut work: impl FnMut(&mut Side, &mut Runner) -> Result<(), FirewallError>,
    ) -> Result<(), FirewallError> {
        self.check_generation();
        let v4 = work(&mut self.v4, &mut self.run);
        let v6 = self.v6.as_mut();
        let v6 = v6.map_or(Ok(()), |side| work(side, &mut self.run));
        match (v4, v6) {
            (Err(first), Err(second)) => Err(first.and(second)),
            (v4, v6) => v4.and(v6),
        }
    }

    /// Whether each change is one of the sets. A grant is in the sets or has rules, never both.
    fn which_in_sets(&self, changes: &[Change]) -> Vec<bool> {
        let Live::Installed(table) = &self.live else {
            return vec![false; changes.len()];
        };
        // Grants of earlier changes of the batch.
        let mut opened: BTreeMap<GrantId, bool> = BTreeMap::new();
        let which = |change: &Change| {
            let (old, new) = change.grants();
            let takes = |grant: &Grant| LiveTable::takes(grant) && self.has_chains_for(grant);
            let in_set = match (change, opened.get(&old.id)) {
                (Change::Open(grant), _) => takes(grant),
                (_, Some(in_set)) => *in_set,
                (_, None) => table.has(old.id),
            };
            opened.insert(old.id, in_set);
            opened.extend(new.map(|grant| (grant.id, in_set)));
            in_set
        };
        changes.iter().map(which).collect()
    }

    fn has_chains_for(&self, grant: &Grant) -> bool {
        let family = Family::of_network(grant.allow);
        // A rule is opened where the chains may be incomplete: that rewrites them, and tells whether it opens.
        let mut sides = self.sides().filter(|side| !side.state.is_uncertain());
        let side = sides.find(|side| side.family == family);
        let installed = side.and_then(|side| side.state.installed());
        installed.is_some_and(|installed| installed.missing_part(grant).is_none())
    }

    fn change_sets(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        let Live::Installed(table) = &mut self.live else {
            return Vec::new();
        };
        if changes.is_empty() {
            return Vec::new();
        }
        let results = table.apply(changes);
        if results.iter().all(Result::is_ok) {
            self.run.generation.advance_by_one();
        } else {
            self.run.generation.set_verified(None);
        }
        results
    }

    fn change_rules(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        // Both grants of an extension have the same family.
        let family = |change: &Change| Family::of_network(change.grants().0.allow);
        let missing = || Err(unavailable(Family::V6, NO_IP6TABLES));
        let mut of_family = |side: &mut Side| {
            let own: Vec<&Change> = changes
                .iter()
                .filter(|change| family(change) == side.family)
                .collect();
            if own.is_empty() {
                return Vec::new().into_iter();
            }
            side.apply(&mut self.run, &own).into_iter()
        };
        let mut v4 = of_family(&mut self.v4);
        let mut v6 = self.v6.as_mut().map(of_family);
        let mut result = |change: &Change| match (family(change), &mut v6) {
            (Family::V4, _) => v4.next(),
            (Family::V6, Some(results)) => results.next(),
            (Family::V6, None) => None,
        };
        changes
            .iter()
            .map(|change| result(change).unwrap_or_else(missing))
            .collect()
    }

    /// The generation ID counts only the rules of the nft variant.
    fn check_generation(&mut self) {
        if self.run.generation.is_unchecked() {
            let pairs: Vec<_> = self.sides().map(|side| side.programs.clone()).collect();
            let is_nft = pairs.iter().all(|pair| self.run.is_nft(pair));
            self.run.generation.check(is_nft);
        }
    }
}

impl FirewallDriver for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn probe(&mut self) -> Result<(), FirewallError> {
        self.for_both(Side::try_out)
    }

    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        let of = |family: Family| -> Vec<&Grant> {
            let is_own = |grant: &&Grant| Family::of_network(grant.allow) == family;
            live.iter().filter(is_own).collect()
        };
        let protection = Protection {
            busy_ports: busy_ports(protection),
            busy_sequence_ports: busy_sequence_ports(protection),
            ..protection.clone()
        };
        let live_mark = match self.live {
            Live::Always => None,
            _ => Some(protection.packet_mark.live()),
        };
        let in_sets = matches!(self.live, Live::Installed(_));
        // Without an address behind the gate there is no chain for its grants.
        let in_set = |grant: &&Grant| {
            let has_chain = grant.target.is_none() || !protection.behind.is_empty();
            in_sets && has_chain && LiveTable::takes(grant)
        };
        let installed = self.for_both(|side, run| {
            side.live_mark = live_mark;
            side.in_sets = in_sets;
            let mut by_rules = of(side.family);
            by_rules.retain(|grant| !in_set(grant));
            side.install(run, &protection, &by_rules)
        });
        // Afterwards, because until then rules from a file may be in the chains. If one family failed, the sets must still
        // lose the grants that are over; a table that is not live stays away.
        if let Live::Installed(table) = &mut self.live
            && (installed.is_ok() || matches!(table.is_live(), Ok(true)))
        {
            let of_live = live.iter().flat_map(|grant| &grant.forwards);
            let nat = of_live.chain(&protection.forwards).next().is_some();
            let by_sets: Vec<&Grant> = live.iter().filter(in_set).collect();
            let is_taken = match table.install(&protection, nat, &by_sets) {
                Ok(is_taken) => is_taken,
                Err(error) => return installed.and(Err(error)),
            };
            if !is_taken {
                // The next start would take over what a table of an earlier run holds, also grants that are closed by then.
                if let Err(error) = table.remove() {
                    tracing::debug!(%error, "the table of an earlier run may still be there");
                }
                self.live = Live::Always;
                return self.install(&protection, live);
            }
        }
        self.protection = Some(protection);
        self.run.generation.set_verified(None);
        if self.v6.is_none() && !of(Family::V6).is_empty() {
            return installed.and(Err(unavailable(Family::V6, NO_IP6TABLES)));
        }
        installed
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        let in_sets = self.which_in_sets(changes);
        let those = |wanted: bool| -> Vec<Change> {
            let own = changes.iter().zip(&in_sets);
            let own = own.filter(|(_, in_set)| **in_set == wanted);
            own.map(|(change, _)| change.clone()).collect()
        };
        let mut by_sets = self.change_sets(&those(true)).into_iter();
        let mut by_rules = self.change_rules(&those(false)).into_iter();
        let unanswered = || Err(FirewallError::Unanswered("no result".to_owned()));
        let mut result = |in_set| {
            if in_set {
                by_sets.next()
            } else {
                by_rules.next()
            }
        };
        let results = in_sets.into_iter();
        results
            .map(|in_set| result(in_set).unwrap_or_else(unanswered))
            .collect()
    }

    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        let is_live = self.live.table().map_or(Ok(true), LiveTable::is_live)?;
        let mut grants = self.v4.list(&mut self.run, is_live)?;
        if let Some(v6) = &self.v6 {
            grants.extend(v6.list(&mut self.run, is_live)?);
        }
        if let Some(table) = self.live.table().filter(|_| is_live) {
            // Without ip6tables, an installation with grants of IPv6 fails.
            let has_v6 = self.v6.is_some();
            let in_sets = table.list()?.into_iter();
            grants.extend(
                in_sets.filter(|grant| has_v6 || Family::of_network(grant.allow) == Family::V4),
            );
        }
        Ok(grants)
    }

    /// Lists the rules of each family, unless the kernel says that nobody changed anything since the last check.
    fn verify(&mut self) -> Result<bool, FirewallError> {
        let is_stale = |installed: &Protection| {
            busy_ports(installed) != installed.busy_ports
                || busy_sequence_ports(installed) != installed.busy_sequence_ports
        };
        if self.protection.as_ref().is_some_and(is_stale) {
            return Ok(false);
        }
        // Always, because it also takes the events that wait.
        let mut is_whole = self.live.table().map_or(Ok(true), LiveTable::is_intact)?;
        let generation = self.run.generation.now();
        if is_whole && self.run.generation.is_verified(generation) {
            return Ok(true);
        }
        is_whole = is_whole && self.v4.verify(&mut self.run)?;
        if let Some(v6) = &mut self.v6 {
            is_whole = is_whole && v6.verify(&mut self.run)?;
        }
        self.run
            .generation
            .set_verified(generation.filter(|_| is_whole));
        Ok(is_whole)
    }

    /// Afterwards the rules are as before the first installation, except for counters. Empty tables of the legacy variant stay.
    fn remove(&mut self) -> Result<(), FirewallError> {
        self.protection = None;
        let removed = self.for_both(Side::remove);
        match &mut self.live {
            Live::Installed(table) => removed.and(table.remove()),
            _ => removed,
        }
    }

    fn kernel_expiry(&self) -> Result<(), FirewallError> {
        let is_untested = |side: &Side| matches!(side.time_match, TimeMatch::Untested);
        if self.sides().all(is_untested) {
            return Err(FirewallError::NotInstalled(
                "Postern's chains are not installed yet".to_owned(),
            ));
        }
        let missing = self
            .sides()
            .filter(|side| !matches!(side.state, State::NoFamily(_)))
            .find_map(|side| match &side.time_match {
                TimeMatch::Missing(why) => Some(why),
                TimeMatch::Untested | TimeMatch::Works => None,
            });
        missing.map_or(Ok(()), |why| {
            Err(FirewallError::Unsupported(format!(
                "the kernel lacks -m time: {why}"
            )))
        })
    }

    fn ignores_saved(&self) -> Result<(), FirewallError> {
        match self.live {
            Live::Always => Err(FirewallError::Unsupported(
                "this kernel has no nf_tables: a file of iptables-save opens the grants that it holds, and each knock runs a program"
                    .to_owned(),
            )),
            Live::Kept(_) | Live::Installed(_) => Ok(()),
        }
    }

    fn tick(&mut self, now: Timestamp) {
        if let Some(table) = self.live.table() {
            table.tick(now);
        }
    }

    /// The next whole second: the kernel counts in seconds. One run for each family then closes all grants of a second.
    fn end(&self, until: Timestamp) -> Timestamp {
        Timestamp::from_millis(until.as_millis().div_ceil(1000).saturating_mul(1000))
    }

    /// Any number: a run costs about the same for one change as for many.
    fn batch(&self) -> usize {
        usize::MAX
    }
}
