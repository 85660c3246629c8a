//! One claim: its keys, its value, how long it lasts, and its answers.

use std::time::Duration;

use postern_proto::Mark;
use postern_sequence::STEP_S;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::core::gate::Admission;
use crate::model::fleet::hexadecimal;
use crate::model::time::{Timestamp, millis};

/// Claims that wait for their answer. One more is unknown at once.
pub const WAITING_MAX: usize = 256;

/// How much longer a claim lasts than the window demands: the clocks of two gates may differ by this much.
pub const MARGIN: Duration = Duration::from_secs(60);

/// A one-time code is right for at most this long after the knock that used it: in the step before its own, in that, and in the next.
const CODE_LASTS: Duration = Duration::from_secs(90);

/// A keyed sequence counts until the end of its step at most this long after it.
const SEQUENCE_AHEAD: Duration = Duration::from_secs(3 * STEP_S);

/// What all gates of one name reserve for one mark: 16 bytes of the hash of the gate name, then the mark, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimKey(String);

impl ClaimKey {
    fn of(gate_name: &str, Mark(mark): Mark) -> Self {
        Self(gate_hash(gate_name) + &hexadecimal(&mark))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// 16 bytes of the hash of a gate name, in hexadecimal digits.
pub fn gate_hash(gate_name: &str) -> String {
    let hash = Sha256::digest(gate_name);
    hexadecimal(hash.get(..16).unwrap_or_default())
}

/// One reservation. It is won if none of its keys was reserved before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub mark: ClaimKey,
    /// The one-time code that the knock uses up.
    pub code: Option<ClaimKey>,
    /// When the gate asked, by its own clock.
    pub made: Timestamp,
    /// How long it lasts, by the coordinator's clock; `None`: for good.
    pub lasts_ms: Option<u64>,
}

impl Claim {
    /// The claim for an admitted knock. `window` is the longest of the gate.
    pub fn new(gate_name: &str, admission: &Admission, window: Duration, now: Timestamp) -> Self {
        let counts_until = admission.record.timestamp.plus(window);
        let code = admission.code.map(|mark| ClaimKey::of(gate_name, mark));
        let code_lasts = code.as_ref().map_or(Duration::ZERO, |_| CODE_LASTS);
        let lasts = counts_until.since(now).max(code_lasts).max(window);
        Self {
            mark: ClaimKey::of(gate_name, admission.record.mark),
            code,
            made: now,
            lasts_ms: (!admission.for_good).then(|| millis(lasts.saturating_add(MARGIN))),
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = &ClaimKey> {
        [&self.mark].into_iter().chain(&self.code)
    }

    /// What is stored at each key: the time, and who asked.
    pub fn value(&self, member: &str) -> String {
        format!("{} {member}", self.made.as_millis())
    }
}

/// When the gate that owns a claim asked for it. An unreadable value counts as old.
pub fn made_at(value: &[u8]) -> Timestamp {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    let text: String = digits.map(|byte| char::from(*byte)).take(20).collect();
    Timestamp::from_millis(text.parse().unwrap_or_default())
}

/// The longest life of a claim at a gate with this window, asked at once or late.
pub fn longest(window: Duration) -> Duration {
    window
        .saturating_add(window.max(SEQUENCE_AHEAD))
        .saturating_add(MARGIN)
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Answer {
    Won,
    /// Another knock with the mark was first.
    Lost {
        made: Timestamp,
    },
    /// The mark is new, and its one-time code was used before.
    CodeLost,
    /// Whether it was reserved nobody can tell.
    Unknown {
        why: String,
    },
}

/// The longest reason that is kept of what the cluster process or the coordinator says.
const WHY_MAX: usize = 600;

/// A reason from a hostile process, bounded and on one line.
pub fn one_line(why: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    why.chars().take(WHY_MAX).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_claims_time_is_read_defensively() {
        for (value, millis) in [
            (&b"1764446400123 gate1"[..], 1_764_446_400_123),
            (b"", 0),
            (b"gate1", 0),
            (b"99999999999999999999999", 0),
            (b"\xff\xfe", 0),
        ] {
            assert_eq!(made_at(value).as_millis(), millis);
        }
    }
}
