//! The rules of nf_tables as they were read, kept equal to the kernel's by its events.
//!
//! Reads base chains and the chains that packets of interest enter from them. An event about one rule changes that rule
//! only. Whatever does not fit is read again: a chain, or everything.

mod events;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};

use super::dump::{Dumps, Kind, Question};
use super::fields::Context;
use super::reader::{self, DORMANT, Owners, Scope, TRANSLATING_CHAINS_MAX, number};
use super::rule;
use super::sets::Sets;
use crate::adapters::firewall::nftables::LIVE_TABLE;
use crate::adapters::netlink::NetlinkError;
use crate::adapters::netlink::attributes::{find, text};
use crate::core::host_rules::{Chain, Hook, Rule, Ruleset, Sought};

/// Family, table and chain.
type Key = (u8, String, String);

pub(in crate::adapters::firewall::host) struct View<D> {
    source: D,
    sets: Sets<D>,
    scope: Scope,
    /// `None` for all chains.
    sought: Option<Sought>,
    rules: Ruleset,
    /// What is known about each chain.
    known: Vec<Known>,
    by_key: HashMap<Key, usize>,
    /// Chains to read again.
    dirty: BTreeSet<usize>,
    stale: Stale,
    /// The kernel tells whether a new rule is the last one.
    tells_appended: bool,
}

/// What must be read again, chains included.
enum Stale {
    Everything,
    /// Tables by family and name.
    Tables(BTreeSet<(u8, String)>),
}

impl Stale {
    fn has(&self, family: u8, table: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Tables(tables) => tables.contains(&(family, table.to_owned())),
        }
    }

    fn add(&mut self, family: u8, table: String) {
        if let Self::Tables(tables) = self {
            tables.insert((family, table));
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Tables(tables) if tables.is_empty())
    }
}

struct Known {
    key: Key,
    /// The hooks from which packets enter; none if only its name counts.
    hooks: Vec<Hook>,
    /// The sets that its rules look up.
    sets: BTreeSet<String>,
    is_foreign_to_iptables: bool,
}

#[derive(Default)]
struct Listed {
    chains: Vec<(u8, Chain)>,
    owners: HashSet<(u8, String, &'static str)>,
    /// Of each table: how many chains it has, and whether one of them filters.
    sizes: HashMap<(u8, String), (usize, bool)>,
}

impl Listed {
    fn add(&mut self, family: u8, chain: Chain, is_all: bool) {
        let table = &chain.table.name;
        if table == LIVE_TABLE {
            return;
        }
        let size = self.sizes.entry((family, table.clone())).or_default();
        size.0 = size.0.saturating_add(1);
        size.1 |= chain.base.is_some_and(|base| !base.is_nat);
        let owners = &mut self.owners;
        let is_sign = |owner| owners.insert((family, table.clone(), owner));
        if is_all || Sought::is_wanted(&chain) || Sought::owner(&chain).is_some_and(is_sign) {
            self.chains.push((family, chain));
        }
    }
}

impl<D: Dumps> View<D> {
    /// Reads nothing yet. `sets` is a second source.
    pub(in crate::adapters::firewall::host) fn new(
        source: D,
        sets: D,
        scope: Scope,
        sought: Option<Sought>,
    ) -> Self {
        Self {
            source,
            sets: Sets::new(sets),
            scope,
            sought,
            rules: Ruleset::default(),
            known: Vec::new(),
            by_key: HashMap::new(),
            dirty: BTreeSet::new(),
            stale: Stale::Everything,
            tells_appended: false,
        }
    }

    pub(in crate::adapters::firewall::host) fn rules(&self) -> &Ruleset {
        &self.rules
    }

    #[cfg(test)]
    pub(in crate::adapters::firewall::host) fn into_rules(self) -> Ruleset {
        self.rules
    }

    /// Some events were lost, or a read failed midway.
    pub(in crate::adapters::firewall::host) fn distrust(&mut self) {
        self.stale = Stale::Everything;
    }

    pub(in crate::adapters::firewall::host) fn must_read(&self) -> bool {
        !self.stale.is_empty() || !self.dirty.is_empty()
    }

    /// Reads what must be read again. Later events may make it necessary again.
    pub(in crate::adapters::firewall::host) fn read(
        &mut self,
        owners: &Owners<'_>,
    ) -> Result<(), NetlinkError> {
        self.sets.forget();
        if !self.stale.is_empty() {
            // what is dirty in other tables has not moved
            self.read_tables(owners)?;
        }
        let mut open = Vec::new();
        while let Some(index) = self.dirty.first().copied() {
            self.read_chain(index, owners)?;
            self.dirty.remove(&index);
            open.push(index);
        }
        let first_new = self.known.len();
        self.follow(open.clone(), owners)?;
        open.extend(first_new..self.known.len());
        for index in open {
            self.finish(index);
        }
        Ok(())
    }

    fn read_tables(&mut self, owners: &Owners<'_>) -> Result<(), NetlinkError> {
        // a failure midway leaves nothing that can be used
        let stale = std::mem::replace(&mut self.stale, Stale::Everything);
        let first_new = self.forget_tables(&stale);
        let tables: HashSet<(u8, String)> = self.source.dump(
            Question::all(Kind::Table),
            |tables: &mut HashSet<_>, family, object| {
                let is_dormant = number(object, 2).unwrap_or(0) & DORMANT != 0;
                let name = find(object, 1).map(text).filter(|_| !is_dormant);
                tables.extend(name.map(|name| (family, name)));
            },
        )?;
        let is_all = self.sought.is_none();
        let listed = self.source.dump(
            Question::all(Kind::Chain),
            |listed: &mut Listed, family, object| {
                let chain = reader::chain(family, object);
                if let Some(chain) = chain.filter(|chain| stale.has(family, &chain.table.name)) {
                    listed.add(family, chain, is_all);
                }
            },
        )?;
        let Listed {
            mut chains, sizes, ..
        } = listed;
        let is_in_scope = |table: &(u8, String)| {
            let is_small = |size: &(usize, bool)| size.0 <= TRANSLATING_CHAINS_MAX || size.1;
            self.scope == Scope::All || sizes.get(table).is_some_and(is_small)
        };
        chains.retain(|(family, chain)| {
            let table = (*family, chain.table.name.clone());
            tables.contains(&table) && is_in_scope(&table)
        });
        for (family, chain) in chains {
            let is_read = is_all || Sought::is_wanted(&chain);
            let hook = chain.base.map_or(Hook::Input, |base| base.hook);
            let index = self.add(family, chain, Some(hook).filter(|_| is_read));
            if is_read {
                self.read_chain(index, owners)?;
            }
        }
        self.follow((first_new..self.known.len()).collect(), owners)?;
        self.name_tables(owners);
        self.stale = Stale::Tables(BTreeSet::new());
        for index in first_new..self.known.len() {
            self.finish(index);
        }
        Ok(())
    }

    /// Returns the number of chains that stay.
    fn forget_tables(&mut self, stale: &Stale) -> usize {
        let (chains, known) = (
            std::mem::take(&mut self.rules.chains),
            std::mem::take(&mut self.known),
        );
        let dirty = std::mem::take(&mut self.dirty);
        self.by_key.clear();
        for (old, (chain, known)) in chains.into_iter().zip(known).enumerate() {
            if stale.has(known.key.0, &known.key.1) {
                continue;
            }
            let new = self.known.len();
            if dirty.contains(&old) {
                self.dirty.insert(new);
            }
            self.by_key.insert(known.key.clone(), new);
            self.known.push(known);
            self.rules.chains.push(chain);
        }
        self.known.len()
    }

    fn add(&mut self, family: u8, chain: Chain, hook: Option<Hook>) -> usize {
        let index = self.known.len();
        let key = (family, chain.table.name.clone(), chain.name.clone());
        self.by_key.insert(key.clone(), index);
        self.known.push(Known {
            key,
            hooks: hook.into_iter().collect(),
            sets: BTreeSet::new(),
            is_foreign_to_iptables: false,
        });
        self.rules.chains.push(chain);
        index
    }

    /// Reads the chains that packets of interest enter from these, and further on.
    fn follow(&mut self, mut open: Vec<usize>, owners: &Owners<'_>) -> Result<(), NetlinkError> {
        let Some(sought) = self.sought.clone() else {
            return Ok(());
        };
        while let Some(index) = open.pop() {
            let (Some(known), Some(chain)) = (self.known.get(index), self.rules.chains.get(index))
            else {
                continue;
            };
            let (key, hooks) = (known.key.clone(), known.hooks.clone());
            let table = chain.table.clone();
            let targets: Vec<(String, Hook)> = hooks
                .into_iter()
                .flat_map(|hook| {
                    sought
                        .targets(chain, hook)
                        .map(move |to| (to.to_owned(), hook))
                })
                .collect();
            for (name, hook) in targets {
                let to = (key.0, key.1.clone(), name);
                match self.by_key.get(&to).copied() {
                    None => {
                        let chain = Chain {
                            table: table.clone(),
                            name: to.2,
                            base: None,
                            rules: Vec::new(),
                        };
                        let index = self.add(key.0, chain, Some(hook));
                        self.read_chain(index, owners)?;
                        open.push(index);
                    }
                    Some(index) => {
                        if let Some(known) = self.known.get_mut(index)
                            && !known.hooks.contains(&hook)
                        {
                            let is_new = known.hooks.is_empty();
                            known.hooks.push(hook);
                            open.push(index);
                            if is_new {
                                self.read_chain(index, owners)?;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks for each chain: the kernel's time for a whole table grows with the square of its rules.
    fn read_chain(&mut self, index: usize, owners: &Owners<'_>) -> Result<(), NetlinkError> {
        let (Some(known), Some(chain)) =
            (self.known.get_mut(index), self.rules.chains.get_mut(index))
        else {
            return Ok(());
        };
        let (family, table, name) = &known.key;
        let context = context(*family, owners);
        let question = Question {
            part: Some(name),
            ..Question::of_table(Kind::Rule, *family, table)
        };
        let sets = &mut self.sets;
        let (rules, is_foreign) = self.source.dump(
            question,
            |(rules, is_foreign): &mut (Vec<Rule>, bool), _, object| {
                let expressions = find(object, 4).unwrap_or_default();
                let reading = rule::read(expressions, (*family, table), context, sets);
                *is_foreign |= reading.is_foreign_to_iptables;
                rules.extend(reader::rules_of(object, reading));
            },
        )?;
        chain.rules.retain(|rule| rule.handle == 0);
        chain.rules.extend(rules);
        known.is_foreign_to_iptables = is_foreign;
        known.sets = sets.take_asked();
        Ok(())
    }

    /// Sets the program that changes each table.
    fn name_tables(&mut self, owners: &Owners<'_>) {
        let mut groups: HashMap<(u8, &str), Vec<usize>> = HashMap::new();
        for (index, known) in self.known.iter().enumerate() {
            let table = (known.key.0, known.key.1.as_str());
            groups.entry(table).or_default().push(index);
        }
        for ((number, _), indices) in groups {
            let is_foreign = |index: &usize| {
                let known = self.known.get(*index);
                known.is_some_and(|known| known.is_foreign_to_iptables)
            };
            let chains = &mut self.rules.chains;
            let mut of_table = indices.iter().filter_map(|index| chains.get(*index));
            let program = rule::family_of_table(number)
                .filter(|_| of_table.all(reader::is_of_iptables) && !indices.iter().any(is_foreign))
                .and_then(|family| (owners.iptables)(family));
            let program = program.unwrap_or_else(|| "nft".to_owned());
            for index in indices {
                if let Some(chain) = chains.get_mut(index) {
                    chain.table.program.clone_from(&program);
                }
            }
        }
    }

    /// Names the rules of a chain that was read.
    fn finish(&mut self, index: usize) {
        let Some((known, chain)) = self.known.get(index).zip(self.rules.chains.get_mut(index))
        else {
            return;
        };
        // then nft changes the table, not iptables
        if known.is_foreign_to_iptables && !chain.table.is_nft() {
            self.stale.add(known.key.0, known.key.1.clone());
        }
        reader::name_rules(chain, 0);
    }
}

fn context<'a>(family: u8, owners: &'a Owners<'_>) -> Context<'a> {
    Context {
        family: rule::family_of_table(family),
        protocol: None,
        interfaces: owners.interfaces(),
    }
}
