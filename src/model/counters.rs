//! What engine and monitor count, for `posternd status` and the metrics. No user names.

use serde::{Deserialize, Serialize};

use crate::model::fleet::FleetStatus;
use crate::model::reason::Reason;
use crate::model::roster::RosterCounters;
use crate::model::time::Timestamp;

/// What the engine counts since it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineCounters {
    pub started: Timestamp,
    pub users: usize,
    pub marks: usize,
    pub hints: usize,
    pub counters: ReasonCounters,
    /// One for each capture, in the order of their handover.
    pub captures: Vec<CaptureCounters>,
    /// `None` without a cluster.
    pub claims: Option<ClaimCounters>,
    /// `None` without a fleet key.
    pub fleet: Option<Box<FleetStatus>>,
}

/// What became of the claims of knocks, and whether the coordinator answers now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimCounters {
    pub won: u64,
    pub lost: u64,
    pub unknown: u64,
    pub answers: bool,
}

/// What one capture counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureCounters {
    /// Whether its interface is up.
    pub listening: bool,
    /// Datagrams to a knock port.
    pub received: u64,
    /// Datagrams that the kernel dropped because the queue was full; `None` if it does not tell.
    pub dropped: Option<u64>,
}

/// What the monitor counts since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorCounters {
    pub started: Timestamp,
    /// Engines started, one after another.
    pub engines: u64,
    pub grants: usize,
    /// Services that a grant does not open, or that are not hidden.
    pub faults: usize,
    pub(crate) turnover: GrantCounters,
    /// `None` if the config has no `[roster]`.
    pub(crate) roster: Option<RosterCounters>,
}

/// Changes of grants, each counted after the firewall made it, and knocks for a grant that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantCounters {
    pub opened: u64,
    /// Knocks for a grant that was open already.
    pub extended: u64,
    pub closed: u64,
}

/// Admitted knocks and how often each reason was given. As a message, a list: admitted, then [`Reason::all`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<u64>", try_from = "Vec<u64>")]
pub struct ReasonCounters {
    /// Knocks that passed every step up to the quota.
    pub admitted: u64,
    given: [u64; Reason::COUNT],
}

impl Default for ReasonCounters {
    fn default() -> Self {
        Self {
            admitted: 0,
            given: [0; Reason::COUNT],
        }
    }
}

impl From<ReasonCounters> for Vec<u64> {
    fn from(counters: ReasonCounters) -> Self {
        std::iter::once(counters.admitted)
            .chain(counters.given)
            .collect()
    }
}

impl TryFrom<Vec<u64>> for ReasonCounters {
    type Error = &'static str;

    fn try_from(list: Vec<u64>) -> Result<Self, Self::Error> {
        let (admitted, given) = list.split_first().ok_or("no counters")?;
        Ok(Self {
            admitted: *admitted,
            given: given.try_into().map_err(|_| "not one counter a reason")?,
        })
    }
}

impl ReasonCounters {
    pub fn count(&mut self, reason: Reason) {
        self.add(reason, 1);
    }

    pub fn add(&mut self, reason: Reason, more: u64) {
        if let Some(counter) = self.given.get_mut(reason.index()) {
            *counter = counter.saturating_add(more);
        }
    }

    pub fn of(&self, reason: Reason) -> u64 {
        self.given.get(reason.index()).copied().unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::all().map(|reason| (reason, self.of(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reason::Rule;

    #[test]
    fn message_needs_one_counter_for_each_reason() {
        let mut counters = ReasonCounters {
            admitted: 7,
            ..ReasonCounters::default()
        };
        counters.count(Reason::Refuse(Rule::Quota));
        let text = serde_json::to_string(&counters).unwrap();
        let read = serde_json::from_str::<ReasonCounters>;
        assert_eq!(read(&text).unwrap(), counters);
        for wrong in [
            "[]",
            "[1]",
            &text.replace('[', "[0,"),
            &text.replacen("7,", "", 1),
            &text.replace('7', "-7"),
            "null",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
