//! Firewall drivers: they carry out the decisions of the ledger and report what the firewall said.
//!
//! A driver keeps no deadline and never reports a failed command as done (invariant 10). If the kernel can end a grant by
//! itself, the driver writes the end into the firewall (invariant 4).

use std::collections::BTreeSet;

pub use crate::model::grant::Change;
use crate::model::grant::{Grant, GrantId};
use crate::model::self_test::FirewallState;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

pub(crate) mod command;
mod error;
pub(crate) mod host;
pub(crate) mod host_rule;
pub(crate) mod host_set;
pub mod iptables;
pub mod memory;
pub mod nftables;
mod rule_words;
mod xtables_module;

pub use error::FirewallError;

/// What a rule for one service sends to a group of NFLOG, so that a flood of strangers costs little.
const LOGGED_EACH_SECOND: u32 = 5;
const LOGGED_AT_ONCE: u32 = 20;

/// The longest IPv4 header, and the ports behind it.
const LOGGED_BYTES: u32 = 64;

/// A firewall driver. `iptables`, `nftables`, `command` and `memory` (tests) implement it.
pub trait FirewallDriver: Send {
    /// The name in logs and status, such as `iptables`.
    fn name(&self) -> &'static str;

    /// Finds out whether the driver can work on this host, and leaves nothing behind. [`FirewallDriver::kernel_expiry`] is
    /// known afterwards.
    fn probe(&mut self) -> Result<(), FirewallError>;

    /// Installs the chains, the protection and exactly these live grants. Established connections are never cut. A second
    /// call does no harm and repairs changes of others. After an error nothing may be counted as installed.
    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError>;

    /// Carries out a batch in order, in as few steps as possible. One result for each change, in the same order. A failed
    /// change leaves nothing half open. Closing a missing grant succeeds. A driver may refuse every change before `install`.
    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>>;

    /// As [`apply`](Self::apply), for one change. A driver may first prepare it, or restore what is installed. Then it asks
    /// `is_wanted`, at most once, which may take milliseconds. Returns `None` if it is not wanted: then no grant has changed.
    fn apply_if(
        &mut self,
        change: &Change,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Option<Result<(), FirewallError>> {
        let changes = std::slice::from_ref(change);
        let mut results = is_wanted().then(|| self.apply(changes))?;
        let unanswered = || Err(FirewallError::Unanswered("no result".to_owned()));
        Some(results.pop().unwrap_or_else(unanswered))
    }

    /// The grants in the firewall, read from the firewall itself. An entry of Postern's that cannot be read is an error.
    /// If the kernel counts the time that is left, the end follows from that and from the time of [`FirewallDriver::tick`].
    fn list(&mut self) -> Result<Vec<Grant>, FirewallError>;

    /// Whether everything that was installed and applied is still in the firewall: the protection, the jumps to it, and
    /// every grant before its end. `false` means that another program changed it, or that an answer was lost; then `install`
    /// again. Changes nothing. Called once or twice a second, so it must be cheap. Rules of others before Postern's do not
    /// count.
    fn verify(&mut self) -> Result<bool, FirewallError>;

    /// Grants that somebody removed from the firewall since the last call. They are to be closed.
    fn take_removed(&mut self) -> BTreeSet<GrantId> {
        BTreeSet::new()
    }

    /// Removes everything that Postern ever put into the firewall. Succeeds if there is nothing.
    fn remove(&mut self) -> Result<(), FirewallError>;

    /// Whether the kernel itself ends each grant; if not, the reason for the log.
    fn kernel_expiry(&self) -> Result<(), FirewallError>;

    /// Whether a rule set that was saved with grants opens none of them when it is loaded; if it does, why.
    fn ignores_saved(&self) -> Result<(), FirewallError> {
        Ok(())
    }

    /// Whether grants open here now; if not, why. Then [`FirewallDriver::apply`] refuses to open.
    fn opens(&self) -> Result<(), FirewallError> {
        Ok(())
    }

    /// What the host's rules do with each service, for `posternd status`.
    fn state(&self) -> FirewallState {
        FirewallState::default()
    }

    /// How often it has put rules back into the host's own chains.
    fn repairs(&self) -> u64 {
        0
    }

    /// Sets the wall clock's time, which all ends refer to. Called before each batch.
    fn tick(&mut self, now: Timestamp);

    /// The end of a grant that should end at `until`: never before it, and less than a second after. A driver with costly
    /// batches rounds, so that ends coincide.
    fn end(&self, until: Timestamp) -> Timestamp {
        until
    }

    /// How many grants are closed in one batch at most, so that orders do not wait too long for it.
    fn batch(&self) -> usize {
        512
    }
}
