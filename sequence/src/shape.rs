//! The range of ports and the number of hits, and how hard a sequence is to guess (README.md, section 3).

use core::fmt;

/// A sequence has at most 32 hits.
pub const HITS_MAX: usize = 32;
/// A sequence that is easier to guess is refused.
pub const BITS_MIN: u32 = 64;

/// Which ports a sequence can hit, and how many hits it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    first: u16,
    last: u16,
    hits: usize,
}

impl Shape {
    /// The ports from `first` to `last`. Refuses what has less than 64 bits of secrecy.
    pub fn new(first: u16, last: u16, hits: usize) -> Result<Self, ShapeError> {
        if first == 0 || first > last {
            return Err(ShapeError::Range);
        }
        let shape = Self { first, last, hits };
        let enough = u32::try_from(hits).is_ok_and(|hits| hits <= shape.count());
        if !(1..=HITS_MAX).contains(&hits) || !enough {
            return Err(ShapeError::Hits);
        }
        if shape.bits() < BITS_MIN {
            return Err(ShapeError::Guessable { bits: shape.bits() });
        }
        Ok(shape)
    }

    /// The first port of the range.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last port of the range.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// How many hits a sequence has.
    #[must_use]
    pub fn hits(self) -> usize {
        self.hits
    }

    /// How many bits a guesser has to guess, rounded down: the logarithm of the number of possible sequences.
    #[must_use]
    pub fn bits(self) -> u32 {
        let mut bits = 0;
        // The number of sequences, divided by 2^bits. Halving it rounds down, so bits are never too many.
        let mut count: u64 = 1;
        for taken in 0..self.hits {
            let taken = u32::try_from(taken).unwrap_or(u32::MAX);
            count *= u64::from(self.count().saturating_sub(taken));
            while count >= 1 << 40 {
                count >>= 1;
                bits += 1;
            }
        }
        bits + count.checked_ilog2().unwrap_or(0)
    }

    /// The port of a random number; `None` for the few numbers that would make some ports likelier than others.
    pub(crate) fn port(self, word: u32) -> Option<u16> {
        let count = self.count();
        let fair = (1_u64 << 32) / u64::from(count) * u64::from(count);
        if u64::from(word) >= fair {
            return None;
        }
        u16::try_from(u32::from(self.first) + word % count).ok()
    }

    fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }
}

/// Why a shape is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShapeError {
    /// The first port is 0 or after the last.
    Range,
    /// There are 1 to 32 hits, and at most one for each port.
    Hits,
    /// Too few sequences are possible.
    Guessable {
        /// The bits that it has.
        bits: u32,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range => f.write_str("the first port must be at least 1 and not after the last"),
            Self::Hits => {
                f.write_str("a sequence must have 1 to 32 hits, and at most as many as ports")
            }
            Self::Guessable { bits } => write!(
                f,
                "such a sequence has {bits} bits of secrecy, at least {BITS_MIN} are needed: \
                 add hits or ports"
            ),
        }
    }
}

impl core::error::Error for ShapeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_the_logarithm_of_all_sequences() {
        for (first, last, hits, bits) in [
            (20_000, 60_000, 6, 91),
            (1, 65_535, 5, 79),
            (1, 65_535, 32, 511),
            (1_024, 1_279, 9, 71),
            (65_504, 65_535, 32, 117),
        ] {
            let shape = Shape::new(first, last, hits).unwrap();
            assert_eq!(shape.bits(), bits, "{shape:?}");
        }
    }

    #[test]
    fn guessable_shapes_are_refused() {
        for (first, last, hits) in [(20_000, 60_000, 4), (7_000, 7_000, 1), (7_000, 7_015, 16)] {
            let refused = Shape::new(first, last, hits);
            assert!(
                matches!(refused, Err(ShapeError::Guessable { .. })),
                "{refused:?}"
            );
        }
        assert!(Shape::new(1, 65_535, 4).is_err(), "63.99 bits are not 64");
        assert_eq!(Shape::new(0, 65_535, 6), Err(ShapeError::Range));
        assert_eq!(Shape::new(2, 1, 6), Err(ShapeError::Range));
        assert_eq!(Shape::new(1, 65_535, 0), Err(ShapeError::Hits));
        assert_eq!(Shape::new(1, 65_535, 33), Err(ShapeError::Hits));
        assert_eq!(Shape::new(1, 31, 32), Err(ShapeError::Hits));
    }
}
