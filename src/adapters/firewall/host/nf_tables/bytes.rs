//! Bytes of registers: ranges in network byte order, masks and numbers.

/// An inclusive range of values of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
}

impl Range {
    pub(super) fn exactly(value: &[u8]) -> Self {
        Self {
            first: value.to_vec(),
            last: value.to_vec(),
        }
    }

    pub(super) fn is_single(&self) -> bool {
        self.first == self.last
    }

    /// The same bytes of both ends. Right only if the bytes before them are equal in both, as in a concatenation.
    pub(super) fn part(&self, from: usize, to: usize) -> Option<Self> {
        Some(Self {
            first: self.first.get(from..to)?.to_vec(),
            last: self.last.get(from..to)?.to_vec(),
        })
    }
}

/// `None` if there is no larger value.
pub(super) fn successor(value: &[u8]) -> Option<Vec<u8>> {
    step(value, u8::MAX, 0, 1)
}

/// `None` if there is no smaller value.
pub(super) fn predecessor(value: &[u8]) -> Option<Vec<u8>> {
    step(value, 0, u8::MAX, u8::MAX)
}

fn step(value: &[u8], end: u8, start: u8, by: u8) -> Option<Vec<u8>> {
    let mut result = value.to_vec();
    for byte in result.iter_mut().rev() {
        if *byte == end {
            *byte = start;
        } else {
            *byte = byte.wrapping_add(by);
            return Some(result);
        }
    }
    None
}

pub(super) fn and(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a & b).collect()
}

pub(super) fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// The number in the first 1, 2 or 4 bytes.
pub(super) fn number(bytes: &[u8], is_native: bool) -> Option<u32> {
    Some(match (bytes.len(), is_native) {
        (1, _) => u32::from(*bytes.first()?),
        (2, true) => u32::from(u16::from_ne_bytes(bytes.try_into().ok()?)),
        (2, false) => u32::from(u16::from_be_bytes(bytes.try_into().ok()?)),
        (4, true) => u32::from_ne_bytes(bytes.try_into().ok()?),
        (4, false) => u32::from_be_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let value = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(value.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let value = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}
