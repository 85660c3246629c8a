//! What stands in the firewall is looked at, and put right where somebody else changed it or the clock was set.
//!
//! Whether it stands the driver says; that it is put back whole, with what is live and nothing else, is decided here.

use tracing::{info, warn};

use super::{Executor, tell_closed};
use crate::adapters::firewall::FirewallError;
use crate::model::grant::{Change, Grant};
use crate::model::time::{ClockStep, Timestamp};

impl Executor {
    /// The clock was set: everything keeps the time that it has left, and the next look writes the ends into the firewall anew.
    pub fn clock_was_set(&mut self, step: ClockStep) {
        self.ledger.shift(step);
        self.trial = self.trial.map(|end| end.stepped(step));
        self.tally.started = self.tally.started.stepped(step);
        self.rested = Timestamp::default();
        self.is_misdated = true;
    }

    /// Looks whether the firewall holds what it should. What somebody else has changed is put back with all live grants.
    pub fn look(&mut self, now: Timestamp) {
        if let Some(hooks) = self.hooks.as_mut() {
            hooks.go_on();
        }
        self.backend.tick(now);
        let stands = if self.is_misdated {
            Ok(false)
        } else {
            self.backend.verify()
        };
        let trouble = match (stands, self.is_misdated) {
            (Ok(true), _) => None,
            (Ok(false), true) => self
                .put_back(now)
                .err()
                .map(|error| format!("the ends of grants can't be written anew: {error}")),
            (Ok(false), false) => self.put_back(now).err().map(|error| {
                format!("the firewall was changed by somebody else and can't be put back: {error}")
            }),
            (Err(error), _) => Some(format!("the firewall can't be looked at: {error}")),
        };
        match (&trouble, &self.trouble) {
            (Some(now), before) if before.as_ref() != Some(now) => warn!("{now}; trying again"),
            (None, Some(_)) => info!("the firewall is as it should be again"),
            _ => {}
        }
        self.trouble = trouble;
    }

    /// Protection and live grants as they should be, whatever stands there.
    pub(super) fn put_back(&mut self, now: Timestamp) -> Result<(), FirewallError> {
        let (live, over): (Vec<Grant>, Vec<Grant>) = self
            .ledger
            .grants()
            .cloned()
            .partition(|grant| grant.until > now);
        self.backend.install(&self.protection, &live)?;
        if std::mem::take(&mut self.is_misdated) {
            info!(
                grants = live.len(),
                "the ends of {} grants were written anew",
                live.len()
            );
        } else {
            warn!(
                grants = live.len(),
                "the firewall was changed by somebody else; protection and {} grants were put back",
                live.len()
            );
        }
        // What was due is not among those that were put back.
        let ended = over
            .iter()
            .filter_map(|grant| self.clearance.ends_connections(grant))
            .collect();
        for change in over.into_iter().map(Change::Close) {
            self.done(&change);
            tell_closed(&change, Ok(()), "its time is up");
        }
        self.end_connections(ended);
        Ok(())
    }
}
