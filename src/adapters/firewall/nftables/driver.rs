//! The driver itself: the kernel's table, what the driver last installed in it, and how both stay equal.

use std::fmt::Display;

use rustix::io::Errno;

use super::elements::ElementChange;
use super::grant_sets::{self, ChangeError};
use super::installed::{self, Installed};
use super::kernel::Kernel;
use super::nat::Nat;
use super::open_grants::{OpenGrants, Undo};
use super::record::RecordError;
use super::rule::Chain;
use super::sets::Set;
use super::table::{self, TABLE};
use super::{errors, messages};
use crate::adapters::firewall::{Change, FirewallDriver, FirewallError};
use crate::adapters::netlink::{Message, NetlinkError, RulesetEvents};
use crate::model::grant::Grant;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

/// The nftables driver.
#[derive(Debug)]
pub struct Nftables {
    kernel: Kernel,
    now: Timestamp,
    /// An answer was lost, so the kernel's table is not known.
    is_doubtful: bool,
    installed: Option<Installed>,
    /// What others do; `None` if the kernel does not tell.
    events: Option<RulesetEvents>,
    /// The table was intact, and nobody else has touched it since.
    is_intact: bool,
}

impl Nftables {
    /// Opens nf_tables in the network namespace of the calling thread.
    pub fn open() -> Result<Self, FirewallError> {
        Ok(Self {
            kernel: Kernel::open()?,
            now: Timestamp::default(),
            is_doubtful: false,
            installed: None,
            events: RulesetEvents::subscribe().ok(),
            is_intact: false,
        })
    }

    /// Makes all changes here and in the kernel, or none. `false` if they were not wanted.
    fn commit(
        &mut self,
        changes: &[Change],
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<bool, FirewallError> {
        let has_ranks = |installed: &Installed| !installed.grants.ranks_run_out();
        if self.is_doubtful || !self.installed.as_ref().is_none_or(has_ranks) {
            self.reinstall()?;
        }
        let Some(installed) = &mut self.installed else {
            return Err(FirewallError::NotInstalled(format!(
                "nftables: table inet {TABLE} is not set up yet; nothing was changed"
            )));
        };
        let mut undo = Vec::with_capacity(changes.len());
        let result = collect(installed, changes, &mut undo)
            .and_then(|elements| self.send_or_reinstall(elements, is_wanted));
        if let (Err(_) | Ok(false), Some(installed)) = (&result, &mut self.installed) {
            for undo in undo.into_iter().rev() {
                installed.grants.undo(undo);
            }
        }
        result
    }

    fn send_or_reinstall(
        &mut self,
        changes: Vec<ElementChange>,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<bool, FirewallError> {
        let sent = grant_sets::send(&mut self.kernel, TABLE, self.now, changes, is_wanted);
        self.is_doubtful |= matches!(sent, Err(ChangeError::Lost(_)));
        match sent {
            Ok(is_done) => Ok(is_done),
            Err(ChangeError::Refused(error)) => Err(error),
            Err(ChangeError::Diverged(error) | ChangeError::Lost(error)) => {
                tracing::warn!(%error, "nftables: table inet {TABLE} was changed; installing it again");
                let done = self.reinstall().map_err(|again| error.and(again));
                done.map(|()| true)
            }
        }
    }

    fn reinstall(&mut self) -> Result<(), FirewallError> {
        let Some(installed) = &self.installed else {
            return Ok(());
        };
        let protection = installed.protection.clone();
        let live: Vec<Grant> = installed.grants.grants().cloned().collect();
        self.install(&protection, &live)
    }

    /// The kernel may be built without the match for sockets.
    fn may_lack_sockets(&self, protection: &Protection) -> bool {
        let matches = protection.socket_ports().next().is_some();
        !self.is_doubtful && (matches || !protection.sequence_ports.is_empty())
    }

    fn replace_table(
        &mut self,
        chains: &[Chain],
        elements: &[ElementChange],
    ) -> Result<(), FirewallError> {
        // Where others flushed the ruleset there is no table. To delete one costs the kernel milliseconds.
        let is_absent = self.kernel.is_dormant(TABLE);
        let is_absent = is_absent.is_err_and(|error| error.is_all(Errno::NOENT));
        let table = table_messages(TABLE, Set::all(), chains, is_absent);
        let mut names: Vec<&dyn Display> = Vec::new();
        names.extend(table.iter().map(|(name, _)| name as &dyn Display));
        names.extend(elements.iter().map(|change| change as &dyn Display));
        let now = self.now;
        let changes = elements.iter();
        let changes = changes.map(|change| messages::change_element(TABLE, change, now));
        let messages = table.iter().map(|(_, message)| message.clone());
        let done = self.kernel.transaction(messages.chain(changes));
        done.map_err(|error| {
            let NetlinkError::Refused(refusals) = &error else {
                self.is_doubtful = true;
                return errors::failed(&"setting up the table", &error);
            };
            let refusal = refusals.first();
            match refusal.and_then(|refusal| Some((names.get(refusal.index?)?, refusal))) {
                Some((name, refusal)) => errors::refused(name, refusal),
                None => errors::failed(&"setting up the table", &error),
            }
        })
    }
}

/// Makes the changes in the driver's memory and returns those of elements. After an error, some changes are made and
/// have an undo.
fn collect(
    installed: &mut Installed,
    changes: &[Change],
    undo: &mut Vec<Undo>,
) -> Result<Vec<ElementChange>, FirewallError> {
    let mut elements = Vec::new();
    for change in changes {
        let is_missing = |grant: &&Grant| {
            let mut forwards = grant.forwards.iter();
            forwards.any(|forward| !installed.nat.has(forward))
        };
        if let Some(grant) = change.grants().1.filter(is_missing) {
            return Err(FirewallError::NotInstalled(format!(
                "nftables: {grant}: address translation is not set up, because no user has a service that forwards; reload the config"
            )));
        }
        let done = installed.grants.change(change, &mut elements);
        undo.push(done.map_err(not_recorded)?);
    }
    Ok(elements)
}

pub(super) fn not_recorded(error: RecordError) -> FirewallError {
    FirewallError::Unsupported(format!("nftables: {error}"))
}

/// Each message with what it does. A table that is there is replaced.
pub(super) fn table_messages(
    table: &str,
    sets: impl Iterator<Item = Set>,
    chains: &[Chain],
    is_absent: bool,
) -> Vec<(&'static str, Message)> {
    let add = ("adding the table", messages::new_table(table));
    let mut messages = vec![add.clone()];
    if !is_absent {
        let delete = ("deleting the table", messages::delete_table(table));
        messages.extend([delete, add]);
    }
    for (number, set) in (1..).zip(sets) {
        messages.push(("adding a set", messages::new_set(table, set, number)));
    }
    for chain in chains {
        messages.push(("adding a chain", messages::new_chain(table, chain)));
    }
    for chain in chains {
        let rules = chain.rules.iter();
        let rules = rules.map(|rule| messages::new_rule(table, chain, rule));
        messages.extend(rules.map(|rule| ("adding a rule", rule)));
    }
    messages
}

impl FirewallDriver for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn probe(&mut self) -> Result<(), FirewallError> {
        self.list().map(|_| ())
    }

    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        let mut grants = OpenGrants::default();
        let mut elements = Vec::new();
        for grant in live {
            let _ = grants
                .change(&Change::Open(grant.clone()), &mut elements)
                .map_err(not_recorded)?;
        }
        let forwards = live.iter().flat_map(|grant| &grant.forwards);
        let nat = Nat::of(forwards.chain(&protection.forwards));
        let mut chains = table::chains(protection, &nat);
        if let Err(error) = self.replace_table(&chains, &elements) {
            if !self.may_lack_sockets(protection) {
                return Err(error);
            }
            let protection = Protection {
                local_sockets: false,
                ..protection.clone()
            };
            chains = table::chains(&protection, &nat);
            self.replace_table(&chains, &elements)?;
            tracing::warn!(
                "nftables: a UDP service of this host on a knock port would be shut: {error}"
            );
        }
        self.installed = Some(Installed {
            protection: protection.clone(),
            nat,
            grants,
            rules: installed::list_rules(&mut self.kernel, TABLE, &chains),
        });
        self.is_doubtful = false;
        self.is_intact = false;
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        let mut commit = |changes: &[Change]| self.commit(changes, &mut || true).map(drop);
        match commit(changes) {
            Ok(()) => vec![Ok(()); changes.len()],
            Err(error) if changes.len() == 1 => vec![Err(error)],
            // nothing of the batch is done, so each change is tried alone
            Err(_) => changes
                .iter()
                .map(|change| commit(std::slice::from_ref(change)))
                .collect(),
        }
    }

    fn apply_if(
        &mut self,
        change: &Change,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Option<Result<(), FirewallError>> {
        match self.commit(std::slice::from_ref(change), is_wanted) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        grant_sets::read(&mut self.kernel, TABLE, self.now)
    }

    fn verify(&mut self) -> Result<bool, FirewallError> {
        let Some(installed) = &self.installed else {
            return Ok(true);
        };
        if self.is_doubtful {
            // the kernel may have made a change that was reported as failed
            return Ok(false);
        }
        // Before the table is read, so that a later change is found the next time.
        let port = self.kernel.port();
        let is_touched = grant_sets::is_touched(self.events.as_mut(), port, TABLE);
        if self.is_intact && !is_touched {
            return Ok(true);
        }
        // The events are read, so a table that cannot be read now is compared the next time.
        self.is_intact = false;
        self.is_intact = installed
            .is_intact(&mut self.kernel, self.now)
            .map_err(|error| errors::failed(&format_args!("reading table inet {TABLE}"), &error))?;
        Ok(self.is_intact)
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.kernel
            .transaction([messages::new_table(TABLE), messages::delete_table(TABLE)])
            .map_err(|error| errors::failed(&"deleting the table", &error))?;
        self.installed = None;
        Ok(())
    }

    fn kernel_expiry(&self) -> Result<(), FirewallError> {
        Ok(())
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }
}
