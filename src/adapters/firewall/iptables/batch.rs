//! Carries out a batch of changes on one family's side: in one run if the firewall takes it, else so that each
//! change still gets its own honest result.
//!
//! Owns the way back from a failed run. Never counts a change as done that the firewall did not confirm (invariant 10).

use super::family::{Side, refused};
use super::fault::{Fault, Kind};
use super::input;
use super::list::Tables;
use super::rules::{Family, GRANT_CHAINS, chains_of, grant_rules};
use super::standing::is_reached;
use super::watch::Runner;
use crate::adapters::firewall::{Change, FirewallError};
use crate::model::grant::{Grant, GrantId};

type Results = Vec<Result<(), FirewallError>>;

/// From so many deletions on, chains are emptied and filled anew: to find one rule among thousands takes the nft variant
/// milliseconds, to write one takes it twenty microseconds.
const DELETIONS: usize = 16;

/// Changes that were entered into `standing` and are not confirmed yet.
#[derive(Default)]
struct Entered {
    lines: Vec<String>,
    /// What each grant was before, in order.
    before: Vec<(GrantId, Option<Grant>)>,
    /// The changes that have lines, by place in the batch.
    places: Vec<usize>,
}

impl Side {
    /// One result for each change, in the same order.
    pub(super) fn apply(&mut self, run: &mut Runner, changes: &[&Change]) -> Results {
        if self.standing.is_none() {
            return vec![Err(self.nothing_here()); changes.len()];
        }
        let mut results = vec![Ok(()); changes.len()];
        let all: Vec<usize> = (0..changes.len()).collect();
        if self.is_doubtful {
            self.recover(run, changes, &mut results);
            return results;
        }
        let entered = self.enter(changes, &all, &mut results);
        if entered.lines.is_empty() {
            return results;
        }
        let text = self.input(&entered.lines);
        if let Err(fault) = self.put(run, &text) {
            match fault.kind {
                Kind::Refused => {
                    self.take_back(entered);
                    self.recover(run, changes, &mut results);
                }
                Kind::Unavailable | Kind::Doubt => {
                    let places = entered.places.clone();
                    self.fail(entered, &places, &fault, &mut results);
                }
            }
            if self.is_doubtful {
                // What the killed run left is not known: put back what was there, so that no failed change stays half done.
                self.recover(run, &[], &mut Vec::new());
            }
        }
        results
    }

    /// What carries out these lines, which are entered already.
    fn input(&self, lines: &[String]) -> String {
        let deletions = lines.iter().filter(|line| line.starts_with("-D")).count();
        let live = self
            .standing
            .iter()
            .flat_map(|standing| standing.live.values());
        let anew = (deletions >= DELETIONS).then(|| {
            input::rebuilding(
                &input::chains_in(lines),
                input::emptied,
                live,
                self.abilities,
            )
            .ok()
        });
        anew.flatten().unwrap_or_else(|| input::changes(lines))
    }

    /// Looks at the firewall and writes the grant chains anew as they should be after `changes`. A rule that others deleted is no
    /// obstacle to this, so closing what is gone ends here; a chain that others deleted needs an installation.
    fn recover(&mut self, run: &mut Runner, changes: &[&Change], results: &mut Results) {
        let all: Vec<usize> = (0..changes.len()).collect();
        let tables = match self.save(run) {
            Ok(tables) => tables,
            Err(fault) => {
                let entered = self.enter(changes, &all, results);
                return self.fail(entered, &all, &fault, results);
            }
        };
        let chains: Vec<&str> = GRANT_CHAINS
            .into_iter()
            .filter(|chain| tables.has(chain))
            .collect();
        let rest: Vec<usize> = all
            .into_iter()
            .filter(|place| !self.is_settled_by(&tables, changes, *place, results))
            .collect();
        let entered = self.enter(changes, &rest, results);
        match self.rebuild(run, &chains) {
            Ok(()) => self.is_doubtful = false,
            Err(fault) if fault.kind == Kind::Refused && entered.places.len() > 1 => {
                self.take_back(entered);
                self.singly(run, changes, &rest, &chains, results);
            }
            Err(fault) => self.fail(entered, &rest, &fault, results),
        }
    }

    /// True where missing chains alone decide: what they held is closed, and nothing can be opened in them.
    fn is_settled_by(
        &mut self,
        tables: &Tables,
        changes: &[&Change],
        place: usize,
        results: &mut Results,
    ) -> bool {
        let Some((change, result)) = changes.get(place).zip(results.get_mut(place)) else {
            return true;
        };
        let Some(standing) = self.standing.as_mut() else {
            return true;
        };
        match change {
            _ if result.is_err() => true,
            Change::Close(grant)
                if !chains_of(grant).into_iter().any(|chain| tables.has(chain)) =>
            {
                standing.live.remove(&grant.id);
                true
            }
            Change::Close(_) => false,
            Change::Open(grant) | Change::Extend { new: grant, .. } => {
                // where forwarding was never installed, entering the change says so
                let is_expected = standing.unmet_need_of(grant).is_none();
                let is_gone = is_expected
                    && !chains_of(grant)
                        .into_iter()
                        .all(|chain| is_reached(tables, chain));
                if is_gone {
                    *result = Err(FirewallError::NotInstalled(format!(
                        "{grant}: Postern's chains were taken out of the firewall by somebody else; knock again once posternd has put them back"
                    )));
                }
                is_gone
            }
        }
    }

    /// One change after the other, so that one that the firewall refuses does not take the others with it.
    fn singly(
        &mut self,
        run: &mut Runner,
        changes: &[&Change],
        places: &[usize],
        chains: &[&str],
        results: &mut Results,
    ) {
        let mut stopped: Option<Fault> = None;
        for place in places {
            let entered = self.enter(changes, &[*place], results);
            let deletes = entered.lines.iter().any(|line| line.starts_with("-D"));
            let outcome = match &stopped {
                Some(fault) => Err(fault.clone()),
                None if self.is_doubtful => self
                    .rebuild(run, chains)
                    .inspect(|()| self.is_doubtful = false),
                None if entered.lines.is_empty() => Ok(()),
                None => match self.put(run, &input::changes(&entered.lines)) {
                    Err(fault) if fault.kind == Kind::Refused && deletes => self
                        .rebuild(run, chains)
                        .inspect(|()| self.is_doubtful = false),
                    outcome => outcome,
                },
            };
            if let Err(fault) = outcome {
                self.fail(entered, &[*place], &fault, results);
                stopped = stopped.or_else(|| (fault.kind != Kind::Refused).then_some(fault));
            }
        }
    }

    fn rebuild(&mut self, run: &mut Runner, chains: &[&str]) -> Result<(), Fault> {
        if chains.is_empty() {
            return Ok(());
        }
        let live = self
            .standing
            .iter()
            .flat_map(|standing| standing.live.values());
        let text =
            input::rebuilding(chains, input::declared, live, self.abilities).map_err(refused)?;
        self.put(run, &text)
    }

    /// Enters changes into `standing`, in order, and says which lines carry them out. A change that cannot be written gets its error here.
    fn enter(&mut self, changes: &[&Change], places: &[usize], results: &mut Results) -> Entered {
        let mut entered = Entered::default();
        for place in places {
            let Some((change, result)) = changes.get(*place).zip(results.get_mut(*place)) else {
                continue;
            };
            if result.is_ok() {
                let lines = entered.lines.len();
                *result = self
                    .enter_one(change, &mut entered)
                    .map_err(FirewallError::Unsupported);
                if entered.lines.len() > lines {
                    entered.places.push(*place);
                }
            }
        }
        entered
    }

    fn enter_one(&mut self, change: &Change, entered: &mut Entered) -> Result<(), String> {
        let abilities = self.abilities;
        let nothing_here = self.nothing_here();
        let Some(standing) = self.standing.as_mut() else {
            return Err(nothing_here.to_string());
        };
        let (old, id, new) = match change {
            Change::Open(grant) => (grant.id, grant.id, Some(grant)),
            Change::Extend { old, new } => (old.id, new.id, Some(new)),
            Change::Close(grant) => (grant.id, grant.id, None),
        };
        if let Change::Extend { old, new } = change
            && Family::of(&old.allow) != Family::of(&new.allow)
        {
            return Err(format!(
                "{new}: it does not extend {old}, which is of the other address family"
            ));
        }
        if let Some((grant, need)) =
            new.and_then(|grant| standing.unmet_need_of(grant).map(|need| (grant, need)))
        {
            return Err(format!("{grant}: {need}; reload the config"));
        }
        let live = &mut standing.live;
        let additions = new.map_or(Ok(Vec::new()), |grant| grant_rules(grant, abilities))?;
        let mut ids = vec![old, id];
        ids.dedup();
        for id in ids {
            if let Some(before) = live.get(&id) {
                entered.lines.extend(
                    grant_rules(before, abilities)?
                        .iter()
                        .map(|rule| format!("-D {rule}")),
                );
                entered.before.push((id, live.remove(&id)));
            }
        }
        entered
            .lines
            .extend(additions.iter().map(|rule| format!("-A {rule}")));
        if let Some(grant) = new {
            entered.before.push((id, live.insert(id, grant.clone())));
        }
        Ok(())
    }

    /// None of these changes is done. One that was refused for itself keeps its own reason.
    fn fail(&mut self, entered: Entered, places: &[usize], fault: &Fault, results: &mut Results) {
        self.is_doubtful |= fault.kind == Kind::Doubt;
        for place in places {
            if let Some(result @ Ok(())) = results.get_mut(*place) {
                *result = Err(fault.error());
            }
        }
        self.take_back(entered);
    }

    fn take_back(&mut self, entered: Entered) {
        let Some(standing) = self.standing.as_mut() else {
            return;
        };
        for (id, before) in entered.before.into_iter().rev() {
            match before {
                Some(grant) => standing.live.insert(id, grant),
                None => standing.live.remove(&id),
            };
        }
    }
}
