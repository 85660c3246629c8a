//! Points in time and lengths of time in the forms that people write them.
//!
//! Owns [`Timestamp`] and the text of durations. Must not read a clock: a time comes in as an argument
//! (the `clock` module is the only one that asks the system).

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This much later; stays at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(millis(length)))
    }

    /// This much earlier; stays at the epoch instead of wrapping.
    #[must_use]
    pub fn minus(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(millis(length)))
    }

    /// What this time is called after the clock was set; stays between the epoch and the end of time.
    #[must_use]
    pub fn stepped(self, step: ClockStep) -> Self {
        match step {
            ClockStep::Forward(by) => self.plus(by),
            ClockStep::Back(by) => self.minus(by),
        }
    }

    /// How long from `earlier` to this time; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// By how much a clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockStep {
    /// It shows a later time than it would have.
    Forward(Duration),
    /// It shows an earlier time.
    Back(Duration),
}

impl ClockStep {
    /// What leads from one time to another; none where they are the same.
    pub fn between(from: Timestamp, to: Timestamp) -> Option<Self> {
        match from.cmp(&to) {
            Ordering::Less => Some(Self::Forward(to.since(from))),
            Ordering::Greater => Some(Self::Back(from.since(to))),
            Ordering::Equal => None,
        }
    }

    /// How long it is, whichever way it leads.
    pub fn length(self) -> Duration {
        let (Self::Forward(length) | Self::Back(length)) = self;
        length
    }
}

/// As people say it: `2h forward`, `500ms back`.
impl fmt::Display for ClockStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self {
            Self::Forward(_) => "forward",
            Self::Back(_) => "back",
        };
        write!(f, "{} {way}", human(self.length()))
    }
}

/// RFC 3339 in UTC, to the second where there is no fraction.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0)
            .ok()
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        {
            Some(time) => write!(f, "{time}"),
            None => write!(f, "{} ms after 1970", self.0),
        }
    }
}

/// Reads a point in time as RFC 3339 writes it; `None` for anything else, and for times before 1970.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.trim().parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Timestamp)
}

/// A length of time in whole milliseconds, at most `u64::MAX`.
pub fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// Reads `30s`, `10m`, `1h 30m`, `500ms`; a bare number is not accepted, for it does not say its unit.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a length of time; write it like 30s, 10m or 1h 30m");
    let span: jiff::SignedDuration = text.trim().parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

/// Reads a point in time with its offset, as RFC 3339 has it: `2026-12-01T00:00:00Z`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    let millis = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    millis.map(Timestamp).ok_or_else(|| {
        format!("\"{text}\" is not a point in time; write it like 2026-12-01T00:00:00Z")
    })
}

/// A length of time as people say it: `30s`, `1h 30m`.
pub fn human(length: Duration) -> String {
    let seconds = length.as_secs();
    if length.subsec_millis() > 0 && seconds < 60 {
        return if seconds == 0 {
            format!("{}ms", length.as_millis())
        } else {
            format!("{:.1}s", length.as_secs_f64())
        };
    }
    let parts = [
        (seconds / 3_600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if said.is_empty() {
        "0s".to_owned()
    } else {
        said.join(" ")
    }
}

/// A number of things as people say it: `1 user`, `2 users`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{number} {thing}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them_and_said_the_same_way() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("1h 30m", 5400), ("1h", 3600)] {
            assert_eq!(
                parse_duration(text).unwrap(),
                Duration::from_secs(seconds),
                "{text}"
            );
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(human(Duration::from_millis(1500)), "1.5s");
    }

    #[test]
    fn a_number_without_a_unit_or_a_negative_length_is_refused() {
        for text in ["30", "", "-5s", "soon", "1x"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_point_in_time_needs_its_offset_and_reads_back() {
        let time = parse_time("2026-12-01T00:00:00Z").unwrap();
        assert_eq!(
            (time.as_millis(), time.to_string().as_str()),
            (1_796_083_200_000, "2026-12-01T00:00:00Z")
        );
        assert_eq!(parse_time("2026-12-01T01:00:00+01:00"), Ok(time));
        for text in [
            "2026-12-01T00:00:00",
            "2026-12-01",
            "soon",
            "",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_step_leads_from_one_time_to_another_and_back() {
        let (noon, later) = (
            Timestamp::from_millis(1_760_000_000_000),
            Timestamp::from_millis(1_760_000_007_500),
        );
        let (forward, back) = (
            ClockStep::between(noon, later).unwrap(),
            ClockStep::between(later, noon).unwrap(),
        );
        assert_eq!(
            (
                noon.stepped(forward),
                later.stepped(back),
                ClockStep::between(noon, noon)
            ),
            (later, noon, None)
        );
        assert_eq!(
            (forward.to_string(), back.to_string()),
            ("7.5s forward".to_owned(), "7.5s back".to_owned())
        );
        assert_eq!(
            Timestamp::from_millis(1000).stepped(back),
            Timestamp::default(),
            "before the epoch there is no time"
        );
    }

    #[test]
    fn times_are_printed_in_utc() {
        assert_eq!(
            Timestamp::from_millis(1_760_000_000_000).to_string(),
            "2025-10-09T08:53:20Z"
        );
        assert_eq!(
            Timestamp::from_millis(u64::MAX).to_string(),
            format!("{} ms after 1970", u64::MAX)
        );
    }
}
