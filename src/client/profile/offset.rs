//! The error of a clock as people write it: `+30s`, `-2m`.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::model::time::{Timestamp, parse_duration};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum TimeOffset {
    Later(Duration),
    Earlier(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a time offset; write +30s if this clock is behind, -30s if it is ahead")]
pub struct InvalidOffset(String);

impl Default for TimeOffset {
    fn default() -> Self {
        Self::Later(Duration::ZERO)
    }
}

impl TimeOffset {
    /// The time at the gate when this machine's clock shows `now`.
    pub(crate) fn applied_to(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Later(length) => now.plus(length),
            Self::Earlier(length) => now.minus(length),
        }
    }
}

impl FromStr for TimeOffset {
    type Err = InvalidOffset;

    fn from_str(text: &str) -> Result<Self, InvalidOffset> {
        let (offset, length): (fn(_) -> _, _) = match text.strip_prefix('-') {
            Some(length) => (Self::Earlier, length),
            None => (Self::Later, text.strip_prefix('+').unwrap_or(text)),
        };
        // A second sign would reverse the meaning.
        if !length.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(InvalidOffset(text.to_owned()));
        }
        let length = parse_duration(length).map_err(|_| InvalidOffset(text.to_owned()))?;
        Ok(offset(length))
    }
}

impl TryFrom<String> for TimeOffset {
    type Error = InvalidOffset;

    fn try_from(text: String) -> Result<Self, InvalidOffset> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_tells_the_direction() {
        let now = Timestamp::from_millis(100_000);
        for (text, then) in [
            ("+30s", 130_000),
            ("30s", 130_000),
            ("-30s", 70_000),
            ("-1m 30s", 10_000),
            ("0s", 100_000),
            ("+250ms", 100_250),
        ] {
            let offset: TimeOffset = text.parse().unwrap();
            let found = offset.applied_to(now);
            assert_eq!(found, Timestamp::from_millis(then), "{text}");
        }
        for text in ["", "+", "-", "30", "--30s", "+-30s", "- 30s", "soon"] {
            let expected = Err(InvalidOffset(text.to_owned()));
            assert_eq!(text.parse::<TimeOffset>(), expected);
        }
    }
}
