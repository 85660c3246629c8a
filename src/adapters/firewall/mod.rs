//! Firewall drivers: they carry out what the ledger decided, and report honestly what the firewall said.
//!
//! A driver decides nothing, keeps no deadline and never counts a failed command as done (invariant 10). A grant's
//! own end is written into the kernel wherever the kernel can enforce it (invariant 4).

pub use crate::model::grant::Change;
use crate::model::grant::Grant;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

pub mod command;
mod error;
pub(crate) mod host;
pub mod iptables;
pub mod memory;
pub mod nftables;

pub use error::FirewallError;

/// A firewall driver. `iptables`, `nftables`, `command` and `memory` (tests) implement it.
pub trait FirewallDriver: Send {
    /// `iptables`, as logs and status say it.
    fn name(&self) -> &'static str;

    /// Whether the driver can work here at all, found out without leaving anything behind; afterwards
    /// [`FirewallDriver::kernel_expiry`] is known.
    ///
    /// # Errors
    /// What is missing, and what to do.
    fn probe(&mut self) -> Result<(), FirewallError>;

    /// Puts the chains and the protection in place, in a way that never interrupts a connection that
    /// connection tracking knows as established, and makes the given grants, and no others, the ones that are open. Running it again is harmless and repairs what others changed.
    ///
    /// # Errors
    /// Nothing may be counted as in place.
    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError>;

    /// Carries out a batch, in order, in as few steps as the firewall allows. One result for each change, in the same
    /// order; a change that failed has left nothing half open. Closing what is already gone is done. A driver may refuse
    /// every change until it has installed: only then does it know what stands in the firewall.
    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>>;

    /// The grants that stand in the firewall now, read from the firewall itself. Where the kernel counts what is left of a grant, and
    /// [`FirewallDriver::tick`] has told the time, the end is of that time, though the clock was set since it was written down. An entry of Postern's that can't be read
    /// is an error, never left out.
    ///
    /// # Errors
    /// What the firewall said.
    fn list(&mut self) -> Result<Vec<Grant>, FirewallError>;

    /// Whether what the last successful [`FirewallDriver::install`] put in place, changed by what was applied since, still stands: the
    /// protection, the way packets take to it, and every grant whose end has not come. `false` means that somebody else changed it, or
    /// that an answer was lost and nobody knows, and an installation is needed. Where nothing was installed, nothing can be missing. Reads the firewall and changes nothing; it is
    /// called once or twice a second, so it must be cheap. It need not see a rule of others in front of Postern's.
    ///
    /// # Errors
    /// What the firewall said; then nothing is known.
    fn verify(&mut self) -> Result<bool, FirewallError>;

    /// Removes all that Postern ever put into the firewall. Done also when there is nothing.
    ///
    /// # Errors
    /// What could not be removed, and why.
    fn remove(&mut self) -> Result<(), FirewallError>;

    /// Whether the kernel itself ends each grant; where not, the sentence for the log that says why.
    fn kernel_expiry(&self) -> Result<(), String>;

    /// Tells the driver the wall clock's time, by which all ends are reckoned; called before each batch.
    fn tick(&mut self, now: Timestamp);

    /// The end of a grant that should end then: never before, and less than a second after. A driver for which every batch is dear
    /// lets ends fall together.
    fn end(&self, until: Timestamp) -> Timestamp {
        until
    }

    /// How many grants are closed in one batch at most, so that orders do not wait too long for it.
    fn batch(&self) -> usize {
        512
    }
}
