//! The text of a quota: `30/min`, `1/s`, `100/h`, `10/day`, `5/10s`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::problem::{Fault, fault, quoted};
use crate::model::policy::Quota;

const COUNT_MAX: u32 = 1_000_000;
const DAY: u64 = 86_400;
const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("day", DAY)];
const CURE: &str = "write knocks in a time, like 30/min, 1/s, 100/h, 10/day or 5/10s";

pub(super) fn read(text: &str) -> Result<Quota, Fault> {
    let wrong = || fault(format!("{} is not a quota", quoted(text)), CURE);
    let (count, time) = text.split_once('/').ok_or_else(wrong)?;
    let count = digits(count).ok_or_else(wrong)?;
    let seconds = seconds(time).ok_or_else(wrong)?;
    let count = u32::try_from(count)
        .ok()
        .filter(|count| *count <= COUNT_MAX)
        .ok_or_else(|| fault("the quota has more than 1,000,000 knocks in its time", CURE))?;
    let count = NonZeroU32::new(count).ok_or_else(|| {
        fault(
            "a quota of 0 would admit no knock",
            "take the user out, or write 1/day or more",
        )
    })?;
    if seconds == 0 || seconds > DAY {
        return Err(fault(
            "the time of the quota is not between 1s and 1day",
            CURE,
        ));
    }
    Ok(Quota {
        count,
        per: Duration::from_secs(seconds),
    })
}

/// `min` or `10s`, in seconds.
fn seconds(time: &str) -> Option<u64> {
    let unit_at = time.find(|c: char| !c.is_ascii_digit())?;
    let (many, unit) = time.split_at(unit_at);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let many = if many.is_empty() { 1 } else { digits(many)? };
    Some(many.saturating_mul(*seconds))
}

fn digits(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_and_said_the_same_way() {
        let cases = [
            ("30/min", 30, 60),
            ("1/s", 1, 1),
            ("100/h", 100, 3_600),
            ("10/day", 10, DAY),
            ("5/10s", 5, 10),
            ("1000000/day", 1_000_000, DAY),
        ];
        for (text, count, seconds) in cases {
            let quota = read(text).unwrap();
            assert_eq!(
                (quota.count.get(), quota.per),
                (count, Duration::from_secs(seconds)),
                "{text}"
            );
            assert_eq!(quota.to_string(), text);
        }
        assert_eq!(read("3/2min").unwrap().per, Duration::from_secs(120));
    }

    #[test]
    fn what_is_no_quota_or_out_of_bounds_is_refused() {
        for text in [
            "",
            "30",
            "/min",
            "30/",
            "30/m",
            "30/minute",
            "-1/s",
            "+1/s",
            "1.5/s",
            "0/s",
            "1/0s",
            "1000001/s",
            "99999999999/s",
            "1/2day",
            "1/90000s",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
