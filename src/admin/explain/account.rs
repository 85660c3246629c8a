//! The account of one datagram: verdict, user, request, and the cause from a closed list. Plain values.

use std::net::IpAddr;
use std::time::Duration;

use postern_fwknop::{Opened, Reason as Fault};
use postern_proto::{GateName, Malformed, Mark, Request};

use crate::core::gate::{ApprovedRequest, Seen};
use crate::model::reason::{Drop, Reason, Rule};
use crate::model::time::Timestamp;

/// The gate's verdict on one datagram, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub(crate) verdict: Verdict,
    pub cause: Cause,
    pub(crate) at: Timestamp,
    /// How far the gate's clock is ahead of the system's, after that was set back.
    pub(crate) clock_ahead: Duration,
    pub(crate) source: Option<IpAddr>,
    /// The length of the payload, at most one byte more than a knock can have.
    pub(crate) bytes: usize,
    pub(crate) gate: GateName,
    pub(crate) window: Duration,
    /// The user whose key made it, for this gate or another.
    pub user: Option<String>,
    /// The packet's mark, if a user's key made it.
    pub(crate) mark: Option<Mark>,
    pub(crate) request: Option<Request>,
    /// The same in words: `open tcp/22 for 192.0.2.7/32 (source)`.
    pub(crate) asked: Option<String>,
    pub(crate) clipped: Option<String>,
    /// The rule that would refuse a dropped knock, with the values on both sides.
    pub(crate) besides: Option<(Rule, String)>,
    pub(crate) running: Option<Seen>,
    /// The running gate's decision, if it differs because of what that gate remembers.
    pub(crate) otherwise: Option<Otherwise>,
    /// Whether it is a packet of fwknop, and what is in it.
    pub(crate) is_fwknop: bool,
    pub(crate) fwknop: Option<Box<Opened>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    Refused,
    Unknown,
    /// Nobody asked it: it is a sequence, which has no bytes to compare.
    NotAsked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admit(ApprovedRequest),
    Refuse(Rule),
    Drop(Drop),
}

/// The cause of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    Admitted,
    Length,
    /// No known key made it, neither for this gate nor for these.
    Stranger {
        names: Vec<GateName>,
    },
    /// The hint is a user's, but the mac is not.
    Changed {
        users: Vec<String>,
    },
    /// A user's key, but for the gate with this name.
    OtherGate(GateName),
    /// A user's old key, which expired at this time.
    OldKey(Timestamp),
    /// The key of a disabled user.
    Disabled(String),
    /// The sealed part does not open: the client program is faulty.
    NotSealed,
    /// The body breaks this rule: the client program is faulty.
    Malformed(Malformed),
    /// A user's key, but the hint does not belong to the time inside: a fault of the program that made it.
    HintOfAnotherTime,
    /// The clocks of client and gate are further apart than the window.
    Clock,
    /// Within the window, but made before this horizon: marks of that time are forgotten.
    Forgotten(Timestamp),
    Replay {
        first: Option<Seen>,
    },
    /// A sequence that opens once, and has.
    UsedSequence,
    /// A packet of fwknop that no key opens, or that breaks this rule of its format.
    Fwknop(Fault),
    /// Refused by policy or quota, with the values on both sides.
    Refused(String),
}

impl Account {
    /// The reason as counters and logs name it; `None` if admitted.
    pub fn reason(&self) -> Option<Reason> {
        match self.verdict {
            Verdict::Admit(_) => None,
            Verdict::Refuse(rule) => Some(Reason::Refuse(rule)),
            Verdict::Drop(reason) => Some(Reason::Drop(reason)),
        }
    }

    /// When it was made, by the client's clock.
    pub fn made(&self) -> Option<Timestamp> {
        let ours = self.request.as_ref().map(|request| request.timestamp_ms);
        let fwknop = self.fwknop.as_ref();
        let fwknop = fwknop.map(|opened| opened.request.timestamp_s.saturating_mul(1000));
        ours.or(fwknop).map(Timestamp::from_millis)
    }

    /// The running gate has seen this packet: an admission becomes a replay. A refusal stays one, because its rule is
    /// of interest.
    pub fn seen_before(&mut self, seen: Seen) {
        self.running = Some(seen);
        if matches!(self.verdict, Verdict::Admit(_)) {
            self.verdict = Verdict::Drop(seen.reason_to_drop(self.at));
            self.cause = Cause::Replay { first: Some(seen) };
        }
    }

    /// The running gate decided differently: the verdict is reported as that of the config only.
    pub fn done_otherwise(&mut self, seen: Option<Seen>) {
        self.running = seen;
        self.otherwise = Some(seen.map_or(Otherwise::Unknown, |_| Otherwise::Refused));
    }
}

impl Verdict {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Admit(_) => "admit",
            Self::Refuse(_) => "refuse",
            Self::Drop(_) => "drop",
        }
    }
}

impl Cause {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Length => "length",
            Self::Stranger { .. } => "unknown-key",
            Self::Changed { .. } => "changed",
            Self::OtherGate(_) => "other-gate",
            Self::OldKey(_) => "old-key",
            Self::Disabled(_) => "disabled",
            Self::NotSealed => "not-sealed",
            Self::Malformed(_) => "malformed",
            Self::HintOfAnotherTime => "hint-of-another-time",
            Self::Clock => "clock",
            Self::Forgotten(_) => "forgotten",
            Self::Replay { .. } | Self::UsedSequence => "replay",
            Self::Fwknop(Fault::Mac) => "unknown-key",
            Self::Fwknop(_) => "malformed",
            Self::Refused(_) => "policy",
        }
    }
}
