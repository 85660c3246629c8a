//! Points in time and durations, and their text forms. Reads no clock: `adapters::clock` does.

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
    /// 2025-10-01, before this program was written. A system whose clock says less has not been set since its start.
    pub const OLDEST: Self = Self(1_759_276_800_000);

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This much later; saturates.
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(millis(length)))
    }

    /// This much earlier; saturates at the epoch.
    #[must_use]
    pub fn minus(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(millis(length)))
    }

    /// The same moment on a clock after this step; saturates.
    #[must_use]
    pub fn stepped(self, step: ClockStep) -> Self {
        match step {
            ClockStep::Forward(by) => self.plus(by),
            ClockStep::Back(by) => self.minus(by),
        }
    }

    /// Milliseconds since `made`; negative if it is later.
    pub(crate) fn age_of(self, made: Self) -> i64 {
        let signed = |length| i64::try_from(millis(length)).unwrap_or(i64::MAX);
        signed(self.since(made)).saturating_sub(signed(made.since(self)))
    }

    /// The duration since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// How far a clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockStep {
    Forward(Duration),
    Back(Duration),
}

impl ClockStep {
    /// The step from one time to another; `None` if they are equal.
    pub fn between(from: Timestamp, to: Timestamp) -> Option<Self> {
        match from.cmp(&to) {
            Ordering::Less => Some(Self::Forward(to.since(from))),
            Ordering::Greater => Some(Self::Back(from.since(to))),
            Ordering::Equal => None,
        }
    }

    /// Its length in either direction.
    pub fn length(self) -> Duration {
        let (Self::Forward(length) | Self::Back(length)) = self;
        length
    }
}

impl fmt::Display for ClockStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self {
            Self::Forward(_) => "forward",
            Self::Back(_) => "back",
        };
        write!(f, "{} {way}", human(self.length()))
    }
}

/// RFC 3339 in UTC, without a zero fraction.
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

/// A duration in whole milliseconds; saturates.
pub fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not a duration.
    #[error("\"{0}\" is not a length of time; write it like 30s, 10m or 1h 30m")]
    Duration(String),
    /// Not a point in time.
    #[error("\"{0}\" is not a point in time; write it like 2026-12-01T00:00:00Z")]
    Point(String),
}

/// Reads `30s`, `10m`, `1h 30m`, `500ms`; a number needs its unit.
///
/// # Errors
/// If the text is anything else.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, TimeError> {
    let wrong = || TimeError::Duration(text.to_owned());
    let span: jiff::SignedDuration = text.trim().parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

/// Reads RFC 3339 with an offset: `2026-12-01T00:00:00Z`.
///
/// # Errors
/// If the text is anything else, or before 1970.
pub fn parse_time(text: &str) -> Result<Timestamp, TimeError> {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    let millis = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    let time = millis.map(Timestamp);
    time.ok_or_else(|| TimeError::Point(text.to_owned()))
}

/// Reads RFC 3339 with an offset, or a day, `2026-12-01`, which begins at 00:00 in UTC.
///
/// # Errors
/// If the text is anything else, or before 1970.
#[cfg(feature = "daemon")]
pub(crate) fn parse_time_or_day(text: &str) -> Result<Timestamp, TimeError> {
    let is_day = text.len() == "2026-12-01".len() && text.parse::<jiff::civil::Date>().is_ok();
    if is_day {
        return parse_time(&format!("{text}T00:00:00Z"));
    }
    parse_time(text)
}

/// A duration as text: `30s`, `1h 30m`.
pub(crate) fn human(length: Duration) -> String {
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
    let parts = parts.iter().filter(|(n, _)| *n > 0);
    let text: Vec<String> = parts.map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text.join(" ")
    }
}

/// A number of things: `1 user`, `2 users`.
pub fn count<N: fmt::Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    let end = if number == N::from(1) { "" } else { "s" };
    format!("{number} {thing}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_they_are_read() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("1h 30m", 5400), ("1h", 3600)] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(human(duration), text);
        }
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(human(Duration::from_millis(1500)), "1.5s");
        for text in ["30", "", "-5s", "soon", "1x"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn point_in_time_needs_an_offset() {
        let time = Timestamp::from_millis(1_796_083_200_000);
        assert_eq!(time.to_string(), "2026-12-01T00:00:00Z");
        for text in ["2026-12-01T00:00:00Z", "2026-12-01T01:00:00+01:00"] {
            assert_eq!(parse_time(text), Ok(time), "{text}");
        }
        for text in [
            "2026-12-01T00:00:00",
            "2026-12-01",
            "soon",
            "",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        let end = Timestamp::from_millis(u64::MAX).to_string();
        assert_eq!(end, format!("{} ms after 1970", u64::MAX));
    }

    #[test]
    fn clock_step_leads_between_two_times() {
        let (noon, later) = (
            Timestamp::from_millis(1_760_000_000_000),
            Timestamp::from_millis(1_760_000_007_500),
        );
        let forward = ClockStep::between(noon, later).unwrap();
        let back = ClockStep::between(later, noon).unwrap();
        assert_eq!((noon.stepped(forward), later.stepped(back)), (later, noon));
        assert_eq!(ClockStep::between(noon, noon), None);
        assert_eq!(format!("{forward}, {back}"), "7.5s forward, 7.5s back");
        let early = Timestamp::from_millis(1000);
        assert_eq!(early.stepped(back), Timestamp::default());
    }
}
