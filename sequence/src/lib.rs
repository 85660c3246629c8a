//! Keyed port sequences: which ports to hit, in which order, in a step of time.
//!
//! Uses no clock, socket, file or random source: the step is an argument. `README.md` beside this crate is the
//! specification.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod key;
mod shape;

use alloc::vec::Vec;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub use key::{BadKey, Key};
pub use shape::{BITS_MIN, HITS_MAX, Shape, ShapeError};

/// How long a step is, in seconds.
pub const STEP_S: u64 = 64;

/// The step at a time in seconds since the Unix epoch.
#[must_use]
pub const fn step_at(seconds: u64) -> u64 {
    seconds / STEP_S
}

/// The ports of a step, in order. No port comes twice (README.md, section 2).
#[must_use]
pub fn ports(key: &Key, step: u64, shape: Shape) -> Vec<u16> {
    let mut ports = Vec::with_capacity(shape.hits());
    for block in 0..=u32::MAX {
        let words = words(key, step, block);
        for port in words.into_iter().filter_map(|word| shape.port(word)) {
            if ports.len() < shape.hits() && !ports.contains(&port) {
                ports.push(port);
            }
        }
        if ports.len() >= shape.hits() {
            break;
        }
    }
    ports
}

/// Eight pseudo-random numbers.
fn words(key: &Key, step: u64, block: u32) -> [u32; 8] {
    let bytes: [u8; 32] = match Hmac::<Sha256>::new_from_slice(key.bytes()) {
        Ok(mac) => mac
            .chain_update(b"postern/1 sequence")
            .chain_update(step.to_be_bytes())
            .chain_update(block.to_be_bytes())
            .finalize()
            .into_bytes()
            .into(),
        // HMAC takes keys of every length.
        Err(_) => [0; 32],
    };
    let (words, _) = bytes.as_chunks::<4>();
    let mut words = words.iter().copied();
    core::array::from_fn(|_| words.next().map_or(0, u32::from_be_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_match_another_implementation() {
        let key = Key::from_bytes(core::array::from_fn(|at| at as u8));
        let shape = Shape::new(20_000, 60_000, 6).unwrap();
        for (step, expected) in EXPECTED {
            assert_eq!(ports(&key, step, shape), expected, "step {step}");
        }
        let narrow = Shape::new(65_504, 65_535, 20).unwrap();
        assert_eq!(ports(&key, 1, narrow), NARROW);
    }

    // Made by `tests/sequence.py`.
    const EXPECTED: [(u64, [u16; 6]); 2] = [
        (0, [31036, 29600, 35978, 39113, 20388, 25069]),
        (28_052_083, [24531, 53786, 40798, 54709, 54830, 28174]),
    ];
    const NARROW: [u16; 20] = [
        65515, 65519, 65509, 65534, 65523, 65521, 65514, 65524, 65517, 65525, 65533, 65506, 65520,
        65527, 65507, 65532, 65513, 65512, 65528, 65508,
    ];

    #[test]
    fn steps_have_64_seconds() {
        assert_eq!(step_at(63), 0);
        assert_eq!(step_at(64), 1);
    }
}
