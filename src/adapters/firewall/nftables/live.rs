//! A table that makes grants of the iptables driver count, and that no file can hold.
//!
//! A file of iptables-save holds grants. When it is loaded at boot, they must open nothing. So a grant counts only for
//! packets that this table has marked before. iptables-save leaves the table out. `nft` lists it, but its set comes back
//! with other keys (`Field::Protocol`), so that a loaded listing marks nothing. xt_recent would be such a switch too, but
//! `nft` cannot load what it lists of it, and then refuses the whole file.
//!
//! Grants of single ports are in sets of this table. So they need neither a program nor a rule each. Sets of ipset would
//! serve too, but `nft` cannot load what it lists of their match, either.

use rustix::io::Errno;

use super::driver::{not_recorded, table_messages};
use super::elements::ElementChange;
use super::grant_sets::{self, ChangeError};
use super::installed::list_rules;
use super::kernel::{Kernel, Rules};
use super::live_chains::chains;
use super::open_grants::OpenGrants;
use super::rule::Chain;
use super::sets::{RANK_MIDDLE, Set};
use super::{elements, errors, messages};
use crate::adapters::firewall::{Change, FirewallError};
use crate::adapters::netlink::{NetlinkError, RulesetEvents};
use crate::model::address::Family;
use crate::model::grant::{Grant, GrantId};
use crate::model::service::PROTOCOLS;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

/// The table, of family inet.
pub(crate) const LIVE_TABLE: &str = "postern_live";

/// The table in the kernel, and what was installed there last.
#[derive(Debug)]
pub(crate) struct LiveTable {
    kernel: Kernel,
    now: Timestamp,
    installed: Option<Installed>,
    /// A change failed, so the kernel's table is not known.
    is_doubtful: bool,
    /// What others do; `None` if the kernel does not tell.
    events: Option<RulesetEvents>,
    /// The table was intact, and nobody else has touched it since.
    is_intact: bool,
}

#[derive(Debug)]
struct Installed {
    chains: Vec<Chain>,
    rules: Rules,
    grants: OpenGrants,
}

impl LiveTable {
    pub(crate) fn open() -> Result<Self, FirewallError> {
        Ok(Self {
            kernel: Kernel::open()?,
            now: Timestamp::default(),
            installed: None,
            is_doubtful: false,
            events: RulesetEvents::subscribe().ok(),
            is_intact: false,
        })
    }

    /// Whether a grant is for one address, and for single ports or echo requests of the gate or of a host behind it. Such
    /// a grant can be in the sets of this table, where it costs the same whatever else is open.
    pub(crate) fn takes(grant: &Grant) -> bool {
        let family = Family::of_network(grant.allow);
        !grant.services.is_empty()
            && grant.forwards.is_empty()
            && grant
                .target
                .is_none_or(|target| Family::of(target) == family)
            && elements::of_grant(grant)
                .iter()
                .all(|one| !one.set.has_rank())
    }

    pub(crate) fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// From now on grants count, and exactly these are in the sets. `nat` stands for grants that translate addresses.
    /// Returns whether this kernel can do it.
    pub(crate) fn install(
        &mut self,
        protection: &Protection,
        nat: bool,
        live: &[&Grant],
    ) -> Result<bool, FirewallError> {
        let chains = chains(protection, nat);
        let is_same =
            |one: &Installed| one.chains == chains && one.grants.grants().eq(live.iter().copied());
        if self.installed.as_ref().is_some_and(is_same) && self.is_intact()? {
            return Ok(true);
        }
        self.put(chains, live)
    }

    fn put(&mut self, chains: Vec<Chain>, live: &[&Grant]) -> Result<bool, FirewallError> {
        let (mut grants, mut elements) = (OpenGrants::default(), Vec::new());
        for grant in live {
            let open = Change::Open(Grant::clone(grant));
            let _ = grants.change(&open, &mut elements).map_err(not_recorded)?;
        }
        let is_absent = self.kernel.is_dormant(LIVE_TABLE);
        let is_absent = is_absent.is_err_and(|error| error.is_all(Errno::NOENT));
        let table = table_messages(LIVE_TABLE, Set::all_live(), &chains, is_absent).into_iter();
        let on = messages::add_lasting(LIVE_TABLE, Set::LIVE, &keys());
        let now = self.now;
        let elements = elements.iter();
        let elements = elements.map(|change| messages::change_element(LIVE_TABLE, change, now));
        let messages = table
            .map(|(_, message)| message)
            .chain([on])
            .chain(elements);
        match self.kernel.transaction(messages) {
            Ok(()) => {}
            // A kernel that took the table before can do it.
            Err(error @ NetlinkError::Refused(_)) if self.installed.is_none() => {
                let error = failed("adding", &error);
                tracing::warn!(%error, "a saved file of iptables will open the grants that it holds");
                return Ok(false);
            }
            Err(error) => {
                // The kernel may have the new table, or the old one.
                self.is_doubtful |= !matches!(error, NetlinkError::Refused(_));
                return Err(failed("adding", &error));
            }
        }
        let rules = list_rules(&mut self.kernel, LIVE_TABLE, &chains);
        self.installed = Some(Installed {
            chains,
            rules,
            grants,
        });
        self.is_doubtful = false;
        self.is_intact = false;
        Ok(true)
    }

    /// Whether the grant is in the sets.
    pub(crate) fn has(&self, id: GrantId) -> bool {
        let installed = self.installed.as_ref();
        installed.is_some_and(|one| one.grants.has(id))
    }

    /// Opens and closes grants in the sets, with one transaction for all. If the kernel refuses that, each change is tried
    /// alone.
    pub(crate) fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        match self.commit(changes) {
            Ok(()) => vec![Ok(()); changes.len()],
            Err(error) if changes.len() == 1 => vec![Err(error)],
            Err(_) => {
                let each = changes.iter();
                each.map(|change| self.commit(std::slice::from_ref(change)))
                    .collect()
            }
        }
    }

    /// Makes all changes here and in the kernel, or none.
    fn commit(&mut self, changes: &[Change]) -> Result<(), FirewallError> {
        if self.is_doubtful {
            self.reinstall()?;
        }
        let Some(installed) = &mut self.installed else {
            let text = format!("table inet {LIVE_TABLE} is not set up yet; nothing was changed");
            return Err(FirewallError::NotInstalled(text));
        };
        let mut new = changes.iter().filter_map(|change| change.grants().1);
        if let Some(grant) = new.find(|grant| !Self::takes(grant)) {
            let why = "it is not for one address and single ports";
            return Err(FirewallError::Unsupported(format!("{grant}: {why}")));
        }
        let (mut undo, mut elements) = (Vec::with_capacity(changes.len()), Vec::new());
        let collected = changes.iter().try_for_each(|change| {
            let done = installed.grants.change(change, &mut elements);
            undo.push(done.map_err(not_recorded)?);
            Ok(())
        });
        let sent = collected.and_then(|()| self.send_or_reinstall(elements));
        if let (Err(_), Some(installed)) = (&sent, &mut self.installed) {
            for undo in undo.into_iter().rev() {
                installed.grants.undo(undo);
            }
        }
        sent
    }

    fn send_or_reinstall(&mut self, elements: Vec<ElementChange>) -> Result<(), FirewallError> {
        match grant_sets::send(
            &mut self.kernel,
            LIVE_TABLE,
            self.now,
            elements,
            &mut || true,
        ) {
            Ok(_) => Ok(()),
            Err(ChangeError::Refused(error)) => Err(error),
            Err(ChangeError::Diverged(error) | ChangeError::Lost(error)) => {
                self.is_doubtful = true;
                tracing::warn!(%error, "table inet {LIVE_TABLE} was changed; installing it again");
                self.reinstall().map_err(|again| error.and(again))
            }
        }
    }

    fn reinstall(&mut self) -> Result<(), FirewallError> {
        let Some(installed) = &self.installed else {
            return Ok(());
        };
        let chains = installed.chains.clone();
        let live: Vec<Grant> = installed.grants.grants().cloned().collect();
        let live: Vec<&Grant> = live.iter().collect();
        self.put(chains, &live).map(drop)
    }

    /// The grants in the sets.
    pub(crate) fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        grant_sets::read(&mut self.kernel, LIVE_TABLE, self.now)
    }

    /// Whether the table is as it was installed and changed.
    pub(crate) fn is_intact(&mut self) -> Result<bool, FirewallError> {
        let Some(installed) = &self.installed else {
            return Ok(true);
        };
        if self.is_doubtful {
            return Ok(false);
        }
        // Before the table is read, so that a later change is found the next time.
        let port = self.kernel.port();
        let is_touched = grant_sets::is_touched(self.events.as_mut(), port, LIVE_TABLE);
        if !self.is_intact || is_touched {
            // The events are read, so a table that cannot be read now is compared the next time.
            self.is_intact = false;
            self.is_intact = present(compare(&mut self.kernel, installed, self.now))?;
        }
        Ok(self.is_intact)
    }

    /// Whether grants count now. Another driver may have installed the table.
    pub(crate) fn is_live(&mut self) -> Result<bool, FirewallError> {
        present(has_keys(&mut self.kernel))
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

fn compare(
    kernel: &mut Kernel,
    installed: &Installed,
    now: Timestamp,
) -> Result<bool, NetlinkError> {
    let sets = Set::all_live().filter(|set| *set != Set::LIVE);
    Ok(!kernel.is_dormant(LIVE_TABLE)?
        && kernel.rules(LIVE_TABLE)? == installed.rules
        && has_keys(kernel)?
        && grant_sets::are_whole(kernel, LIVE_TABLE, sets, &installed.grants, now)?)
}

fn has_keys(kernel: &mut Kernel) -> Result<bool, NetlinkError> {
    let elements = kernel.elements(LIVE_TABLE, Set::LIVE)?;
    let has = |key: &Vec<u8>| elements.iter().any(|element| element.key == *key);
    Ok(keys().iter().all(has))
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
