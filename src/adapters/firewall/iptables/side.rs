//! One address family: its programs, what the kernel can do, and whether Postern's rules are installed.
//!
//! Installs, checks and removes; `batch` applies changes.

use std::path::Path;

use tracing::warn;

use super::chains::{MARK, NeededChains};
use super::failure::{Effect, RunFailure};
use super::grants;
use super::input;
use super::installed::{Grants, Installed};
use super::marks::needs_live;
use super::programs::Pair;
use super::rules::Form;
use super::runner::Runner;
use super::save::Tables;
use crate::adapters::firewall::FirewallError;
use crate::model::address::Family;
use crate::model::grant::Grant;
use crate::model::packet_mark::PacketMark;
use crate::model::settings::Protection;

pub(super) struct Side {
    pub(super) family: Family,
    pub(super) programs: Pair,
    pub(super) state: State,
    pub(super) time_match: TimeMatch,
    /// Grants count for packets with this mark only.
    pub(super) live_mark: Option<PacketMark>,
    /// Sets hold grants of single ports.
    pub(super) in_sets: bool,
    /// What the last check found wrong, and at which generation.
    pub(super) found: Option<(u32, Tables)>,
}

#[derive(Default)]
pub(super) enum State {
    #[default]
    NotInstalled,
    NoFamily(String),
    Installed(Installed),
    /// The firewall held this before a run was cut off. Now it may hold more or less.
    Uncertain(Installed),
}

pub(super) enum TimeMatch {
    Untested,
    Works,
    /// The kernel refused it with this message. The next installation tests again.
    Missing(String),
}

impl State {
    pub(super) fn installed(&self) -> Option<&Installed> {
        match self {
            Self::Installed(installed) | Self::Uncertain(installed) => Some(installed),
            Self::NotInstalled | Self::NoFamily(_) => None,
        }
    }

    pub(super) fn installed_mut(&mut self) -> Option<&mut Installed> {
        match self {
            Self::Installed(installed) | Self::Uncertain(installed) => Some(installed),
            Self::NotInstalled | Self::NoFamily(_) => None,
        }
    }

    pub(super) fn is_uncertain(&self) -> bool {
        matches!(self, Self::Uncertain(_))
    }

    fn doubt(&mut self) {
        *self = match std::mem::take(self) {
            Self::Installed(installed) => Self::Uncertain(installed),
            state => state,
        };
    }

    /// A run left exactly these grants in the firewall.
    pub(super) fn confirm(&mut self, live: Grants) {
        *self = match std::mem::take(self) {
            Self::Installed(mut installed) | Self::Uncertain(mut installed) => {
                installed.live = live;
                Self::Installed(installed)
            }
            state => state,
        };
    }
}

/// What the rules of every config need.
const BASIC_MATCHES: &str = "-p tcp -m tcp --dport 1 -m conntrack --ctstate ESTABLISHED -m mark --mark 0x1/0x1 \
     -m comment --comment \"postern probe\"";

impl Side {
    pub(super) fn new(family: Family, programs: Pair) -> Self {
        Self {
            family,
            programs,
            state: State::NotInstalled,
            time_match: TimeMatch::Untested,
            live_mark: None,
            in_sets: false,
            found: None,
        }
    }

    fn kernel_ends(&self) -> bool {
        matches!(self.time_match, TimeMatch::Works)
    }

    pub(super) fn form(&self) -> Form {
        Form {
            ends: self.kernel_ends(),
            live: self.live_mark,
            in_sets: self.in_sets,
        }
    }

    /// Installs everything of this family. A family that the system does not have is skipped, unless one of its grants is live.
    pub(super) fn install(
        &mut self,
        run: &mut Runner,
        protection: &Protection,
        live: &[&Grant],
    ) -> Result<(), FirewallError> {
        match self.try_install(run, protection, live) {
            Err(failure) if self.is_family_missing(&failure) => {
                let (family, error) = (self.family.name(), failure.error);
                self.state = State::NoFamily(format!("this system has no {family}: {error}"));
                match live {
                    [] => Ok(()),
                    _ => Err(self.not_installed()),
                }
            }
            result => Ok(result?),
        }
    }

    fn try_install(
        &mut self,
        run: &mut Runner,
        protection: &Protection,
        live: &[&Grant],
    ) -> Result<(), RunFailure> {
        let needed = NeededChains::new(self.family, protection, live).tables();
        self.note_missing(run, needed)?;
        self.probe(run)?;
        let tables = match self.found_now(run, needed) {
            Some(tables) => tables,
            None => run.save(&self.programs)?,
        };
        let (family, form) = (self.family, self.form());
        let text = input::installation(family, &tables, protection, live, form);
        let text = text.map_err(|error| RunFailure::new(Effect::Refused, error))?;
        self.restore(run, &text)?;
        self.state = State::Installed(Installed::new(family, protection, live, form));
        // This learns how the kernel prints the rules. If it fails, the next listing is assumed to be right.
        let _ = self.verify(run);
        Ok(())
    }

    /// What the last check read, if nothing has changed since and it read all tables that are needed now.
    fn found_now(&mut self, run: &mut Runner, needed: &[&str]) -> Option<Tables> {
        let (generation, tables) = self.found.take()?;
        let read = self.state.installed().map(Installed::tables);
        (read == Some(needed) && run.generation.now() == Some(generation)).then_some(tables)
    }

    pub(super) fn try_out(&mut self, run: &mut Runner) -> Result<(), FirewallError> {
        if self.tables(run)?.is_none() {
            return Ok(());
        }
        self.note_missing(run, &["filter"])?;
        let basic = run.restore(&self.programs, &input::probe(BASIC_MATCHES));
        match basic.and_then(|()| self.probe(run)) {
            Err(failure) if self.is_family_missing(&failure) => {
                self.state = State::NoFamily(failure.error.to_string());
            }
            result => result?,
        }
        let nft = run.nft_tables_of(&self.programs);
        nft.map_or(Ok(()), |nft| (nft.delete_created)())
    }

    /// The first run of the nft variant creates tables and base chains, which it has no command to delete.
    fn note_missing(&self, run: &mut Runner, tables: &[&str]) -> Result<(), RunFailure> {
        let nft = run.nft_tables_of(&self.programs);
        nft.map_or(Ok(()), |nft| (nft.note_missing)(self.family, tables))
            .map_err(|error| RunFailure::new(Effect::Unavailable, error))
    }

    fn probe(&mut self, run: &mut Runner) -> Result<(), RunFailure> {
        const MATCHES: &str =
            "-m time --datestop 2037-01-01T00:00:00 -m comment --comment \"postern probe\"";
        if self.kernel_ends() {
            return Ok(());
        }
        let text = input::probe(MATCHES);
        self.time_match = match run.restore(&self.programs, &text) {
            Ok(()) => TimeMatch::Works,
            Err(failure) if failure.effect == Effect::Refused => {
                TimeMatch::Missing(failure.error.to_string())
            }
            Err(failure) => return Err(failure),
        };
        Ok(())
    }

    pub(super) fn verify(&mut self, run: &mut Runner) -> Result<bool, FirewallError> {
        let Some(installed) = self.state.installed_mut() else {
            return Ok(true);
        };
        let generation = run.generation.now();
        let tables = run.save_own(&self.programs, installed.tables())?;
        let is_whole = installed.is_in(&tables);
        self.found = generation.filter(|_| !is_whole).map(|at| (at, tables));
        Ok(is_whole)
    }

    /// Rules of others in Postern's chains are no grants; the installation removes them. Nor are those that do not count,
    /// because they were loaded from a file.
    pub(super) fn list(
        &self,
        run: &mut Runner,
        is_live: bool,
    ) -> Result<Vec<Grant>, FirewallError> {
        let Some(tables) = self.tables(run)? else {
            return Ok(Vec::new());
        };
        if !is_live && tables.rules(MARK).any(needs_live) {
            return Ok(Vec::new());
        }
        let (grants, foreign) = grants::read(self.family, &tables);
        if let Some(error) = foreign {
            warn!("{}: {error}; it is no grant", self.programs.save.display());
        }
        Ok(grants)
    }

    pub(super) fn remove(&mut self, run: &mut Runner) -> Result<(), FirewallError> {
        if let Some(nft) = run.nft_tables_of(&self.programs) {
            (nft.remove)()?;
        } else if let Some(tables) = self.tables(run)?
            && let Some(text) = input::removal(&tables)
        {
            self.restore(run, &text)?;
        }
        self.state = State::NotInstalled;
        Ok(())
    }

    fn tables(&self, run: &mut Runner) -> Result<Option<Tables>, FirewallError> {
        match run.save(&self.programs) {
            Ok(tables) => Ok(Some(tables)),
            Err(failure) if self.is_family_missing(&failure) => Ok(None),
            Err(failure) => Err(failure.error),
        }
    }

    /// Carries out an input. If a failure may leave a part of it in place, the state is uncertain afterwards.
    pub(super) fn restore(&mut self, run: &mut Runner, text: &str) -> Result<(), RunFailure> {
        run.restore(&self.programs, text).inspect_err(|failure| {
            let in_part = failure.effect == Effect::Refused && input::transactions(text) != 1;
            if in_part || failure.effect == Effect::Unknown {
                self.state.doubt();
            }
        })
    }

    pub(super) fn not_installed(&self) -> FirewallError {
        let family = self.family.name();
        match &self.state {
            State::NoFamily(why) => unavailable(self.family, why),
            _ => FirewallError::NotInstalled(format!(
                "{family} grants can be neither opened nor closed: Postern's chains are not installed; restart posternd"
            )),
        }
    }

    /// Rules may be missing only if the kernel itself has no IPv6. Otherwise IPv6 would stay open unseen.
    fn is_family_missing(&self, failure: &RunFailure) -> bool {
        let has_ipv6 = || Path::new("/proc/thread-self/net/if_inet6").exists();
        self.family == Family::V6
            && failure.effect == Effect::Refused
            && (failure.is_missing_family() || !has_ipv6())
    }
}

pub(super) fn unavailable(family: Family, why: &str) -> FirewallError {
    FirewallError::Unsupported(format!(
        "{} grants can be neither opened nor closed: {why}",
        family.name()
    ))
}
