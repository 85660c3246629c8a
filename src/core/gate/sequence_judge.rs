//! The decision on one complete sequence: whose it is, and whether it may open.

use std::net::IpAddr;

use postern_fwknop::Allow;
use postern_fwknop::sequence::Access;
use postern_proto::Mark;
use postern_sequence::STEP_S;
use sha2::{Digest, Sha256};

use super::decision::{Admission, ApprovedRequest, Decision, Rejection};
use super::judge::Gate;
use super::sequences::{Found, SequenceUser, Sequences};
use crate::core::sequence::{Completion, Hit, Outcome};
use crate::model::address;
use crate::model::mark::{MarkRecord, RunRecord};
use crate::model::policy::Policy;
use crate::model::reason::{Drop, Rule};
use crate::model::request::{AddressFrom, OpenRequest};
use crate::model::service::{self, Ports, Wanted};
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
        let source = completion.source;
        let (number, step, run, access) = match found {
            Found::Plain(number) => (number, None, None, None),
            Found::Keyed(number, step) => (number, Some(step), None, None),
            Found::OneTime(number, mark) => (number, None, Some(mark), None),
            Found::Encrypted(offset, run) => {
                let mut users = self.sequences.encrypted(offset);
                let opened = users.find_map(|(number, key)| Some((number, key.open(&run).ok()?)));
                let (number, access) = opened.ok_or(Drop::BadSeal)?;
                let mark = Mark(postern_fwknop::sequence::mark(&run).0);
                (number, None, Some(mark), Some(access))
            }
        };
        let user = self.users.member(number).ok_or(Drop::WrongHit)?;
        let policy = &user.policy;
        let mut record = record(policy, source, step, now, self.sequences.completed);
        let has_room = access.is_none() || self.sequences.has_room(number);
        if let Some(mark) = run {
            if self.sequences.is_used(number, mark) {
                return Err(Drop::Replay.into());
            }
            record.mark = mark;
            // Also if the policy refuses it: it must not open later.
            if has_room {
                self.sequences.remember_run(number, mark);
                self.unsaved.runs.push(RunRecord {
                    user: policy.user.to_string(),
                    mark,
                    used: now,
                });
            }
        }
        self.replay.unseen(&record)?;

        let wanted = wanted(source, policy, access.as_ref());
        let asked = wanted.asked();
        let approved = approve(now, source, policy, wanted).and_then(|open| {
            policy.check(&open, &self.catalog)?;
            if has_room {
                Ok(ApprovedRequest::Open(open))
            } else {
                Err(Rule::UsedSequences)
            }
        });
        let mut admission = self.settle(number, &record, approved, || asked)?;
        admission.for_good = run.is_some();
        Ok(admission)
    }
}

/// What must be durable before the sequence opens anything. A keyed sequence is remembered for as long as its step counts.
fn record(
    policy: &Policy,
    source: IpAddr,
    step: Option<u64>,
    now: Timestamp,
    count: u64,
) -> MarkRecord {
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
            hash.update(count.to_be_bytes());
            hash.update(source.to_string());
            (&b"time"[..], now)
        }
    };
    hash.update(kind);
    hash.update(policy.user.as_str());
    MarkRecord {
        mark: Mark::of(hash.finalize().into()),
        timestamp,
        admitted: now,
    }
}

/// What a sequence asks for.
struct Asked {
    allow: IpAddr,
    from: AddressFrom,
    services: Vec<Wanted>,
}

impl Asked {
    /// In words for the log.
    fn asked(&self) -> String {
        let services = service::list(&self.services);
        format!("open {services} for {} with a sequence", self.allow)
    }
}

/// An encrypted sequence names a port and perhaps an address. Others name nothing: they open all of the user's services
/// for their source.
fn wanted(source: IpAddr, policy: &Policy, access: Option<&Access>) -> Asked {
    let source = source.to_canonical();
    let Some(access) = access else {
        return Asked {
            allow: source,
            from: AddressFrom::Observed,
            services: policy.services.clone(),
        };
    };
    let (allow, from) = match access.allow {
        Allow::Source => (source, AddressFrom::Observed),
        Allow::Address(claimed) if source == claimed => (source, AddressFrom::Same),
        Allow::Address(claimed) => (claimed.into(), AddressFrom::Claimed),
    };
    let ports = Ports::of_packet(access.protocol as u8, access.port);
    Asked {
        allow,
        from,
        services: ports.map(Wanted::Ports).into_iter().collect(),
    }
}

fn approve(
    now: Timestamp,
    source: IpAddr,
    policy: &Policy,
    asked: Asked,
) -> Result<OpenRequest, Rule> {
    policy.check_knock(source, now)?;
    Ok(OpenRequest {
        user: policy.user.to_string(),
        allow: address::host(asked.allow),
        from: asked.from,
        target: None,
        services: asked.services,
        duration: policy.clip(0, now),
    })
}
