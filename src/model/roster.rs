//! What a gate knows of rosters: its settings, what it counts, and why it refuses one.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// The longest roster. It is read whole.
pub const ROSTER_MAX: usize = 16 << 20;

/// The longest file of signatures.
pub const SIGNATURES_TEXT_MAX: usize = 64 << 10;

/// The `[roster]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterSettings {
    /// Public keys of signers, in minisign's format.
    pub trust: Vec<String>,
    /// How many of them must have signed, also if a roster asks for fewer.
    pub signatures: usize,
    /// Where `posternd roster pull` gets it.
    pub url: Option<String>,
    /// Whether the coordinator of `[cluster]` has it as well.
    pub from_coordinator: bool,
    /// Certificates of authorities for the server of `url`; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    pub freshness: Freshness,
}

/// What happens to users of a roster that was not confirmed for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// They stay until the roster's end.
    Any,
    /// They stay until the roster's end, with a warning after this time.
    BestEffort(Duration),
    /// They are refused after this time.
    Strict(Duration),
}

impl Freshness {
    /// When a roster that was confirmed at this time is stale.
    pub fn stale_from(self, confirmed: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Any => None,
            Self::BestEffort(age) | Self::Strict(age) => Some(confirmed.plus(age)),
        }
    }

    /// How often it is confirmed, so that it does not get stale.
    pub fn refresh(self) -> Option<Duration> {
        match self {
            Self::Any => None,
            Self::BestEffort(age) | Self::Strict(age) => Some(age / 4),
        }
    }

    /// When it counts no more because it is stale; a whole second, as every end of a user.
    pub fn ends(self, confirmed: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Strict(age) => {
                let end = confirmed.plus(age).as_millis();
                Some(Timestamp::from_millis(end / 1000 * 1000))
            }
            Self::Any | Self::BestEffort(_) => None,
        }
    }
}

/// What a gate notes of the roster in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterInForce {
    pub version: u64,
    pub until: Timestamp,
    /// How many signatures it asked for. The next one needs as many.
    pub signatures: usize,
    /// When it was taken, or found to be the newest.
    pub confirmed: Timestamp,
}

/// What the monitor reports of rosters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct RosterCounters {
    /// 0 if none is in force.
    pub version: u64,
    pub until: Timestamp,
    pub confirmed: Timestamp,
    /// When it is stale; `None` without `max_age`.
    pub stale: Option<Timestamp>,
    /// How many were refused, in the order of [`RosterFault::ALL`].
    pub refused: [u64; RosterFault::ALL.len()],
}

/// Why a roster is refused. A closed list: metrics, findings and documents name these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RosterFault {
    Unreachable,
    TooLarge,
    Unsigned,
    Untrusted,
    BadSignature,
    TooFewSignatures,
    Malformed,
    OtherGate,
    Older,
    Expired,
    Unusable,
}

impl RosterFault {
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::TooLarge,
        Self::Unsigned,
        Self::Untrusted,
        Self::BadSignature,
        Self::TooFewSignatures,
        Self::Malformed,
        Self::OtherGate,
        Self::Older,
        Self::Expired,
        Self::Unusable,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TooLarge => "too-large",
            Self::Unsigned => "unsigned",
            Self::Untrusted => "untrusted",
            Self::BadSignature => "bad-signature",
            Self::TooFewSignatures => "too-few-signatures",
            Self::Malformed => "malformed",
            Self::OtherGate => "other-gate",
            Self::Older => "older",
            Self::Expired => "expired",
            Self::Unusable => "unusable",
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }
}

/// A refused roster: why, in which way, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterRefusal {
    pub fault: RosterFault,
    pub why: String,
}

impl RosterRefusal {
    pub fn new(fault: RosterFault, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { fault, why }
    }
}

impl fmt::Display for RosterRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault.name(), self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_at_their_place() {
        for (at, fault) in RosterFault::ALL.into_iter().enumerate() {
            assert_eq!(fault.index(), at);
            let text = serde_json::to_string(&fault).unwrap();
            assert_eq!(text, format!("{:?}", fault.name()));
        }
    }
}
