//! Explains a hit of a sequence: which step was reached, and what broke an attempt.

use postern_proto::Protocol;

use super::account::{Account, Cause, Otherwise, Verdict};
use super::explainer::Explainer;
use super::refusals;
use crate::core::gate::{ApprovedRequest, Decision, SequenceProgress};
use crate::core::sequence::{Expected, Hit, fits};
use crate::model::reason::{Drop, Rule};
use crate::model::service;
use crate::model::time::{self, Timestamp};

/// How many next ports and users are named.
const NAMED: usize = 4;

/// What a packet to a port of a sequence did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HitAccount {
    pub hit: Hit,
    pub(crate) did: Did,
    /// The attempt before it.
    pub(crate) before: Option<SequenceProgress>,
    /// The attempt after it.
    pub(crate) after: Option<SequenceProgress>,
    pub(crate) at: Timestamp,
    /// The user whose keyed sequence it completes, but for the time when that began.
    pub(crate) other_time: Option<(String, Timestamp)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did {
    Unwatched,
    /// Neither counts nor breaks.
    Ignored,
    /// It is a first or a next hit.
    Matched,
    /// No hit that fits.
    Wrong,
    /// The last hit of a sequence.
    Decided(Box<Account>),
}

impl Explainer {
    /// Whether any user has a sequence.
    pub(super) fn has_sequences(&self) -> bool {
        !self.settings.sequences.is_empty()
    }

    /// Explains a hit. It remembers earlier ones of the same source.
    pub fn hit(&mut self, now: Timestamp, hit: &Hit) -> HitAccount {
        let is_watched = self.gate.watches(hit);
        let before = self.gate.sequence_progress(hit.source);
        let decision = self.gate.handle_hit(now, hit);
        let after = self.gate.sequence_progress(hit.source);
        let did = match decision {
            Some(Decision::Drop(Drop::WrongHit)) => Did::Wrong,
            Some(decision) => Did::Decided(Box::new(self.decided(now, hit, decision))),
            None if !is_watched => Did::Unwatched,
            None if before == after => Did::Ignored,
            None => Did::Matched,
        };
        HitAccount {
            hit: *hit,
            did,
            before,
            after,
            at: now,
            other_time: None,
        }
    }

    fn decided(&self, now: Timestamp, hit: &Hit, decision: Decision) -> Account {
        let refused = match &decision {
            Decision::Refuse(refusal) => Some((refusal.user.clone(), refusal.rule)),
            _ => None,
        };
        let asked = match &decision {
            Decision::Refuse(refusal) => Some(refusal.asked.clone()),
            _ => None,
        };
        let mut account = self.account(now, decision, Some(hit.source), 0);
        account.asked = asked;
        account.otherwise =
            matches!(account.verdict, Verdict::Admit(_)).then_some(Otherwise::NotAsked);
        account.user = match &account.verdict {
            Verdict::Admit(ApprovedRequest::Open(open)) => Some(open.user.clone()),
            Verdict::Admit(ApprovedRequest::Close(close)) => Some(close.user.clone()),
            _ => refused.as_ref().map(|(user, _)| user.clone()),
        };
        account.cause = match (&account.verdict, refused) {
            (Verdict::Admit(_), _) => Cause::Admitted,
            (_, Some((user, rule))) => Cause::Refused(self.why_refused(&user, rule, hit, now)),
            (Verdict::Drop(Drop::Replay | Drop::Duplicate), _) => Cause::UsedSequence,
            _ => Cause::NotSealed,
        };
        account
    }

    fn why_refused(&self, user: &str, rule: Rule, hit: &Hit, now: Timestamp) -> String {
        let mut policies = self.settings.policies.iter();
        let Some(policy) = policies.find(|policy| policy.user == user) else {
            return String::new();
        };
        match rule {
            Rule::Quota => self.why_quota(policy, now),
            Rule::From | Rule::Expired => refusals::who_and_when(rule, policy, hit.source),
            Rule::Networks => {
                let networks = service::list(&policy.networks);
                format!("{} is not in {networks}", hit.source)
            }
            _ => format!("{user} has {}", service::list(&policy.services)),
        }
    }

    /// Says of which time the keyed sequence is that ends with these hits, if none of now fits.
    pub(super) fn look_at_other_times(&self, hits: &[Hit], account: &mut HitAccount) {
        if matches!(account.did, Did::Decided(_)) {
            return;
        }
        let hits = hits
            .iter()
            .map(|hit| Expected::port(hit.protocol, hit.port));
        let hits: Vec<Expected> = hits.collect();
        let found = self.gate.keyed_at_another_time(account.at, &hits);
        account.other_time = found.map(|(user, began)| (user.to_owned(), began));
    }
}

impl HitAccount {
    /// `tcp/7000`
    pub(crate) fn port(&self) -> Expected {
        Expected::port(self.hit.protocol, self.hit.port)
    }

    /// The whole line: `tcp/8000: hit 2 of 3 of legacy; udp/9000 is next`.
    pub fn line(&self) -> String {
        match &self.did {
            Did::Decided(account) => format!("{}, the last hit: {}", self.port(), account.line()),
            _ => format!("{}: {}", self.port(), self.sentence()),
        }
    }

    /// The same without the port and the verdict.
    pub(crate) fn sentence(&self) -> String {
        let said = match &self.did {
            Did::Decided(account) => account.sentence(),
            Did::Unwatched => "no port of a sequence".to_owned(),
            Did::Ignored => self.ignored().to_owned(),
            Did::Matched => {
                let now = self.after.as_ref().map(reached).unwrap_or_default();
                match self.broken() {
                    Some(broken) => format!("{now}. {broken}"),
                    None => now,
                }
            }
            Did::Wrong => {
                let broken = self.broken();
                let why = broken.unwrap_or_else(|| "no sequence begins with it".to_owned());
                format!("drop wrong-hit: {why}")
            }
        };
        match &self.other_time {
            None => said,
            Some((user, began)) => format!(
                "{said}; these are the hits of {user} at {began}: set the client's clock, or the gate's, whichever is wrong"
            ),
        }
    }

    fn ignored(&self) -> &'static str {
        let flags = self.before.as_ref().map(|before| before.at.flags);
        match flags {
            Some(flags) if fits(flags, &self.hit) => {
                "ignored: it is a copy of an earlier hit, or repeats it"
            }
            None if self.hit.protocol != Protocol::Tcp => "ignored: it is a copy of an earlier hit",
            _ => {
                "ignored: its TCP flags are not those that tcp_flags wants, or it is a copy of an earlier hit"
            }
        }
    }

    /// Why the attempt before this hit is over, if it is.
    fn broken(&self) -> Option<String> {
        let before = self.before.as_ref()?;
        let goes_on = self.after.as_ref().is_some_and(|after| {
            after.at.hits == before.at.hits + 1 || after.at.hits == 1 && before.at.hits == 1
        });
        if goes_on {
            return None;
        }
        let reached = reached(before);
        let elapsed = self.at.since(before.at.began);
        Some(if elapsed > before.at.timeout {
            let (elapsed, most) = (time::human(elapsed), time::human(before.at.timeout));
            format!(
                "the attempt before is over: it had {reached}, but began {elapsed} ago, and sequence_timeout is {most}"
            )
        } else {
            format!("the attempt before is over: it had {reached}")
        })
    }
}

/// `hit 1 of 3 of legacy; tcp/8000 is next`
fn reached(progress: &SequenceProgress) -> String {
    let users = progress.users.iter().take(NAMED);
    let users = users.map(|(user, hits)| format!("{hits} of {user}"));
    let users: Vec<String> = users.collect();
    let next = progress.at.next.iter().take(NAMED);
    let next: Vec<String> = next.map(ToString::to_string).collect();
    let (users, next) = (users.join(" or "), next.join(" or "));
    format!("hit {} of {users}; {next} is next", progress.at.hits)
}
