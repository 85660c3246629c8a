//! What was durable, ordered and reported, kept apart from the daemon, and what must hold because of it.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use postern::adapters::firewall::memory::{MemoryDriver, State};
use postern::core::order::{Order, Report};
use postern::daemon::engine::commit::Commit;
use postern::model::grant::Grant;
use postern::model::reason::Rule;
use postern::model::time::Timestamp;
use postern_proto::Mark;

use super::event::Event;

#[derive(Default)]
pub(super) struct Record {
    durable: HashSet<Mark>,
    ordered: HashSet<Mark>,
    /// What was told to be open, and until when, unless it was closed since.
    told: BTreeMap<IpAddr, Timestamp>,
    /// Latest end that any order served so far can have given.
    latest: BTreeMap<IpAddr, Timestamp>,
    admitted: usize,
}

/// What is seen after an event.
pub(super) struct Seen<'a> {
    pub event: Event,
    /// The kernel's clock.
    pub now: Timestamp,
    /// The grants in the firewall.
    pub open: &'a [Grant],
    /// The firewall fails.
    pub failing: bool,
    /// The monitor runs.
    pub monitor: bool,
    /// The kernel or the monitor ends grants now.
    pub ends: bool,
    /// How many marks the engine knows, if one runs.
    pub marks: Option<usize>,
}

impl Record {
    pub(super) fn admits(&mut self) {
        self.admitted += 1;
    }

    pub(super) fn stored(&mut self, commit: &Commit) {
        let marks = commit.change.marks.iter();
        self.durable.extend(marks.map(|record| record.mark));
    }

    /// The order of a commit.
    pub(super) fn gives(&mut self, commit: &Commit, order: &Order) {
        let mark = commit.change.marks[0].mark;
        assert!(
            self.durable.contains(&mark),
            "an order before its mark is durable: {order:?}"
        );
        let is_first = self.ordered.insert(mark);
        assert!(is_first, "one mark, two orders: {order:?}");
    }

    /// How many knocks were ordered.
    pub(super) fn orders(&self) -> usize {
        self.ordered.len()
    }

    /// The monitor takes an order; a grant of it ends then.
    pub(super) fn served(&mut self, order: &Order, ends: Timestamp) {
        if let Order::Open { request, .. } = order {
            let latest = self.latest.entry(request.allow.addr()).or_default();
            *latest = ends.max(*latest);
        }
    }

    pub(super) fn reported(
        &mut self,
        order: &Order,
        report: &Report,
        ends: Timestamp,
        firewall: &MemoryDriver,
    ) {
        match (report, order) {
            (Report::Opened { grant, .. }, Order::Open { request, .. }) => {
                assert_eq!((grant.allow, grant.user.as_str()), (request.allow, "alice"));
                assert!(grant.until >= ends);
                self.told.insert(grant.allow.addr(), grant.until);
            }
            (Report::Closed { count, .. }, Order::Close { request, .. }) => {
                let open =
                    |state: &mut State| state.open.iter().any(|open| open.allow == request.allow);
                assert!(
                    *count == 0 || !firewall.with(open),
                    "told to be closed, but open: {order:?}"
                );
                // A close that failed is tried again.
                self.told.remove(&request.allow.addr());
            }
            (
                Report::Refused {
                    rule: Rule::Firewall,
                    ..
                },
                _,
            ) => {
                assert!(firewall.with(|state| state.failing.is_some()), "{report:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// This monitor alone restores what another program removed.
    pub(super) fn monitor_dies(&mut self, open: &[Grant]) {
        self.told
            .retain(|address, _| open.iter().any(|grant| grant.allow.addr() == *address));
    }

    pub(super) fn check(&self, seen: &Seen<'_>) {
        let (event, now) = (seen.event, seen.now);
        for grant in seen.open {
            let latest = self.latest.get(&grant.allow.addr());
            assert!(
                latest.is_some_and(|latest| grant.until <= *latest),
                "{event:?}: nobody may have {grant} until {}",
                grant.until
            );
            assert!(
                grant.until > now || !seen.ends,
                "{event:?}: past its end: {grant}"
            );
        }
        if seen.monitor && !seen.failing {
            for (address, until) in self.told.iter().filter(|(_, until)| **until > now) {
                let there = seen
                    .open
                    .iter()
                    .any(|grant| grant.allow.addr() == *address && grant.until >= *until);
                assert!(
                    there,
                    "{event:?}: told to be open until {until}, but shut for {address}"
                );
            }
        }
        assert!(seen.marks.is_none_or(|marks| marks <= self.admitted));
    }
}
