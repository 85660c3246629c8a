//! Who tries hidden services without a grant, beside the knocks that were admitted.
//!
//! Strangers choose the sources, so memory is bounded: the last sources and the last admitted knocks.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::attempt::{Attempt, Attempts, Unused};
use crate::model::grant::Grant;
use crate::model::service::Ports;
use crate::model::time::Timestamp;

/// Sources without a grant that are remembered, the last ones.
const SOURCES_MAX: usize = 64;

/// Admitted knocks that are remembered, the last ones.
const GRANTS_MAX: usize = 64;

/// Sources that are remembered for each of them, the first ones: a flood hides nobody who came before it.
const OTHERS_MAX: usize = 8;

/// What is older explains nothing.
const TOLD_FOR: Duration = Duration::from_secs(3600);

/// An attempt that is told so soon after its grant was opened was made before.
const TOLD_LATE: Duration = Duration::from_millis(250);

/// What the firewall dropped lately.
#[derive(Debug, Default)]
pub struct AttemptLog {
    /// The latest last.
    sources: VecDeque<Attempts>,
    /// The latest admitted last.
    grants: VecDeque<Watched>,
}

#[derive(Debug)]
struct Watched {
    grant: Grant,
    admitted: Timestamp,
    opened: Timestamp,
    others: Vec<Attempts>,
}

impl AttemptLog {
    /// A packet was dropped.
    pub fn attempt(&mut self, now: Timestamp, attempt: Attempt) {
        let was_before = |watched: &Watched| {
            let is_own = lets_in(&watched.grant, attempt.source) && has(&watched.grant, attempt);
            is_own && now.since(watched.opened) < TOLD_LATE
        };
        if !self.grants.iter().any(was_before) {
            count(&mut self.sources, SOURCES_MAX, now, attempt);
        }
        for watched in &mut self.grants {
            let is_open = watched.grant.until > now;
            if is_open && !lets_in(&watched.grant, attempt.source) && has(&watched.grant, attempt) {
                watched.count(now, attempt);
            }
        }
    }

    /// A knock was admitted and its grant is open. What its own address tried before needs no explanation.
    pub fn opened(&mut self, now: Timestamp, grant: &Grant) {
        self.sources.retain(|tried| {
            let attempt = Attempt {
                source: tried.source,
                service: tried.service,
            };
            !lets_in(grant, tried.source) || !has(grant, attempt)
        });
        let is_same = |known: &Watched| known.grant.id == grant.id && known.grant.opens_same(grant);
        let known = self.grants.iter().position(is_same);
        let known = known.and_then(|at| self.grants.remove(at));
        let known = known.filter(|known| known.grant.until > now);
        if self.grants.len() >= GRANTS_MAX {
            self.grants.pop_front();
        }
        self.grants.push_back(Watched {
            grant: grant.clone(),
            admitted: known.as_ref().map_or(now, |known| known.admitted),
            opened: now,
            others: known.map(|known| known.others).unwrap_or_default(),
        });
    }

    /// The last sources without a grant, the latest first.
    pub fn sources(&self) -> Vec<Attempts> {
        self.sources.iter().rev().copied().collect()
    }

    /// The admitted knocks whose services somebody else tried within the hour, the latest first.
    pub fn unused(&self, now: Timestamp) -> Vec<Unused> {
        let is_late = |tried: &Attempts| now.since(tried.last) < TOLD_FOR;
        let tried = self.grants.iter().rev();
        let tried = tried.filter(|watched| watched.others.iter().any(is_late));
        tried.map(Watched::unused).collect()
    }
}

impl Watched {
    fn count(&mut self, now: Timestamp, attempt: Attempt) {
        let has_room = self.others.len() < OTHERS_MAX;
        match self.others.iter_mut().find(|known| is_of(known, attempt)) {
            Some(known) => again(known, now),
            None if has_room => self.others.push(first(now, attempt)),
            None => {}
        }
    }

    fn unused(&self) -> Unused {
        Unused {
            user: self.grant.user.clone(),
            allow: self.grant.allow,
            admitted: self.admitted,
            attempts: self.others.clone(),
        }
    }
}

/// Counts an attempt as the latest, and forgets the earliest if there are too many.
fn count(all: &mut VecDeque<Attempts>, most: usize, now: Timestamp, attempt: Attempt) {
    let known = all.iter().position(|known| is_of(known, attempt));
    let mut row = match known.and_then(|at| all.remove(at)) {
        Some(known) => known,
        None => Attempts {
            count: 0,
            ..first(now, attempt)
        },
    };
    again(&mut row, now);
    if all.len() >= most {
        all.pop_front();
    }
    all.push_back(row);
}

fn first(now: Timestamp, attempt: Attempt) -> Attempts {
    Attempts {
        source: attempt.source,
        service: attempt.service,
        count: 1,
        last: now,
    }
}

fn again(row: &mut Attempts, now: Timestamp) {
    row.count = row.count.saturating_add(1);
    row.last = now;
}

fn is_of(row: &Attempts, attempt: Attempt) -> bool {
    row.source == attempt.source && row.service == attempt.service
}

fn lets_in(grant: &Grant, source: IpAddr) -> bool {
    grant.allow.contains(&source)
}

fn has(grant: &Grant, attempt: Attempt) -> bool {
    let forwarded = grant.forwards.iter();
    // A redirect leads to a port of the gate that its grant does not open.
    let forwarded = forwarded.flat_map(|forward| {
        let inner = forward.host.map(|_| forward.inner());
        std::iter::once(forward.at).chain(inner)
    });
    let mut ports = grant.services.iter().copied().chain(forwarded);
    ports.any(|ports: Ports| ports.overlap(attempt.service).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn attempt(source: &str, service: &str) -> Attempt {
        Attempt {
            source: source.parse().unwrap(),
            service: service.parse().unwrap(),
        }
    }

    fn grant(id: u64, allow: &str, until: u64) -> Grant {
        Grant {
            until: at(until),
            ..fixture::grant(id, "alice", allow, &["tcp/22"])
        }
    }

    #[test]
    fn attempts_from_elsewhere_show_beside_the_grant() {
        let mut log = AttemptLog::default();
        log.attempt(at(9), attempt("192.168.1.5", "tcp/22"));
        log.attempt(at(9), attempt("192.168.1.1", "tcp/22"));
        log.opened(at(10), &grant(1, "192.168.1.5/32", 40));
        for second in 11..14 {
            log.attempt(at(second), attempt("192.168.1.1", "tcp/22"));
            log.attempt(at(second), attempt("192.168.1.1", "tcp/23"));
            log.attempt(at(second), attempt("192.168.1.5", "tcp/23"));
            // A repeat is no other knock.
            log.opened(at(second), &grant(1, "192.168.1.5/32", 40 + second));
        }
        log.attempt(at(99), attempt("192.168.1.1", "tcp/22"));
        let [unused] = &log.unused(at(99))[..] else {
            panic!("{log:?}")
        };
        let tried = unused.attempts.iter();
        let tried: Vec<_> = tried.map(|one| (one.count, one.last)).collect();
        assert_eq!((unused.admitted, tried), (at(10), vec![(3, at(13))]));
        assert_eq!(log.unused(at(13 + 3600)), []);
        let sources = log.sources();
        let sources: Vec<_> = sources.iter().map(|one| (one.service, one.count)).collect();
        let [ssh, telnet] = ["tcp/22", "tcp/23"].map(|text| text.parse().unwrap());
        assert_eq!(sources, [(ssh, 5), (telnet, 3), (telnet, 3)]);
    }

    #[test]
    fn attempt_just_before_the_grant_needs_no_explanation() {
        let mut log = AttemptLog::default();
        log.opened(at(10), &grant(1, "192.168.1.5/32", 40));
        log.attempt(at(10), attempt("192.168.1.5", "tcp/22"));
        assert_eq!(log.sources(), []);
        // The grant was closed.
        log.attempt(at(12), attempt("192.168.1.5", "tcp/22"));
        assert_eq!(log.sources().len(), 1);
    }

    #[test]
    fn strangers_fill_no_memory() {
        let mut log = AttemptLog::default();
        for n in 0..1000_u32 {
            log.opened(at(1), &grant(u64::from(n), "192.168.1.5/32", 40));
        }
        for n in 0..1000_u32 {
            let source = IpAddr::from(n.to_be_bytes());
            log.attempt(at(2), attempt(&source.to_string(), "tcp/22"));
        }
        assert_eq!(log.sources().len(), SOURCES_MAX);
        assert_eq!(log.unused(at(2)).len(), GRANTS_MAX);
        let most = log.unused(at(2)).iter().map(|one| one.attempts.len()).max();
        assert_eq!(most, Some(OTHERS_MAX));
        let last = log.sources()[0].source;
        assert_eq!(last, IpAddr::from(999_u32.to_be_bytes()));
    }
}
