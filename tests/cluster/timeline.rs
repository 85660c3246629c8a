//! When a coordinator with faults was healthy, and when it was gone.

use std::ops::Range;

use postern_harness::say;

use super::outages::{Fault, Outage};

/// After the first answer that follows a fault, gates have this long to admit again.
pub(crate) const BACK_MS: u64 = 1000;

/// What is under way when a fault begins may be answered, or not.
const IN_FLIGHT_MS: u64 = 50;

/// A packet may wait so long for a busy machine.
const BUSY_MS: u64 = 200;

/// One outage began or ended. Times are milliseconds since 1970.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) outage: usize,
    pub(crate) begins: bool,
    /// Before and after it was done.
    pub(crate) times: Range<u64>,
}

pub(crate) struct Timeline {
    pub(crate) nodes: usize,
    pub(crate) plan: Vec<Outage>,
    pub(crate) changes: Vec<Change>,
    /// When each node was asked, and has answered.
    pub(crate) answers: Vec<Vec<(u64, u64)>>,
    /// Of a claim.
    pub(crate) deadline: u64,
    /// When the last knock was sent.
    pub(crate) until: u64,
}

/// The time between two changes.
struct Span {
    times: Range<u64>,
    /// The first answer in it, if the coordinator serves.
    answered: Option<u64>,
    serves: bool,
    /// Gates that are cut off.
    apart: Vec<u8>,
}

pub(crate) struct Return {
    pub(crate) answered: u64,
    pub(crate) apart: Vec<u8>,
}

impl Timeline {
    fn spans(&self) -> Vec<Span> {
        let mut spans = vec![Span {
            times: 0..self.changes[0].times.start,
            answered: Some(0),
            serves: true,
            apart: Vec::new(),
        }];
        let mut active: Vec<usize> = Vec::new();
        for (number, change) in self.changes.iter().enumerate() {
            active.retain(|outage| *outage != change.outage);
            if change.begins {
                active.push(change.outage);
            }
            let next = self.changes.get(number + 1);
            let end = next.map_or(self.until, |next| next.times.start.min(self.until));
            let times = change.times.end..end;
            let faults = || active.iter().map(|outage| &self.plan[*outage]);
            let is_up = |node: usize, of_process: bool| {
                !faults().any(|one| one.reaches(node) && (one.fault.is_of_process() == of_process))
            };
            let alive: Vec<usize> = (0..self.nodes).filter(|node| is_up(*node, true)).collect();
            let reached = || alive.iter().filter(|node| is_up(**node, false));
            let serves = alive.len() * 2 > self.nodes && reached().next().is_some();
            let answers = reached().flat_map(|node| &self.answers[*node]);
            let after = answers.filter(|(asked, at)| *asked >= times.start && *at < times.end);
            spans.push(Span {
                answered: after.map(|(_, at)| *at).min().filter(|_| serves),
                serves,
                apart: faults()
                    .filter_map(|one| match one.fault {
                        Fault::Apart(gate) => Some(gate),
                        _ => None,
                    })
                    .collect(),
                times,
            });
        }
        spans
    }

    /// Which of these were sent while the coordinator was healthy: it serves, and the gates had their time to come back.
    pub(crate) fn healthy(&self, sent: &[u64]) -> Vec<usize> {
        self.which(sent, |span| {
            let from = span.answered? + BACK_MS;
            Some(from..span.times.end.saturating_sub(IN_FLIGHT_MS))
        })
    }

    /// Which of these came when no node served, and not until their deadline.
    pub(crate) fn gone(&self, sent: &[u64]) -> Vec<usize> {
        self.which(sent, |span| {
            let end = span.times.end.saturating_sub(self.deadline + BUSY_MS);
            (!span.serves).then_some(span.times.start + IN_FLIGHT_MS..end)
        })
    }

    fn which(&self, sent: &[u64], wanted: impl Fn(&Span) -> Option<Range<u64>>) -> Vec<usize> {
        let spans: Vec<Range<u64>> = self.spans().iter().filter_map(wanted).collect();
        let is_in = |knock: &usize| spans.iter().any(|span| span.contains(&sent[*knock]));
        (0..sent.len()).filter(is_in).collect()
    }

    /// After which answers the gates must admit again.
    pub(crate) fn returns(&self) -> Vec<Return> {
        let spans = self.spans().into_iter().skip(1);
        let undisturbed = spans.filter_map(|span| {
            let answered = span.answered?;
            (answered + BACK_MS < span.times.end).then_some(Return {
                answered,
                apart: span.apart,
            })
        });
        undisturbed.collect()
    }

    /// What happened, for somebody who looks for a cause.
    pub(crate) fn tell(&self, sent: &[u64], opened: &dyn Fn(usize) -> bool) {
        let start = sent[0];
        let since = |at: u64| {
            i64::try_from(at)
                .unwrap_or(i64::MAX)
                .saturating_sub_unsigned(start)
        };
        for (span, change) in self.spans().iter().skip(1).zip(&self.changes) {
            let Outage { fault, nodes, .. } = &self.plan[change.outage];
            let what = if change.begins { "begins" } else { "ends" };
            let inside = (0..sent.len()).filter(|knock| span.times.contains(&sent[*knock]));
            let (open, shut): (Vec<_>, Vec<_>) = inside.partition(|knock| opened(*knock));
            let answered = span.answered.map(since);
            say(&format!(
                "{:6} ms: {fault:?} of {nodes:?} {what}, took {} ms; serves {}, first answer {answered:?}; {} open, {} not, last at {:?}",
                since(change.times.start),
                change.times.end - change.times.start,
                span.serves,
                open.len(),
                shut.len(),
                shut.last().map(|knock| since(sent[*knock])),
            ));
        }
    }
}
