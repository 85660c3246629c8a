//! A table that makes grants of the iptables driver count, and that no file can hold.
//!
//! A file of iptables-save holds grants. When it is loaded at boot, they must open nothing. So a grant counts only for
//! packets that this table has marked before. iptables-save leaves the table out. `nft` lists it, but its set comes back
//! with other keys (`Field::Protocol`), so that a loaded listing marks nothing. xt_recent would be such a switch too, but
//! `nft` cannot load what it lists of it, and then refuses the whole file.

use rustix::io::Errno;

use super::driver::table_messages;
use super::expressions::{self, PortOf};
use super::installed::list_rules;
use super::kernel::{Kernel, Rules};
use super::rule::{Chain, Hook, Rule, all, service};
use super::sets::{RANK_MIDDLE, Set};
use super::{errors, messages};
use crate::adapters::firewall::FirewallError;
use crate::adapters::netlink::NetlinkError;
use crate::core::host_rules::accept_rules::MARKING_PRIORITY;
use crate::model::packet_mark::PacketMark;
use crate::model::service::PROTOCOLS;
use crate::model::settings::Protection;

/// The table, of family inet.
pub(crate) const LIVE_TABLE: &str = "postern_live";

// Translation of addresses is at -100.
const BEFORE_TRANSLATION: i32 = -101;
const AFTER_TRANSLATION: i32 = -99;
const AFTER_ALL: i32 = i32::MAX - 1;

/// The table in the kernel, and what was installed there last.
#[derive(Debug)]
pub(crate) struct LiveTable {
    kernel: Kernel,
    installed: Option<(Vec<Chain>, Rules)>,
}

impl LiveTable {
    pub(crate) fn open() -> Result<Self, FirewallError> {
        Ok(Self {
            kernel: Kernel::open()?,
            installed: None,
        })
    }

    /// From now on grants count. `nat` stands for those that translate addresses. Returns whether this kernel can do it.
    pub(crate) fn install(
        &mut self,
        protection: &Protection,
        nat: bool,
    ) -> Result<bool, FirewallError> {
        let chains = chains(protection, nat);
        let is_known = self.installed.as_ref().is_some_and(|one| one.0 == chains);
        if is_known && self.is_intact()? {
            return Ok(true);
        }
        let is_absent = self.kernel.is_dormant(LIVE_TABLE);
        let is_absent = is_absent.is_err_and(|error| error.is_all(Errno::NOENT));
        let sets = std::iter::once(Set::LIVE);
        let table = table_messages(LIVE_TABLE, sets, &chains, is_absent).into_iter();
        let on = messages::add_lasting(LIVE_TABLE, Set::LIVE, &keys());
        let messages = table.map(|(_, message)| message).chain([on]);
        match self.kernel.transaction(messages) {
            Ok(()) => {}
            Err(error @ NetlinkError::Refused(_)) => {
                let error = failed("adding", &error);
                tracing::warn!(%error, "a saved file of iptables will open the grants that it holds");
                return Ok(false);
            }
            Err(error) => return Err(failed("adding", &error)),
        }
        let rules = list_rules(&mut self.kernel, LIVE_TABLE, &chains);
        self.installed = Some((chains, rules));
        Ok(true)
    }

    /// Whether the table is as it was installed.
    pub(crate) fn is_intact(&mut self) -> Result<bool, FirewallError> {
        let Some(installed) = self.installed.take() else {
            return Ok(true);
        };
        let compared = self.compare(&installed.1);
        self.installed = Some(installed);
        present(compared)
    }

    fn compare(&mut self, rules: &Rules) -> Result<bool, NetlinkError> {
        Ok(!self.kernel.is_dormant(LIVE_TABLE)?
            && self.kernel.rules(LIVE_TABLE)? == *rules
            && self.has_keys()?)
    }

    /// Whether grants count now. Another driver may have installed the table.
    pub(crate) fn is_live(&mut self) -> Result<bool, FirewallError> {
        present(self.has_keys())
    }

    fn has_keys(&mut self) -> Result<bool, NetlinkError> {
        let elements = self.kernel.elements(LIVE_TABLE, Set::LIVE)?;
        let has = |key: &Vec<u8>| elements.iter().any(|element| element.key == *key);
        Ok(keys().iter().all(has))
    }

    pub(crate) fn remove(&mut self) -> Result<(), FirewallError> {
        self.installed = None;
        let changes = [
            messages::new_table(LIVE_TABLE),
            messages::delete_table(LIVE_TABLE),
        ];
        let done = self.kernel.transaction(changes);
        done.map_err(|error| failed("deleting", &error))
    }
}

fn present(found: Result<bool, NetlinkError>) -> Result<bool, FirewallError> {
    match found {
        Err(error) if error.is_all(Errno::NOENT) => Ok(false),
        found => found.map_err(|error| failed("reading", &error)),
    }
}

fn failed(what: &str, error: &NetlinkError) -> FirewallError {
    errors::failed(&format_args!("{what} table inet {LIVE_TABLE}"), error)
}

/// The protocols that a grant can have.
fn keys() -> Vec<Vec<u8>> {
    let numbers = PROTOCOLS.iter();
    numbers
        .map(|(_, number)| [u32::from(*number), RANK_MIDDLE].map(u32::to_be_bytes))
        .map(|words| words.concat())
        .collect()
}

/// Others may still need what they wrote into the same bits, except in packets that get in with a grant only.
fn chains(protection: &Protection, nat: bool) -> Vec<Chain> {
    let mark = protection.packet_mark;
    let (live, none) = (mark.live(), PacketMark { value: 0, ..mark });
    let clear = |mark: PacketMark| {
        all([
            &expressions::has_packet_mark(mark),
            &expressions::set_packet_mark(0, mark.mask),
        ])
    };
    let set = all([
        &expressions::in_set(Set::LIVE, PortOf::Packet),
        &expressions::set_packet_mark(live.value, live.mask),
    ]);
    let hidden = protection.services.iter();
    let hidden = hidden.map(|ports| all([&service(*ports), &set]));
    let behind = protection.behind.iter().filter(|_| protection.hide_behind);
    let behind = behind.map(|(network, ports)| {
        let target = expressions::target_in(*network);
        all([&target, &service(*ports), &set])
    });
    let marking = |closed: Vec<Rule>| {
        let unused = all([&expressions::has_packet_mark(none), &set]);
        [&[clear(mark)], &closed[..], &[unused]].concat()
    };
    let chain = |name, number, priority, rules| Chain {
        name,
        hook: Hook::Packet {
            number,
            kind: "filter",
            priority,
        },
        rules,
    };
    let input = marking(hidden.collect());
    let forward = marking(behind.collect());
    let cleared = vec![clear(live), clear(mark)];
    let mut chains = vec![
        chain("input", 1, MARKING_PRIORITY, input),
        chain("after_input", 1, AFTER_ALL, cleared.clone()),
        chain("forward", 2, MARKING_PRIORITY, forward),
        chain("after_forward", 2, AFTER_ALL, cleared),
    ];
    if nat {
        let (before, after) = (BEFORE_TRANSLATION, AFTER_TRANSLATION);
        chains.extend([
            chain("prerouting", 0, before, marking(Vec::new())),
            chain("after_prerouting", 0, after, vec![clear(live)]),
        ]);
    }
    chains
}
