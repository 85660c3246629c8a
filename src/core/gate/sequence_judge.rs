//! The decision on one complete sequence: whose it is, and whether it may open.

use std::net::IpAddr;

use postern_proto::Mark;
use postern_sequence::STEP_S;
use sha2::{Digest, Sha256};

use super::decision::{Admission, ApprovedRequest, Decision, Rejection};
use super::judge::Gate;
use super::sequences::{SequenceUser, Sequences};
use crate::core::sequence::{Completion, Hit, Outcome};
use crate::model::address;
use crate::model::mark::MarkRecord;
use crate::model::policy::Policy;
use crate::model::reason::{Drop, Rule};
use crate::model::request::{AddressFrom, OpenRequest};
use crate::model::service;
use crate::model::time::Timestamp;

impl Gate {
    /// Adds users who knock with a sequence.
    #[must_use]
    pub fn with_sequences(mut self, users: Vec<SequenceUser>) -> Self {
        self.sequences = Sequences::new(users);
        self
    }

    /// Takes a packet to a port of a sequence. `None` if it decides nothing: it is no hit, or not the last one.
    pub fn handle_hit(&mut self, now: Timestamp, hit: &Hit) -> Option<Decision> {
        let now = self.replay.clock(now);
        let judged = match self.sequences.hit(now, hit) {
            Outcome::Unwatched | Outcome::Ignored | Outcome::Started | Outcome::Advanced => {
                return None;
            }
            Outcome::Wrong => Err(Drop::WrongHit.into()),
            Outcome::Completed(completion) => self.complete(now, &completion),
        };
        Some(self.decide(judged))
    }

    fn complete(
        &mut self,
        now: Timestamp,
        completion: &Completion,
    ) -> Result<Admission, Rejection> {
        let found = self.sequences.find(completion).ok_or(Drop::WrongHit)?;
        let (number, step) = found;
        let user = self.users.member(number).ok_or(Drop::WrongHit)?;
        let (policy, source) = (&user.policy, completion.source);
        let record = record(policy, source, step, now);
        self.replay.unseen(&record)?;

        let approved = approve(now, source, policy).and_then(|open| {
            policy.check(&open, &self.catalog)?;
            Ok(ApprovedRequest::Open(open))
        });
        let asked = asked(policy, source);
        self.settle(number, &record, approved, || asked)
    }
}

/// What must be durable before the sequence opens anything. A keyed sequence is remembered for as long as its step counts.
fn record(policy: &Policy, source: IpAddr, step: Option<u64>, now: Timestamp) -> MarkRecord {
    let mut hash = Sha256::new();
    let (kind, timestamp) = match step {
        Some(step) => {
            hash.update(step.to_be_bytes());
            let end = step.saturating_add(2).saturating_mul(STEP_S);
            let end = Timestamp::from_millis(end.saturating_mul(1000));
            (&b"step"[..], end)
        }
        None => {
            hash.update(now.as_millis().to_be_bytes());
            hash.update(source.to_string());
            (&b"time"[..], now)
        }
    };
    hash.update(kind);
    hash.update(&policy.user);
    let [mark @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32] =
        hash.finalize().into();
    MarkRecord {
        mark: Mark(mark),
        timestamp,
        admitted: now,
    }
}

/// A sequence names nothing: it opens all of the user's services for its source.
fn approve(now: Timestamp, source: IpAddr, policy: &Policy) -> Result<OpenRequest, Rule> {
    policy.check_knock(source, now)?;
    Ok(OpenRequest {
        user: policy.user.clone(),
        allow: address::host(source.to_canonical()),
        from: AddressFrom::Observed,
        target: None,
        services: policy.services.clone(),
        duration: policy.clip(0, now),
    })
}

fn asked(policy: &Policy, source: IpAddr) -> String {
    let services = service::list(&policy.services);
    format!("open {services} for {source} (source) with a sequence")
}
