//! The numbers that posternd tells of itself: what the engine counts, and what the monitor does. Plain values, no names of
//! users in them; how they are written is the metrics module's.

use serde::{Deserialize, Serialize};

use crate::model::reason::Counters;
use crate::model::time::Timestamp;

/// What the engine counts, since it began to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Since when this engine serves.
    pub started: Timestamp,
    /// How many users there are.
    pub users: usize,
    /// Marks that are remembered.
    pub marks: usize,
    /// Rows of the hint table.
    pub hints: usize,
    /// Admitted knocks, and every reason by how often it was given.
    pub counters: Counters,
    /// One a capture, in the order in which they were handed over; their names are known to both.
    pub captures: Vec<CaptureFigures>,
}

/// What one capture counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureFigures {
    /// Whether it hears anything now.
    pub listening: bool,
    /// Datagrams to a knock port.
    pub received: u64,
    /// Datagrams that the kernel dropped because nobody read them in time; `None` where it does not tell.
    pub dropped: Option<u64>,
}

/// What the monitor counts, since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// When it started.
    pub started: Timestamp,
    /// Engines that were let go, one after another.
    pub engines: u64,
    /// Grants that are open.
    pub grants: usize,
    /// What became of grants.
    pub turnover: Turnover,
}

/// What became of grants, each counted once the firewall had done it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turnover {
    /// Grants that were opened.
    pub opened: u64,
    /// Renewals of one that was open already.
    pub extended: u64,
    /// Grants that were closed, whatever ended them.
    pub closed: u64,
}

impl Turnover {
    /// With what `other` counted added.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            opened: self.opened.saturating_add(other.opened),
            extended: self.extended.saturating_add(other.extended),
            closed: self.closed.saturating_add(other.closed),
        }
    }
}
