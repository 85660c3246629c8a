//! What an event of the kernel changes in the rules as they were read.

use super::super::dump::Dumps;
use super::super::reader::{self, Owners, family};
use super::super::rule;
use super::{Known, View, context};
use crate::adapters::netlink::Event;
use crate::adapters::netlink::attributes::{find, text};
use crate::core::host_rules::{Rule, Sought};

// linux/netfilter/nf_tables.h: types of events
const NEW_TABLE: u8 = 0;
const DELETE_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
const DELETE_CHAIN: u8 = 5;
const NEW_RULE: u8 = 6;
const DELETE_RULE: u8 = 8;
const NEW_ELEMENT: u8 = 12;
const DELETE_ELEMENT: u8 = 14;

impl<D: Dumps> View<D> {
    /// Takes over what an event says. Returns whether the rules may have changed.
    pub(in crate::adapters::firewall::host) fn take(
        &mut self,
        event: &Event<'_>,
        own_table: &str,
        owners: &Owners<'_>,
    ) -> bool {
        let Some(table) = event.table().filter(|_| family(event.family).is_some()) else {
            return false;
        };
        let named = |kind| find(event.attributes, kind).map(text).unwrap_or_default();
        match event.kind {
            NEW_TABLE | DELETE_TABLE => self.stale.add(event.family, table),
            NEW_CHAIN | DELETE_CHAIN => {
                let key = (event.family, table.clone(), named(3));
                let chain = reader::chain(event.family, event.attributes);
                let is_new = chain.is_some_and(|chain| Sought::is_wanted(&chain));
                if !is_new && !self.by_key.contains_key(&key) && self.sought.is_some() {
                    return false;
                }
                self.stale.add(event.family, table);
            }
            NEW_RULE | DELETE_RULE => {
                let key = (event.family, table, named(2));
                let index = self.by_key.get(&key).copied();
                let is_read = |index: &usize| {
                    let known = self.known.get(*index);
                    known.is_some_and(|known| !known.hooks.is_empty())
                };
                let Some(index) = index.filter(is_read) else {
                    return false;
                };
                if self.change_rule(index, event, owners).is_none() {
                    self.dirty.insert(index);
                }
            }
            // what the driver itself grants
            NEW_ELEMENT | DELETE_ELEMENT if table == own_table => return false,
            NEW_ELEMENT | DELETE_ELEMENT => {
                let set = named(2);
                let uses = |known: &Known| {
                    known.key.0 == event.family && known.key.1 == table && known.sets.contains(&set)
                };
                let users = self.known.iter().enumerate();
                let users: Vec<usize> = users
                    .filter(|(_, known)| uses(known))
                    .map(|(index, _)| index)
                    .collect();
                self.dirty.extend(&users);
                return !users.is_empty();
            }
            _ => return false,
        }
        true
    }

    /// `None` if the event does not fit the chain as it was read.
    fn change_rule(&mut self, index: usize, event: &Event<'_>, owners: &Owners<'_>) -> Option<()> {
        let table = self.known.get(index).map(|known| &known.key)?;
        if self.stale.has(table.0, &table.1) || self.dirty.contains(&index) {
            return None;
        }
        self.tells_appended |= event.is_appended;
        let (known, chain) = (
            self.known.get_mut(index)?,
            self.rules.chains.get_mut(index)?,
        );
        let handle = |kind| {
            let value = find(event.attributes, kind)?;
            value.try_into().ok().map(u64::from_be_bytes)
        };
        let of = |wanted: u64| move |rule: &Rule| rule.handle == wanted;
        let own = handle(3)?;
        let present = chain.rules.iter().position(of(own));
        let changed_from = if event.kind == DELETE_RULE {
            chain.rules.retain(|rule| rule.handle != own);
            present?
        } else {
            if present.is_some() || event.is_replacing {
                return None;
            }
            let first = chain
                .rules
                .iter()
                .take_while(|rule| rule.handle == 0)
                .count();
            let at = match handle(6) {
                Some(before) => chain.rules.iter().rposition(of(before))?.checked_add(1)?,
                None if event.is_appended => chain.rules.len(),
                // the kernel names no rule before the first one, nor before the last one
                None if first == chain.rules.len() || self.tells_appended => first,
                None => return None,
            };
            let expressions = find(event.attributes, 4).unwrap_or_default();
            let (family, table, _) = &known.key;
            let table = (*family, table.as_str());
            self.sets.forget();
            let reading = rule::read(expressions, table, context(*family, owners), &mut self.sets);
            known.sets.append(&mut self.sets.take_asked());
            if reading.is_foreign_to_iptables && !chain.table.is_nft() {
                self.stale.add(table.0, table.1.to_owned());
            }
            let new: Vec<Rule> = reader::rules_of(event.attributes, reading).collect();
            let leads_on = |rule: &Rule| {
                let mut hooks = known.hooks.iter();
                let sought = self.sought.as_ref();
                sought.is_some_and(|sought| hooks.any(|hook| sought.leads_on(rule, chain, *hook)))
            };
            if new.iter().any(leads_on) {
                return None;
            }
            chain.rules.splice(at..at, new);
            at
        };
        reader::name_rules(chain, changed_from);
        Some(())
    }
}
