//! The steps 1 to 10 of proto/README.md section 6, as one datagram went through them.

use super::account::{Account, Cause, Verdict};
use crate::model::reason::{Drop, Reason};

/// How one step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    NotReached,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedStep {
    pub number: u8,
    pub name: &'static str,
    pub outcome: Outcome,
    /// What was found, if anything.
    pub found: String,
}

const NAMES: [&str; 10] = [
    "length", "hint", "mac", "seal", "body", "step", "window", "mark", "policy", "quota",
];

impl Account {
    /// All ten steps in order. A step that was not reached says what it would have found, if that is known.
    pub fn steps(&self) -> Vec<ExplainedStep> {
        let last = self.reason().map_or(u8::MAX, Reason::step);
        let step = |(number, name): (u8, &&'static str)| {
            let outcome = match number.cmp(&last) {
                std::cmp::Ordering::Less => Outcome::Passed,
                std::cmp::Ordering::Equal => Outcome::Failed,
                std::cmp::Ordering::Greater => Outcome::NotReached,
            };
            ExplainedStep {
                number,
                name,
                outcome,
                found: self.found(number, outcome),
            }
        };
        (1..).zip(&NAMES).map(step).collect()
    }

    fn found(&self, number: u8, outcome: Outcome) -> String {
        let failed = outcome == Outcome::Failed;
        let user = self.user.as_deref().unwrap_or_default();
        match (number, &self.cause) {
            (1, Cause::Fwknop(fault)) if failed => fault.to_string(),
            (1, _) => self.length(),
            (2, _) if self.is_fwknop && outcome == Outcome::Passed => {
                "a packet of fwknop, which has none".to_owned()
            }
            (3, Cause::Fwknop(_)) if failed => "of no user's key".to_owned(),
            (4 | 5, Cause::Fwknop(fault)) if failed => fault.to_string(),
            (2, _) if failed => "no user has this hint at the gate's time".to_owned(),
            (2, Cause::Changed { users }) => users.join(", "),
            (2, _) if outcome == Outcome::Passed => user.to_owned(),
            (3, Cause::Changed { .. }) => "another key's".to_owned(),
            (3, Cause::Stranger { .. }) => "of no known key".to_owned(),
            (3, Cause::OtherGate(name)) => format!("{user}'s, for gate {name}"),
            (3, _) if !user.is_empty() => format!("{user}'s"),
            (4, Cause::NotSealed) => "does not open".to_owned(),
            (5, Cause::Malformed(rule)) => rule.to_string(),
            (5, _) => self.asked.clone().unwrap_or_default(),
            (6, Cause::HintOfAnotherTime) => {
                "the hint does not belong to the time inside".to_owned()
            }
            (7, Cause::Forgotten(horizon)) => {
                format!("made before {horizon}; marks of that time are forgotten")
            }
            (7, _) => {
                let made = self.made();
                let made = made.map(|made| format!("made {made}, the gate's clock is {}", self.at));
                self.off().or(made).unwrap_or_default()
            }
            (8, Cause::Replay { .. }) => "seen before".to_owned(),
            (9, Cause::Refused(why)) if failed => why.clone(),
            (9, _) => self.policy(),
            (10, Cause::Refused(why)) if failed => why.clone(),
            _ => String::new(),
        }
    }

    fn policy(&self) -> String {
        match (&self.verdict, &self.besides, &self.request) {
            (Verdict::Admit(_), ..) => self.clipped.clone().unwrap_or_default(),
            (_, Some((rule, why)), _) => format!("would refuse it, {}: {why}", rule.name()),
            (Verdict::Drop(Drop::Replay | Drop::Duplicate), ..)
            | (.., None)
            | (Verdict::Refuse(_), ..) => String::new(),
            (Verdict::Drop(_), None, Some(_)) => "would allow it".to_owned(),
        }
    }
}
