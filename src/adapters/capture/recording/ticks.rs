//! Times in a recording: each interface has its own length of a tick and its own start.

use crate::model::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks {
    /// `None` if the recording has no valid resolution.
    pub(super) per_second: Option<u64>,
    pub(super) offset_s: i64,
}

impl Ticks {
    /// The time of a tick, in two halves as in pcapng; `None` before 1970.
    pub(super) fn at(self, high: u32, low: u32) -> Option<Timestamp> {
        self.millis(u128::from(high) << 32 | u128::from(low))
    }

    /// The time of a tick after a second, as in pcap.
    pub(super) fn since_second(self, second: u32, ticks: u32) -> Option<Timestamp> {
        self.millis(u128::from(second) * u128::from(self.per_second?) + u128::from(ticks))
    }

    fn millis(self, ticks: u128) -> Option<Timestamp> {
        let per_second = self.per_second.filter(|ticks| *ticks > 0)?;
        let millis = ticks
            .checked_mul(1000)?
            .checked_div(u128::from(per_second))?;
        let millis = i128::try_from(millis)
            .ok()?
            .checked_add(i128::from(self.offset_s) * 1000)?;
        u64::try_from(millis).ok().map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_milliseconds() {
        for (per_second, offset_s, ticks, expected) in [
            (
                Some(1_000_000),
                0,
                1_760_000_000_123_456,
                Some(1_760_000_000_123),
            ),
            (
                Some(1_000_000_000),
                0,
                1_760_000_000_123_456_789,
                Some(1_760_000_000_123),
            ),
            (Some(1 << 20), 0, 3 << 19, Some(1500)),
            (Some(1), 1_760_000_000, 5, Some(1_760_000_005_000)),
            (Some(1), -10, 5, None),
            (Some(0), 0, 5, None),
            (None, 0, 5, None),
            (Some(1), i64::MAX, u64::MAX, None),
        ] {
            let (high, low) = ((ticks >> 32) as u32, ticks as u32);
            let at = Ticks {
                per_second,
                offset_s,
            }
            .at(high, low);
            assert_eq!(at.map(Timestamp::as_millis), expected, "{ticks}");
        }
    }
}
