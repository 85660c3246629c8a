//! The times of a recording: ticks of each interface's own length since its own beginning, to milliseconds.

use crate::model::time::Timestamp;

/// What one tick is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks {
    /// `None` where the recording says something that is no resolution.
    pub(super) a_second: Option<u64>,
    /// Seconds to add.
    pub(super) offset_s: i64,
}

impl Ticks {
    /// The time of a tick, in two halves as pcapng has it. A time before 1970 is none.
    pub(super) fn at(self, high: u32, low: u32) -> Option<Timestamp> {
        self.millis(u128::from(high) << 32 | u128::from(low))
    }

    /// The time so many ticks after a second, as pcap has it.
    pub(super) fn since_second(self, second: u32, ticks: u32) -> Option<Timestamp> {
        self.millis(u128::from(second) * u128::from(self.a_second?) + u128::from(ticks))
    }

    fn millis(self, ticks: u128) -> Option<Timestamp> {
        let a_second = self.a_second.filter(|ticks| *ticks > 0)?;
        let millis =
            i128::try_from(ticks.checked_mul(1000)?.checked_div(u128::from(a_second))?).ok()?;
        let millis = millis.checked_add(i128::from(self.offset_s) * 1000)?;
        u64::try_from(millis).ok().map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_any_length_become_milliseconds() {
        let at = |a_second, offset_s, ticks: u64| {
            let ticks = (
                u32::try_from(ticks >> 32).unwrap(),
                u32::try_from(ticks & 0xffff_ffff).unwrap(),
            );
            Ticks { a_second, offset_s }
                .at(ticks.0, ticks.1)
                .map(Timestamp::as_millis)
        };
        assert_eq!(
            at(Some(1_000_000), 0, 1_760_000_000_123_456),
            Some(1_760_000_000_123)
        );
        assert_eq!(
            at(Some(1_000_000_000), 0, 1_760_000_000_123_456_789),
            Some(1_760_000_000_123)
        );
        assert_eq!(at(Some(1 << 20), 0, 3 << 19), Some(1500));
        assert_eq!(at(Some(1), 1_760_000_000, 5), Some(1_760_000_005_000));
        assert_eq!(at(Some(1), -10, 5), None);
        assert_eq!(at(Some(0), 0, 5), None);
        assert_eq!(at(None, 0, 5), None);
        assert_eq!(
            at(Some(1), i64::MAX, u64::MAX),
            None,
            "more than there are milliseconds"
        );
        let micros = Ticks {
            a_second: Some(1_000_000),
            offset_s: 0,
        };
        assert_eq!(
            micros.since_second(7, 1_999).map(Timestamp::as_millis),
            Some(7_001)
        );
        assert_eq!(
            micros
                .since_second(u32::MAX, u32::MAX)
                .map(Timestamp::as_millis),
            Some(4_294_967_295_000 + 4_294_967)
        );
    }
}
