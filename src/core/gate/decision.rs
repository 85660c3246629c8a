//! What the gate decides on one datagram.

use postern_proto::Mark;

use crate::model::mark::{MarkRecord, StoredTimes};
use crate::model::reason::{Drop, Rule};
use crate::model::request::{CloseRequest, OpenRequest};

/// The gate's verdict on one datagram.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Authenticated, fresh and allowed. The request may be carried out once its mark is durable.
    Admit(Admission),
    /// Authenticated, but refused by the policy or the quota.
    Refuse(Refusal),
    /// Not authenticated, or not fresh.
    Drop(Drop),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// What must be durable before anything opens (proto/README.md section 6, step 11).
    pub record: MarkRecord,
    /// The clock floor and the horizon that must be durable with it.
    pub times: StoredTimes,
    /// Names the one-time code that the knock used up, for the other gates of a cluster.
    pub code: Option<Mark>,
    /// The knock is a sequence that must never open again.
    pub for_good: bool,
    /// The user needs no coordinator.
    pub break_glass: bool,
    pub request: ApprovedRequest,
}

/// A request that the user's policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovedRequest {
    Open(OpenRequest),
    Close(CloseRequest),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub user: String,
    pub rule: Rule,
    /// What the knock asked for, in words for the log.
    pub asked: String,
}

pub(super) enum Rejection {
    Drop(Drop),
    Refuse(Refusal),
}

impl From<Drop> for Rejection {
    fn from(reason: Drop) -> Self {
        Self::Drop(reason)
    }
}
