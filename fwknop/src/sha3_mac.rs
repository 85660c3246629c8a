//! HMAC with SHA-3 (RFC 2104). `hmac` has only a form for it that keeps the key and does not wipe it.

use hmac::digest::Output;
use hmac::digest::common::BlockSizeUser;
use sha3::Digest;
use zeroize::Zeroize;

/// The inner and the outer hash, which have taken the key. SHA-3 wipes its state when dropped.
#[derive(Clone)]
pub(crate) struct Sha3Mac<D> {
    inner: D,
    outer: D,
}

impl<D: Digest + BlockSizeUser> Sha3Mac<D> {
    pub(crate) fn new(key: &[u8]) -> Self {
        let mut block = [0; 256];
        let mut hashed = D::digest(key);
        let key = if key.len() > D::block_size() {
            &hashed
        } else {
            key
        };
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        hashed.zeroize();
        let keyed = |pad: u8| {
            let mut hash = D::new();
            for byte in block.iter().take(D::block_size()) {
                hash.update([byte ^ pad]);
            }
            hash
        };
        let mac = Self {
            inner: keyed(0x36),
            outer: keyed(0x5c),
        };
        block.zeroize();
        mac
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    pub(crate) fn finalize(self) -> Output<D> {
        self.outer.chain_update(self.inner.finalize()).finalize()
    }
}

#[cfg(test)]
mod tests {
    use hmac::{KeyInit, Mac, SimpleHmac};
    use sha3::{Sha3_256, Sha3_512};

    use super::*;

    fn agrees<D: Digest + BlockSizeUser>(len: usize) {
        let key = &[7; 300][..len];
        let mut mac = Sha3Mac::<D>::new(key);
        mac.update(b"a text");
        let mut other = SimpleHmac::<D>::new_from_slice(key).unwrap();
        other.update(b"a text");
        assert_eq!(mac.finalize(), other.finalize().into_bytes(), "{len}");
    }

    #[test]
    fn it_agrees_with_another_implementation() {
        for len in [1, 71, 72, 73, 128, 135, 136, 137, 300] {
            agrees::<Sha3_256>(len);
            agrees::<Sha3_512>(len);
        }
    }
}
