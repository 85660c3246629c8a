//! iptables and ip6tables through their restore programs: one run for each family and batch, each run one transaction.
//!
//! Owns the chains `POSTERN`, `POSTERN-GRANTS`, `POSTERN-FWD` and `POSTERN-FWD-GRANTS` in table filter, where some service forwards
//! `POSTERN-DNAT` and `POSTERN-SNAT` in table nat, and nothing else there.
//! Decides nothing and runs nothing itself: programs are run by the [`Run`] it is given. Works with the nft and the legacy
//! variant alike. Carries out invariants 4 (each rule ends by itself, `-m time`), 6 and 10.

use std::path::{Path, PathBuf};

use super::{Change, FirewallDriver, FirewallError};
use crate::model::grant::Grant;
use crate::model::run::Run;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

mod batch;
mod behind;
mod comment;
mod family;
mod fault;
mod grants;
mod input;
mod list;
mod rules;
mod standing;
#[cfg(test)]
mod tests;
mod watch;

use family::Side;
use rules::Family;
pub use watch::Number;
use watch::{Runner, Watch};

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// For IPv4.
    pub v4: Pair,
    /// For IPv6; `None` where they are not installed.
    pub v6: Option<Pair>,
}

/// One family's programs, by absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// `iptables-restore` or `ip6tables-restore`.
    pub restore: PathBuf,
    /// `iptables-save` or `ip6tables-save`.
    pub save: PathBuf,
}

impl Paths {
    /// The sentence for the log where a family will have neither grants nor protection.
    pub fn warning(&self) -> Option<&'static str> {
        let text = "ip6tables-restore is not installed: over IPv6 nothing is protected and nothing can be opened; apt-get install iptables";
        self.v6.is_none().then_some(text)
    }

    /// The folders of the programs, and of those that they are links to.
    pub fn folders(&self) -> Vec<PathBuf> {
        let programs = [Some(&self.v4), self.v6.as_ref()]
            .into_iter()
            .flatten()
            .flat_map(|pair| [&pair.restore, &pair.save]);
        let both = programs
            .flat_map(|path| [Some(path.clone()), path.canonicalize().ok()])
            .flatten();
        both.filter_map(|path| path.parent().map(Path::to_path_buf))
            .collect()
    }
}

/// Deletes an empty table of iptables' nft variant: of IPv6 or not, by name.
pub type Eraser = dyn FnMut(bool, &str) -> Result<(), FirewallError> + Send;

/// The driver.
pub struct Iptables {
    run: Runner,
    erase: Box<Eraser>,
    v4: Side,
    v6: Side,
}

impl Iptables {
    /// Drives the programs at these paths. Runs none of them yet.
    pub fn new(run: Box<dyn Run + Send>, paths: Paths) -> Self {
        let leave = Box::new(|_: bool, _: &str| Ok(()));
        Self {
            run: Runner::new(run),
            erase: leave,
            v4: Side::new(Family::V4, Some(paths.v4)),
            v6: Side::new(Family::V6, paths.v6),
        }
    }

    /// With a way to delete the tables that the nft variant makes on its first run and has no command to delete; without it,
    /// they stay behind, empty.
    #[must_use]
    pub fn with_eraser(self, erase: Box<Eraser>) -> Self {
        Self { erase, ..self }
    }

    /// With a way to learn the kernel's number of the nf_tables ruleset. Without it, each look at the firewall runs programs.
    #[must_use]
    pub fn with_number(mut self, number: Box<Number>) -> Self {
        self.run.watch = Watch::new(number);
        self
    }

    /// The kernel's number counts the rules of the nft variant only.
    fn settle_number(&mut self) {
        if self.run.watch.is_open() {
            let is_theirs = [&self.v4, &self.v6]
                .into_iter()
                .all(|side| !side.has_programs() || side.is_nft(&mut self.run));
            self.run.watch.settle(is_theirs);
        }
    }

    /// Where the programs are, asked of `find` by name. Those for IPv6 may be missing.
    ///
    /// # Errors
    /// Which program for IPv4 is missing, and how to install it.
    pub fn locate(find: impl Fn(&str) -> Option<PathBuf>) -> Result<Paths, FirewallError> {
        let need = |name: &str| {
            find(name).ok_or_else(|| {
                FirewallError::Unsupported(format!(
                    "{name} is not installed; apt-get install iptables"
                ))
            })
        };
        let v4 = Pair {
            restore: need("iptables-restore")?,
            save: need("iptables-save")?,
        };
        let v6 = find("ip6tables-restore")
            .zip(find("ip6tables-save"))
            .map(|(restore, save)| Pair { restore, save });
        Ok(Paths { v4, v6 })
    }
}

impl FirewallDriver for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn probe(&mut self) -> Result<(), FirewallError> {
        self.settle_number();
        let first = self.v4.try_out(&mut self.run, &mut *self.erase);
        let second = self.v6.try_out(&mut self.run, &mut *self.erase);
        both(first, second)
    }

    /// IPv4 comes first, so that trouble with IPv6 does not prevent it.
    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        self.settle_number();
        let (v4, v6) = live
            .iter()
            .partition::<Vec<&Grant>, _>(|grant| Family::of(&grant.allow) == Family::V4);
        let first = self.v4.install(&mut self.run, protection, &v4);
        let second = self.v6.install(&mut self.run, protection, &v6);
        self.run.watch.saw(None);
        both(first, second)
    }

    /// Needs an installation by this driver before, which tells it what stands in the firewall.
    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        let mut results = vec![Ok(()); changes.len()];
        let number = self.run.watch.number();
        let mut transactions = Some(0_u32);
        for side in [&mut self.v4, &mut self.v6] {
            let (places, own): (Vec<usize>, Vec<&Change>) = changes
                .iter()
                .enumerate()
                .filter(|(_, change)| family_of(change) == side.family)
                .unzip();
            if own.is_empty() {
                continue;
            }
            side.transactions = Some(0);
            for (place, outcome) in places.into_iter().zip(side.apply(&mut self.run, &own)) {
                if let Some(result) = results.get_mut(place) {
                    *result = outcome;
                }
            }
            transactions = transactions
                .zip(side.transactions)
                .map(|(all, own)| all.saturating_add(own));
        }
        self.run.watch.changed(number, transactions);
        results
    }

    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        let mut grants = self.v4.list(&mut self.run)?;
        grants.extend(self.v6.list(&mut self.run)?);
        Ok(grants)
    }

    /// One run of a listing for each family, unless nobody has changed anything since the last one.
    fn verify(&mut self) -> Result<bool, FirewallError> {
        let number = self.run.watch.number();
        if self.run.watch.stood_at(number) {
            return Ok(true);
        }
        let stands = self.v4.stands(&mut self.run)? && self.v6.stands(&mut self.run)?;
        self.run.watch.saw(number.filter(|_| stands));
        Ok(stands)
    }

    /// The rules are then as before the first installation, but for counters, and for the legacy variant, whose tables stay, empty.
    fn remove(&mut self) -> Result<(), FirewallError> {
        self.settle_number();
        let first = self.v4.remove(&mut self.run, &mut *self.erase);
        let second = self.v6.remove(&mut self.run, &mut *self.erase);
        both(first, second)
    }

    fn kernel_expiry(&self) -> Result<(), String> {
        let sides = [&self.v4, &self.v6];
        if !sides.iter().any(|side| side.is_tried_out()) {
            return Err(
                "the kernel ends no grants yet: Postern's chains are not installed".to_owned(),
            );
        }
        let undated = sides
            .into_iter()
            .filter(|side| side.is_here())
            .find_map(|side| side.undated.as_ref());
        undated.map_or(Ok(()), |why| {
            Err(format!("the kernel does not end grants by itself, only posternd does, for -m time is missing: {why}"))
        })
    }

    /// Needs no time: a rule carries its absolute end. Where the wall clock was set, whoever dated the grants installs them anew.
    fn tick(&mut self, _now: Timestamp) {}

    /// The next whole second, which is what the kernel can be told. All that ends in one second is then taken out by one run of
    /// a program for each family.
    fn end(&self, until: Timestamp) -> Timestamp {
        Timestamp::from_millis(until.as_millis().div_ceil(1000).saturating_mul(1000))
    }

    /// Any number: a run costs about the same whatever it carries.
    fn batch(&self) -> usize {
        usize::MAX
    }
}

/// Both families were tried; the first trouble is told, and the other if there is one.
fn both(
    first: Result<(), FirewallError>,
    second: Result<(), FirewallError>,
) -> Result<(), FirewallError> {
    match (first, second) {
        (Err(one), Err(other)) => Err(one.and(other)),
        (first, second) => first.and(second),
    }
}

/// An extension's grants open the same door, so that either tells the family.
fn family_of(change: &Change) -> Family {
    match change {
        Change::Open(grant) | Change::Close(grant) | Change::Extend { new: grant, .. } => {
            Family::of(&grant.allow)
        }
    }
}
