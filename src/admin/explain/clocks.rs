//! Finds out whose clock is wrong, also if it is hours off: a table leads from the hints of every user for hours to the
//! key. On a few other datagrams of each second every key is tried, because a mac does not depend on the time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use postern_proto::{Packet, Step};

use super::explainer::Explainer;
use crate::adapters::clock;
use crate::core::gate::{HintKeys, HintTable};
use crate::model::datagram::Datagram;
use crate::model::time::{Timestamp, count};

/// How far off a clock may be to be found in the table.
const FARTHEST: Duration = Duration::from_secs(12 * 3600);
/// A table with more rows would take too much memory.
const ROWS_MAX: usize = 1_000_000;

/// Datagrams that are looked up in a second. The kernel drops what comes beyond.
const LOOKED_UP: u32 = 5000;
/// Datagrams of a second on which all keys are tried, and the pause after each: at most a quarter of a processor.
const TRIED: u32 = 50;
const PAUSE: u32 = 3;
const SECOND: Duration = Duration::from_secs(1);

/// A difference that changes by more is told again.
const CHANGE: u64 = 10_000;

/// The difference between two clocks, as one knock shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClockOffset {
    pub(crate) user: String,
    pub(crate) source: IpAddr,
    /// When it arrived, by the gate's clock.
    pub(crate) at: Timestamp,
    /// When it was made, by the client's.
    pub(crate) made: Timestamp,
    /// Whether the window allows the difference.
    pub(crate) is_right: bool,
}

impl ClockOffset {
    /// Milliseconds that the client's clock is behind; negative if it is ahead.
    pub(crate) fn behind_ms(&self) -> i64 {
        self.at.age_of(self.made)
    }

    /// `alice's clock is 61 minutes behind`.
    pub(crate) fn sentence(&self) -> String {
        let (user, source) = (&self.user, self.source);
        let (behind, ahead) = (self.at.since(self.made), self.made.since(self.at));
        let (length, side) = if ahead.is_zero() {
            (behind, "behind")
        } else {
            (ahead, "ahead")
        };
        let seconds = length.as_millis().saturating_add(500) / 1000;
        let minutes = seconds.saturating_add(30) / 60;
        let length = match u64::try_from(minutes).unwrap_or(u64::MAX) {
            0 | 1 => count(u64::try_from(seconds).unwrap_or(u64::MAX), "second"),
            minutes => count(minutes, "minute"),
        };
        if self.is_right {
            return format!("{user}'s clock is right: {length} {side}, by a knock from {source}");
        }
        format!(
            "{user}'s clock is {length} {side}, by a knock from {source}: set it, or this gate's, whichever is wrong"
        )
    }
}

#[derive(Debug)]
pub(super) struct Clocks {
    /// `None` if there are too many users.
    table: Option<HintTable>,
    /// The differences that were told, in milliseconds.
    told: BTreeMap<String, i64>,
    second: Timestamp,
    looked_up: u32,
    tried: u32,
}

impl Clocks {
    pub(super) fn new(keys: &HintKeys, now: Timestamp) -> Self {
        let first = Step::of(now.minus(FARTHEST).as_millis());
        let last = Step::of(now.plus(FARTHEST).as_millis());
        let steps = first.0..=last.0;
        let rows = steps.clone().count().saturating_mul(keys.iter().count());
        Self {
            table: (rows <= ROWS_MAX).then(|| HintTable::build(keys, steps)),
            told: BTreeMap::new(),
            second: now,
            looked_up: 0,
            tried: 0,
        }
    }

    /// What this datagram says about its user's clock, unless that was told already.
    pub(super) fn look(
        &mut self,
        explainer: &Explainer,
        at: Timestamp,
        datagram: &Datagram,
    ) -> Option<ClockOffset> {
        self.pace();
        let packet = Packet::parse(datagram.payload()).ok()?;
        let hinted = self
            .table
            .iter()
            .flat_map(|table| table.find(packet.hint()));
        let found = explainer.made_by(&packet, hinted.map(|(row, _)| row));
        let found = found.or_else(|| self.try_all(explainer, &packet));
        let (user, made) = found?;
        let offset = ClockOffset {
            user: user.to_owned(),
            source: datagram.source(),
            at,
            made,
            is_right: explainer.allows(at, made),
        };
        let behind = offset.behind_ms();
        let is_told = |told: &i64| told.abs_diff(behind) <= CHANGE;
        if self.told.get(user).is_some_and(is_told) {
            return None;
        }
        self.told.insert(user.to_owned(), behind);
        Some(offset)
    }

    pub(super) fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    fn try_all<'a>(
        &mut self,
        explainer: &'a Explainer,
        packet: &Packet<'_>,
    ) -> Option<(&'a str, Timestamp)> {
        if self.tried >= TRIED {
            return None;
        }
        self.tried = self.tried.saturating_add(1);
        let start = clock::instant();
        let found = explainer.made_by_anyone(packet);
        thread::sleep(clock::elapsed(start).saturating_mul(PAUSE));
        found
    }

    /// Waits for the next second after so many datagrams.
    fn pace(&mut self) {
        let mut now = clock::wall();
        let left = SECOND.saturating_sub(now.since(self.second));
        if self.looked_up >= LOOKED_UP && !left.is_zero() {
            thread::sleep(left);
            now = clock::wall();
        }
        let is_next = now.since(self.second) >= SECOND || now < self.second;
        if is_next {
            (self.second, self.looked_up, self.tried) = (now, 0, 0);
        }
        self.looked_up = self.looked_up.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_is_told_in_plain_units() {
        let said = |made: u64, is_right| {
            let offset = ClockOffset {
                user: "alice".to_owned(),
                source: "192.0.2.7".parse().unwrap(),
                at: Timestamp::from_millis(10_000_000),
                made: Timestamp::from_millis(made),
                is_right,
            };
            offset.sentence()
        };
        for (made, start) in [
            (
                10_000_000 - 3_661_300,
                "alice's clock is 61 minutes behind, ",
            ),
            (10_000_000 + 420_000, "alice's clock is 7 minutes ahead, "),
            (10_000_000 - 61_000, "alice's clock is 61 seconds behind, "),
        ] {
            assert!(
                said(made, false).starts_with(start),
                "{}",
                said(made, false)
            );
        }
        let right = "alice's clock is right: 1 second behind, by a knock from 192.0.2.7";
        assert_eq!(said(9_999_000, true), right);
    }
}
