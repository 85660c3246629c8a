//! A clock that is known to be wrong, as people write by how much: `+30s`, `-2m`.
//!
//! Owns the text and the sum. Reads no clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::model::time::{Timestamp, human, parse_duration};

/// What is added to this machine's clock for a knock's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum TimeOffset {
    /// Nothing.
    #[default]
    None,
    /// The clock is behind by this.
    Later(Duration),
    /// The clock is ahead by this.
    Earlier(Duration),
}

impl TimeOffset {
    /// The time of the gate when this machine's clock says `now`.
    pub fn applied_to(self, now: Timestamp) -> Timestamp {
        match self {
            Self::None => now,
            Self::Later(length) => now.plus(length),
            Self::Earlier(length) => now.minus(length),
        }
    }
}

impl FromStr for TimeOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sign, length) = match text.strip_prefix('-') {
            Some(length) => ('-', length),
            None => ('+', text.strip_prefix('+').unwrap_or(text)),
        };
        // A second sign would turn the meaning round.
        let digit = length.starts_with(|first: char| first.is_ascii_digit());
        let length = Some(length)
            .filter(|_| digit)
            .and_then(|length| parse_duration(length).ok());
        match (length, sign) {
            (None, _) => Err(format!(
                "\"{text}\" is not a time offset; write +30s where this clock is behind, -30s where it is ahead"
            )),
            (Some(Duration::ZERO), _) => Ok(Self::None),
            (Some(length), '-') => Ok(Self::Earlier(length)),
            (Some(length), _) => Ok(Self::Later(length)),
        }
    }
}

impl TryFrom<String> for TimeOffset {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for TimeOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Later(length) => write!(f, "+{}", human(*length)),
            Self::Earlier(length) => write!(f, "-{}", human(*length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_says_whether_the_clock_is_behind_or_ahead_and_none_means_behind() {
        let now = Timestamp::from_millis(100_000);
        for (text, then) in [
            ("+30s", 130_000),
            ("30s", 130_000),
            ("-30s", 70_000),
            ("-1m 30s", 10_000),
            ("0s", 100_000),
            ("+250ms", 100_250),
        ] {
            assert_eq!(
                text.parse::<TimeOffset>().unwrap().applied_to(now),
                Timestamp::from_millis(then),
                "{text}"
            );
        }
        assert_eq!("-30s".parse::<TimeOffset>().unwrap().to_string(), "-30s");
    }

    #[test]
    fn what_says_no_length_is_refused() {
        for text in ["", "+", "-", "30", "--30s", "+-30s", "- 30s", "soon"] {
            assert!(
                text.parse::<TimeOffset>()
                    .unwrap_err()
                    .contains("; write +30s"),
                "{text}"
            );
        }
    }
}
