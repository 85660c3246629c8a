//! The bits of the kernel's packet mark that say "this packet has a grant".
//!
//! A value of several bits, neither none nor all of the mask: a tool that sets one bit, or all bits, does not produce it.

use std::fmt;
use std::str::FromStr;

/// A value within a mask of the packet mark (`SO_MARK`, `meta mark`, `-m mark`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketMark {
    /// The bits of a packet with a grant.
    pub value: u32,
    /// The bits that belong to Postern. The others are not changed.
    pub mask: u32,
}

impl PacketMark {
    /// Bits 10 to 13: outside those of kube-proxy, Tailscale and Calico. netavark uses bit 13 alone.
    pub const DEFAULT: Self = Self {
        value: 0x2400,
        mask: 0x3c00,
    };

    /// Another value of the same bits: all but one of those of a granted packet. It says that grants count.
    #[must_use]
    pub fn live(self) -> Self {
        self.without(lowest_bit(self.value))
    }

    /// A third value, if possible with all bits of a granted packet. It says that a set holds the packet's grant.
    #[must_use]
    pub fn in_set(self) -> Self {
        let others = self.mask & !self.value;
        let lowest = lowest_bit(others);
        if lowest == others {
            return self.without(lowest_bit(self.value & !lowest_bit(self.value)));
        }
        self.without(lowest)
    }

    fn without(self, bit: u32) -> Self {
        Self {
            value: self.mask & !bit,
            ..self
        }
    }
}

fn lowest_bit(bits: u32) -> u32 {
    bits & bits.wrapping_neg()
}

impl Default for PacketMark {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a text is not a usable packet mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketMarkError {
    #[error("a packet mark is two hexadecimal numbers, VALUE/MASK")]
    /// Not two numbers.
    Form,
    #[error("the value has bits outside the mask")]
    /// Bits outside the mask.
    Outside,
    #[error("the value must have two bits or more, and not all bits of the mask")]
    /// Other tools may set it by chance.
    Guessable,
}

impl FromStr for PacketMark {
    type Err = PacketMarkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let (value, mask) = text
            .split_once('/')
            .and_then(|(value, mask)| Some((number(value)?, number(mask)?)))
            .ok_or(PacketMarkError::Form)?;
        if value & !mask != 0 {
            return Err(PacketMarkError::Outside);
        }
        if value.count_ones() < 2 || value == mask {
            return Err(PacketMarkError::Guessable);
        }
        Ok(Self { value, mask })
    }
}

impl fmt::Display for PacketMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_mark_has_several_bits() {
        assert_eq!("0x2400/0x3c00".parse(), Ok(PacketMark::default()));
        assert_eq!(PacketMark::default().to_string(), "0x2400/0x3c00");
        for (text, error) in [
            ("", PacketMarkError::Form),
            ("0x3", PacketMarkError::Form),
            ("3/7", PacketMarkError::Form),
            ("0x9/0x7", PacketMarkError::Outside),
            ("0x4/0x7", PacketMarkError::Guessable),
            ("0x0/0x7", PacketMarkError::Guessable),
            ("0x7/0x7", PacketMarkError::Guessable),
        ] {
            assert_eq!(text.parse::<PacketMark>(), Err(error), "{text}");
        }
    }

    #[test]
    fn other_marks_are_never_that_of_grants() {
        for mask in 0_u32..64 {
            for value in 0..=mask {
                let text = format!("{value:#x}/{mask:#x}");
                let Ok(mark) = text.parse::<PacketMark>() else {
                    continue;
                };
                assert_ne!(mark.live(), mark.in_set(), "{text}");
                for other in [mark.live(), mark.in_set()] {
                    assert_ne!(other, mark, "{text}");
                    assert_eq!(other.to_string().parse(), Ok(other), "{text}");
                }
            }
        }
    }
}
