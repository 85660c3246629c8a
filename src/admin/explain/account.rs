//! The account of one datagram: verdict, whose it is, what it asked for, and the cause in a closed list. Plain values.

use std::net::IpAddr;
use std::time::Duration;

use postern_proto::{GateName, Malformed, Mark, Request};

use crate::core::gate::{ApprovedRequest, Seen};
use crate::model::reason::{Drop, Reason, Rule};
use crate::model::time::Timestamp;

/// What a gate says of one datagram, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What the gate decided.
    pub verdict: Verdict,
    /// Why.
    pub cause: Cause,
    /// The gate's clock when it came.
    pub at: Timestamp,
    /// How far the gate's clock is ahead of the system's, which it is where the system's was set back.
    pub clock_ahead: Duration,
    /// Where it came from; `None` where nobody knows.
    pub source: Option<IpAddr>,
    /// The length of the payload; of a longer one than a knock can be, one byte more than that.
    pub bytes: usize,
    /// This gate's name.
    pub gate: GateName,
    /// The gate's window.
    pub window: Duration,
    /// Whose key made it, at this gate or another.
    pub user: Option<String>,
    /// The packet's mark, where a user's key made it.
    pub mark: Option<Mark>,
    /// What it asks for, where it could be opened.
    pub request: Option<Request>,
    /// The same in words: `open tcp/22 for 192.0.2.7/32 (source)`.
    pub asked: Option<String>,
    /// What it asks for and does not get, though it is admitted: the words for a duration that was cut.
    pub clipped: Option<String>,
    /// What the policy would have said no to, had it not been dropped before: the rule, and the values on both sides.
    pub besides: Option<(Rule, String)>,
    /// What the running gate remembers of this very packet.
    pub running: Option<Seen>,
    /// What the running gate made of it where that is not what is said here, by all that it remembers and its config does not say.
    pub otherwise: Option<Otherwise>,
}

/// What the running gate made of a packet that config and policy admit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It refused it just now.
    Refused,
    /// It was asked and does not know it.
    Unknown,
}

/// What the gate decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may have what it asks for.
    Admit(ApprovedRequest),
    /// Authenticated, but policy or quota says no.
    Refuse(Rule),
    /// Not authenticated, or not fresh.
    Drop(Drop),
}

/// Why the verdict is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// All is right.
    Admitted,
    /// No knock has this length.
    Length,
    /// No key that is known here made it, at none of these other gates either.
    Stranger {
        /// The other gates' names that were tried.
        names: Vec<GateName>,
    },
    /// The hint is a user's, but what follows was not made with that user's key, or is no longer as it was made.
    Changed {
        /// Users who have this hint.
        users: Vec<String>,
    },
    /// A user's key, but for the gate of this name.
    OtherGate(GateName),
    /// A user's key of before, which counted until this time.
    OldKey(Timestamp),
    /// The key of this user, who is disabled.
    Disabled(String),
    /// A user's key, but the sealed part does not open: a fault of the program that made it.
    NotSealed,
    /// A user's key, but the body breaks this rule: a fault of the program that made it.
    Malformed(Malformed),
    /// A user's key, but the hint is not that of the time inside: a fault of the program that made it.
    HintOfAnotherTime,
    /// A user's key, but client's and gate's clocks are further apart than the window.
    Clock,
    /// Within the window, but from before this horizon: marks of that time are forgotten, so nothing of it is admitted.
    Forgotten(Timestamp),
    /// This very packet came before.
    Replay {
        /// When, and what became of it.
        first: Option<Seen>,
    },
    /// Policy or quota; the values on both sides.
    Refused(String),
}

impl Account {
    /// The reason as counters and logs name it; `None` for an admitted knock.
    pub fn reason(&self) -> Option<Reason> {
        match self.verdict {
            Verdict::Admit(_) => None,
            Verdict::Refuse(rule) => Some(Reason::Refuse(rule)),
            Verdict::Drop(reason) => Some(Reason::Drop(reason)),
        }
    }

    /// When the client's clock says that it was made.
    pub fn made(&self) -> Option<Timestamp> {
        self.request
            .as_ref()
            .map(|request| Timestamp::from_millis(request.timestamp_ms))
    }

    /// The running gate has seen this very packet: what would be admitted by itself is a replay of it. A refusal stays one, for its
    /// rule is what is asked for.
    pub fn seen_before(&mut self, seen: Seen) {
        self.running = Some(seen);
        if matches!(self.verdict, Verdict::Admit(_)) {
            self.verdict = Verdict::Drop(seen.reason_to_drop(self.at));
            self.cause = Cause::Replay { first: Some(seen) };
        }
    }

    /// The running gate did otherwise just now: the verdict stays that of the config, and is told as no more than that.
    pub fn done_otherwise(&mut self, seen: Option<Seen>) {
        self.running = seen;
        self.otherwise = Some(if seen.is_some() {
            Otherwise::Refused
        } else {
            Otherwise::Unknown
        });
    }
}

impl Verdict {
    /// `admit`, `refuse` or `drop`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Admit(_) => "admit",
            Self::Refuse(_) => "refuse",
            Self::Drop(_) => "drop",
        }
    }
}

impl Cause {
    /// Its name for programs.
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
            Self::Replay { .. } => "replay",
            Self::Refused(_) => "policy",
        }
    }
}
