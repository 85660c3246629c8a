//! How many knocks of one user a gate admits in a time, like `30/min`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

const DAY: u64 = 86_400;
const COUNT_MAX: u32 = 1_000_000;
const CURE: &str = "write knocks in a time, like 30/min, 1/s, 100/h, 10/day or 5/10s";

/// Admitted knocks in a time, like `30/min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Quota {
    /// The most in each `per`, also at once.
    pub count: NonZeroU32,
    /// The time in which the count is restored.
    pub per: Duration,
}

/// Why a text is not a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    #[error("this is not a quota")]
    Form,
    #[error("the quota is over 1,000,000 knocks")]
    TooMany,
    #[error("a quota of 0 admits no knock")]
    Zero,
    #[error("the time of the quota is not 1s to 1day")]
    Time,
}

#[cfg(feature = "daemon")]
impl QuotaError {
    /// What to write instead.
    pub(crate) fn cure(self) -> &'static str {
        match self {
            Self::Zero => "remove the user, or write 1/day or more",
            Self::Form | Self::TooMany | Self::Time => CURE,
        }
    }
}

/// What a user has without a `quota` of their own.
impl Default for Quota {
    fn default() -> Self {
        Self {
            count: NonZeroU32::MIN.saturating_add(29),
            per: Duration::from_secs(60),
        }
    }
}

impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let (count, per) = text.split_once('/').ok_or(QuotaError::Form)?;
        let count = digits(count)?;
        let unit_at = per.find(|c: char| !c.is_ascii_digit());
        let (units, unit) = per.split_at(unit_at.ok_or(QuotaError::Form)?);
        let unit = match unit {
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            "day" => DAY,
            _ => return Err(QuotaError::Form),
        };
        let units = match units {
            "" => 1,
            units => digits(units)?,
        };
        let count = u32::try_from(count)
            .ok()
            .filter(|count| *count <= COUNT_MAX);
        let count = NonZeroU32::new(count.ok_or(QuotaError::TooMany)?);
        let seconds = units.saturating_mul(unit);
        match count {
            None => Err(QuotaError::Zero),
            Some(_) if !(1..=DAY).contains(&seconds) => Err(QuotaError::Time),
            Some(count) => Ok(Self {
                count,
                per: Duration::from_secs(seconds),
            }),
        }
    }
}

fn digits(text: &str) -> Result<u64, QuotaError> {
    let only_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = only_digits.then(|| text.parse().ok()).flatten();
    number.ok_or(QuotaError::Form)
}

/// For a profile.
impl TryFrom<String> for Quota {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |_: QuotaError| format!("{text:?} is not a quota; {CURE}");
        text.parse().map_err(wrong)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_secs() {
            1 => write!(f, "{}/s", self.count),
            60 => write!(f, "{}/min", self.count),
            3600 => write!(f, "{}/h", self.count),
            DAY => write!(f, "{}/day", self.count),
            other => write!(f, "{}/{other}s", self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_a_count_in_a_time() {
        for (text, count, seconds) in [
            ("30/min", 30, 60),
            ("1/s", 1, 1),
            ("100/h", 100, 3_600),
            ("10/day", 10, DAY),
            ("5/10s", 5, 10),
            ("1000000/day", 1_000_000, DAY),
        ] {
            let quota: Quota = text.parse().unwrap();
            assert_eq!((quota.count.get(), quota.per.as_secs()), (count, seconds));
            assert_eq!(quota.to_string(), text);
        }
        let wrong = ",30,/min,30/,30/m,30/minute,-1/s,+1/s,1.5/s,0/s,1/0s,1000001/s,99999999999/s,1/2day,1/90000s";
        for text in wrong.split(',') {
            assert!(text.parse::<Quota>().is_err(), "{text}");
        }
    }
}
