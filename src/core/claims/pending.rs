//! The engine's side of claims: which wait for an answer, and whether the coordinator answers at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::claim::{Answer, Claim, WAITING_MAX, one_line};
use super::message::{Ask, Publish, Told};
use crate::model::counters::ClaimCounters;
use crate::model::time::{ClockStep, Timestamp, millis};

/// Claims with what they decide about.
#[derive(Debug)]
pub(crate) struct Claims<T> {
    deadline: Duration,
    state: State,
    waiting: BTreeMap<u64, (Timestamp, T)>,
    /// The deadlines of those that wait.
    due: BTreeSet<(Timestamp, u64)>,
    unsent: VecDeque<Ask>,
    probes: u64,
    /// The probe was not sent, or is to be sent again.
    is_probe_due: bool,
    counters: ClaimCounters,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Answers,
    /// Every claim is unknown until this probe is answered.
    Away {
        probe: u64,
        why: String,
    },
}

/// What became of a knock whose claim was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Won,
    Lost { made: Timestamp },
    CodeLost,
    Unknown { why: String },
}

impl<T> Claims<T> {
    /// No claim is asked before [`Self::connected`] and the answer to its probe.
    pub(crate) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            state: State::Away {
                probe: 0,
                why: "the cluster process has not started yet".to_owned(),
            },
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            unsent: VecDeque::new(),
            probes: 0,
            is_probe_due: false,
            counters: ClaimCounters::default(),
        }
    }

    pub(crate) fn counters(&self) -> ClaimCounters {
        ClaimCounters {
            answers: self.state == State::Answers,
            ..self.counters
        }
    }

    /// Why no claim is asked now.
    pub(crate) fn why_away(&self) -> Option<&str> {
        match &self.state {
            State::Answers => None,
            State::Away { why, .. } => Some(why),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Asks a claim for a knock that arrived then. Fails at once if the answer could not come in time.
    pub(crate) fn ask(
        &mut self,
        now: Timestamp,
        arrived: Timestamp,
        ticket: u64,
        claim: Claim,
        publish: Option<Publish>,
        subject: T,
    ) -> Result<(), (T, String)> {
        // A clock that was set back must not leave it more time.
        let due = arrived.min(now).plus(self.deadline);
        let left = due.since(now).min(self.deadline);
        let refused = match &self.state {
            State::Away { why, .. } => Some(why.clone()),
            State::Answers if self.waiting.len() >= WAITING_MAX => {
                Some(format!("{WAITING_MAX} other claims wait"))
            }
            State::Answers if left.is_zero() => {
                Some("the deadline had passed before it could be asked".to_owned())
            }
            State::Answers => None,
        };
        if let Some(why) = refused {
            self.counters.unknown = self.counters.unknown.saturating_add(1);
            return Err((subject, why));
        }
        self.unsent.push_back(Ask::Claim {
            ticket,
            claim,
            within_ms: millis(left),
            publish,
        });
        self.waiting.insert(ticket, (due, subject));
        self.due.insert((due, ticket));
        Ok(())
    }

    /// What is to be sent to the cluster process.
    pub(crate) fn next_ask(&mut self) -> Option<Ask> {
        if std::mem::take(&mut self.is_probe_due) {
            let number = self.probes;
            return Some(Ask::Probe { number });
        }
        self.unsent.pop_front()
    }

    /// The cluster process did not take the last probe.
    pub(crate) fn is_probe_due(&self) -> bool {
        self.is_probe_due
    }

    /// There is a new cluster process, which knows of no claim. Returns those that waited for the one before it.
    pub(crate) fn connected(&mut self) -> Vec<T> {
        self.ended("the cluster process has just started")
    }

    /// The cluster process has ended. Returns all that waited: nobody answers their claims.
    pub(crate) fn ended(&mut self, why: &str) -> Vec<T> {
        self.probe(why);
        self.unsent.clear();
        let tickets: Vec<u64> = self.waiting.keys().copied().collect();
        self.give_up(tickets)
    }

    /// The cluster process takes no message now, nor this one. The probe is sent again later. Returns those whose claims were not sent.
    pub(crate) fn not_taken(&mut self, ask: Ask, why: &str) -> Vec<T> {
        self.probe(why);
        let unsent = std::mem::take(&mut self.unsent);
        let tickets = [ask].into_iter().chain(unsent).filter_map(|ask| match ask {
            Ask::Claim { ticket, .. } => Some(ticket),
            _ => None,
        });
        self.give_up(tickets)
    }

    fn give_up(&mut self, tickets: impl IntoIterator<Item = u64>) -> Vec<T> {
        let mut subjects = Vec::new();
        for ticket in tickets {
            if let Some((due, subject)) = self.waiting.remove(&ticket) {
                self.due.remove(&(due, ticket));
                self.counters.unknown = self.counters.unknown.saturating_add(1);
                subjects.push(subject);
            }
        }
        subjects
    }

    /// An answer after the deadline counts no more: [`Claims::overdue`] gives the outcome.
    pub(crate) fn told(&mut self, now: Timestamp, told: Told) -> Option<(u64, T, Outcome)> {
        match told {
            Told::Claimed { ticket, answer } => {
                self.waiting.get(&ticket).filter(|(due, _)| now < *due)?;
                let (due, subject) = self.waiting.remove(&ticket)?;
                self.due.remove(&(due, ticket));
                let outcome = match answer {
                    Answer::Won => Outcome::Won,
                    Answer::Lost { made } => Outcome::Lost { made },
                    Answer::CodeLost => Outcome::CodeLost,
                    Answer::Unknown { why } => {
                        let why = one_line(&why);
                        self.away(&why);
                        Outcome::Unknown { why }
                    }
                };
                self.count(&outcome);
                Some((ticket, subject, outcome))
            }
            Told::Back { number } => {
                if matches!(self.state, State::Away { probe, .. } if probe == number && number > 0)
                {
                    self.state = State::Answers;
                }
                None
            }
            Told::Away { number, why: now } => {
                if let State::Away { probe, why } = &mut self.state
                    && *probe == number
                {
                    *why = one_line(&now);
                }
                None
            }
            Told::Published { .. } | Told::Current | Told::Behind { .. } => None,
        }
    }

    /// The next claim whose deadline has passed.
    pub(crate) fn overdue(&mut self, now: Timestamp) -> Option<(T, Outcome)> {
        let (due, ticket) = *self.due.first()?;
        if now < due {
            return None;
        }
        self.due.remove(&(due, ticket));
        let (_, subject) = self.waiting.remove(&ticket)?;
        let why = format!("no answer within {} ms", millis(self.deadline));
        self.away(&why);
        let outcome = Outcome::Unknown { why };
        self.count(&outcome);
        Some((subject, outcome))
    }

    /// How long until a deadline passes.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Duration> {
        Some(self.due.first()?.0.since(now))
    }

    /// The system's clock was set: the deadlines move with it.
    pub(crate) fn clock_was_set(&mut self, step: ClockStep) {
        self.due.clear();
        for (ticket, (due, _)) in &mut self.waiting {
            *due = due.stepped(step);
            self.due.insert((*due, *ticket));
        }
    }

    fn away(&mut self, why: &str) {
        // Otherwise the prober looks already.
        if self.state == State::Answers {
            self.probe(why);
        }
    }

    fn probe(&mut self, why: &str) {
        self.probes = self.probes.saturating_add(1);
        self.state = State::Away {
            probe: self.probes,
            why: why.to_owned(),
        };
        self.is_probe_due = true;
    }

    fn count(&mut self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Won => &mut self.counters.won,
            Outcome::Lost { .. } | Outcome::CodeLost => &mut self.counters.lost,
            Outcome::Unknown { .. } => &mut self.counters.unknown,
        };
        *counter = counter.saturating_add(1);
    }
}
