//! Applies a batch of changes to one family: in one run if the firewall takes it, otherwise so that each change gets its
//! own honest result. A change is done only after the firewall confirmed it (invariant 10).

use super::chains::{GRANT_CHAINS, chains_of};
use super::failure::{Effect, RunFailure};
use super::input;
use super::installed::Grants;
use super::runner::Runner;
use super::save::Tables;
use super::side::Side;
use crate::adapters::firewall::FirewallError;
use crate::model::grant::Change;

/// From this many deletions on, chains are emptied and rewritten. The nft variant needs milliseconds to find one rule
/// among thousands, and twenty microseconds to write one.
const DELETIONS_MAX: usize = 16;

struct Entry<'a> {
    change: &'a Change,
    result: Result<(), FirewallError>,
    lines: Vec<String>,
}

impl Side {
    pub(super) fn apply(
        &mut self,
        run: &mut Runner,
        changes: &[&Change],
    ) -> Vec<Result<(), FirewallError>> {
        if self.state.installed().is_none() {
            return vec![Err(self.not_installed()); changes.len()];
        }
        let mut entries: Vec<Entry<'_>> = changes
            .iter()
            .map(|change| Entry {
                change,
                result: Ok(()),
                lines: Vec::new(),
            })
            .collect();
        if self.state.is_uncertain() {
            self.rewrite(run, entries.iter_mut().collect());
        } else {
            self.apply_at_once(run, entries.iter_mut().collect());
            if self.state.is_uncertain() {
                // Put back what was there, so that no failed change stays in place by half.
                self.rewrite(run, Vec::new());
            }
        }
        entries.into_iter().map(|entry| entry.result).collect()
    }

    fn apply_at_once(&mut self, run: &mut Runner, mut entries: Vec<&mut Entry<'_>>) {
        let live = self.plan(&mut entries);
        let lines = entries.iter().flat_map(|entry| entry.lines.clone());
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() {
            return;
        }
        match self.restore(run, &self.input(&lines, &live)) {
            Ok(()) => self.state.confirm(live),
            Err(failure) if failure.effect == Effect::Refused => self.rewrite(run, entries),
            Err(failure) => {
                entries.retain(|entry| !entry.lines.is_empty());
                fail(&mut entries, &failure.error);
            }
        }
    }

    fn input(&self, lines: &[String], live: &Grants) -> String {
        let deletions = lines.iter().filter(|line| line.starts_with("-D")).count();
        let rewritten = (deletions >= DELETIONS_MAX).then(|| {
            let chains = input::grant_chains_in(lines);
            input::rewrite(&chains, input::flush, live.values(), self.form()).ok()
        });
        rewritten.flatten().unwrap_or_else(|| input::changes(lines))
    }

    /// Reads the firewall and rewrites the grant chains as they should be after these changes.
    ///
    /// A rule that others deleted does not disturb this, so closing a missing grant succeeds. A chain that others deleted
    /// needs an installation.
    fn rewrite(&mut self, run: &mut Runner, mut entries: Vec<&mut Entry<'_>>) {
        let tables = match run.save(&self.programs) {
            Ok(tables) => tables,
            Err(failure) => return fail(&mut entries, &failure.error),
        };
        let chains: Vec<&str> = GRANT_CHAINS
            .into_iter()
            .filter(|chain| tables.has(chain))
            .collect();
        entries.retain_mut(|entry| {
            if entry.result.is_ok()
                && let Some(result) = self.result_without_chains(&tables, entry.change)
            {
                entry.result = result;
                return false;
            }
            entry.result.is_ok()
        });
        let live = self.plan(&mut entries);
        match self.rewrite_chains(run, &chains, &live) {
            Ok(()) => self.state.confirm(live),
            Err(failure) if failure.effect == Effect::Refused && entries.len() > 1 => {
                self.apply_singly(run, entries, &chains);
            }
            Err(failure) => fail(&mut entries, &failure.error),
        }
    }

    /// The result of a change if missing chains alone decide it: their grants are closed, and nothing can open in them.
    fn result_without_chains(
        &mut self,
        tables: &Tables,
        change: &Change,
    ) -> Option<Result<(), FirewallError>> {
        let installed = self.state.installed_mut()?;
        let (old, new) = change.grants();
        let Some(grant) = new else {
            let mut chains = chains_of(old).into_iter();
            let is_gone = !chains.any(|chain| tables.has(chain));
            return is_gone.then(|| {
                installed.live.remove(&change.id());
                Ok(())
            });
        };
        // A part that was never installed is reported by the plan.
        let mut chains = chains_of(grant).into_iter();
        let is_gone = installed.missing_part(grant).is_none()
            && !chains.all(|chain| tables.is_reached(chain));
        is_gone.then(|| {
            Err(FirewallError::NotInstalled(format!(
                "{grant}: another program removed Postern's chains from the firewall; knock again after posternd restored them"
            )))
        })
    }

    fn apply_singly(&mut self, run: &mut Runner, entries: Vec<&mut Entry<'_>>, chains: &[&str]) {
        let mut stopped: Option<FirewallError> = None;
        for entry in entries {
            let mut one = [entry];
            if let Some(error) = &stopped {
                fail(&mut one, error);
                continue;
            }
            let live = self.plan(&mut one);
            let [entry] = &one;
            match self.apply_one(run, &entry.lines, &live, chains) {
                Ok(()) => self.state.confirm(live),
                Err(failure) => {
                    fail(&mut one, &failure.error);
                    stopped = (failure.effect != Effect::Refused).then_some(failure.error);
                }
            }
        }
    }

    fn apply_one(
        &mut self,
        run: &mut Runner,
        lines: &[String],
        live: &Grants,
        chains: &[&str],
    ) -> Result<(), RunFailure> {
        if self.state.is_uncertain() {
            return self.rewrite_chains(run, chains, live);
        }
        if lines.is_empty() {
            return Ok(());
        }
        let deletes = lines.iter().any(|line| line.starts_with("-D"));
        match self.restore(run, &input::changes(lines)) {
            // Others may have deleted the rule.
            Err(failure) if failure.effect == Effect::Refused && deletes => {
                self.rewrite_chains(run, chains, live)
            }
            result => result,
        }
    }

    fn rewrite_chains(
        &mut self,
        run: &mut Runner,
        chains: &[&str],
        live: &Grants,
    ) -> Result<(), RunFailure> {
        if chains.is_empty() {
            return Ok(());
        }
        let text = input::rewrite(chains, input::declare, live.values(), self.form())
            .map_err(|error| RunFailure::new(Effect::Refused, error))?;
        self.restore(run, &text)
    }

    fn plan(&self, entries: &mut [&mut Entry<'_>]) -> Grants {
        let Some(installed) = self.state.installed() else {
            return Grants::new();
        };
        let mut live = installed.live.clone();
        for entry in entries.iter_mut().filter(|entry| entry.result.is_ok()) {
            match installed.enter(entry.change, &mut live, self.form()) {
                Ok(lines) => entry.lines = lines,
                Err(error) => entry.result = Err(error),
            }
        }
        live
    }
}

/// None of these changes is done. A change with a reason of its own keeps it.
fn fail(entries: &mut [&mut Entry<'_>], error: &FirewallError) {
    for entry in entries.iter_mut().filter(|entry| entry.result.is_ok()) {
        entry.result = Err(error.clone());
    }
}
