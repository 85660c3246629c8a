//! Steps and hints (README.md section 3): a hint finds a packet's user with one look-up.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::derive::HintKey;
use crate::limits::{HINT_LEN, KEY_LEN, STEP_MS};

/// The number of a span of 64 seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(pub u64);

impl Step {
    /// The step of a time in milliseconds since the Unix epoch.
    #[must_use]
    pub fn of(timestamp_ms: u64) -> Self {
        Self(timestamp_ms / STEP_MS)
    }

    /// The steps of all times from `now_ms - window_ms` to `now_ms + window_ms`, in order.
    pub fn touching(now_ms: u64, window_ms: u64) -> impl Iterator<Item = Self> + Clone {
        let first = Self::of(now_ms.saturating_sub(window_ms));
        let last = Self::of(now_ms.saturating_add(window_ms));
        (first.0..=last.0).map(Self)
    }

    /// The next step.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The first eight bytes of a packet. Random to anyone without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hint(pub [u8; HINT_LEN]);

impl HintKey {
    /// The user's hint for a step.
    #[must_use]
    pub fn hint(&self, step: Step) -> Hint {
        let mut mac = hmac(&self.0);
        mac.update(&step.0.to_be_bytes());
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let [a, b, c, d, e, f, g, h, ..] = full;
        Hint([a, b, c, d, e, f, g, h])
    }
}

pub(crate) fn hmac(key: &[u8; KEY_LEN]) -> Hmac<Sha256> {
    // HMAC pads a short key with zeros (RFC 2104). With a padded key its constructor cannot fail.
    let mut block = Zeroizing::new([0; 64]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new((&*block).into())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_step_has_64_seconds() {
        assert_eq!(Step::of(0), Step(0));
        assert_eq!(Step::of(63_999), Step(0));
        assert_eq!(Step::of(64_000), Step(1));
        assert_eq!(Step::of(u64::MAX), Step(u64::MAX / 64_000));
        assert_eq!(Step(3).next(), Step(4));
    }

    #[test]
    fn a_window_touches_its_steps() {
        let touching = |now, window| {
            Step::touching(now, window)
                .map(|step| step.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(touching(96_000, 31_999), [1]);
        assert_eq!(touching(96_000, 32_000), [1, 2]);
        assert_eq!(touching(96_000, 32_001), [0, 1, 2]);
        assert_eq!(touching(0, 30_000), [0], "no time before the epoch");
        assert_eq!(touching(u64::MAX, 1).len(), 1, "no time after the last");
    }

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mut mac = hmac(&key);
        mac.update(b"Hi There");
        let tag = mac.finalize().into_bytes();
        assert_eq!(tag[..8], [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]);
    }

    #[test]
    fn a_hint_depends_on_step_and_key() {
        let key = HintKey([1; 32]);
        assert_eq!(key.hint(Step(7)), key.clone().hint(Step(7)));
        assert_ne!(key.hint(Step(7)), key.hint(Step(8)));
        assert_ne!(key.hint(Step(7)), HintKey([2; 32]).hint(Step(7)));
    }
}
