//! The salted key derivation and AES-256 (README.md, sections 2.1 and 2.2).

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit,
};
use md5::{Digest, Md5};
use zeroize::{Zeroize, Zeroizing};

use crate::limits::{BLOCK_LEN, PASSPHRASE_MAX, RANDOM_LEN, SALT_LEN};
use crate::reason::Reason;

type Block = [u8; BLOCK_LEN];
pub(crate) type Salt = [u8; SALT_LEN];

/// The bytes that the cipher's keys are derived from. Wiped when dropped.
pub(crate) struct Passphrase {
    bytes: [u8; PASSPHRASE_MAX],
    len: usize,
}

impl Passphrase {
    /// 1 to 128 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let mut bytes = [0; PASSPHRASE_MAX];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        (!key.is_empty()).then_some(Self {
            bytes,
            len: key.len(),
        })
    }

    /// Fills a passphrase that is shorter than 16 bytes with the digit 0.
    pub(crate) fn filled(mut self) -> Self {
        for byte in self.bytes.iter_mut().take(BLOCK_LEN).skip(self.len) {
            *byte = b'0';
        }
        self.len = self.len.max(BLOCK_LEN);
        self
    }

    /// Cuts a passphrase to 16 bytes.
    pub(crate) fn cut(mut self) -> Self {
        self.len = self.len.min(BLOCK_LEN);
        self
    }

    /// The key and initialization vector for one salt.
    pub(crate) fn derive(&self, salt: &Salt) -> Derived {
        let mut derived = Derived {
            key: Zeroizing::new([0; 32]),
            iv: [0; BLOCK_LEN],
        };
        let (first, second) = derived.key.split_at_mut(BLOCK_LEN);
        let mut previous: &[u8] = &[];
        for part in [first, second, &mut derived.iv] {
            let mut hash = Md5::new();
            hash.update(previous);
            hash.update(self.bytes.get(..self.len).unwrap_or_default());
            hash.update(salt);
            part.copy_from_slice(&hash.finalize());
            previous = part;
        }
        derived
    }
}

impl Drop for Passphrase {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// The key and initialization vector of one packet.
pub(crate) struct Derived {
    key: Zeroizing<[u8; 32]>,
    iv: Block,
}

impl Derived {
    /// Decrypts in the mode CBC, in place, and takes the padding off.
    pub(crate) fn decrypt<'b>(&self, data: &'b mut [u8]) -> Option<&'b [u8]> {
        cbc::Decryptor::<Aes256>::new((&*self.key).into(), (&self.iv).into())
            .decrypt_padded::<Pkcs7>(data)
            .ok()
    }

    /// Pads `len` bytes of the buffer and encrypts them in the mode CBC.
    pub(crate) fn encrypt<'b>(&self, buffer: &'b mut [u8], len: usize) -> Option<&'b [u8]> {
        cbc::Encryptor::<Aes256>::new((&*self.key).into(), (&self.iv).into())
            .encrypt_padded::<Pkcs7>(buffer, len)
            .ok()
    }

    /// Why a ciphertext does not open. The plaintext starts with 16 digits and a colon, so its first blocks tell the
    /// mode, if the key is right.
    pub(crate) fn explain(&self, first: Block, second: Block) -> Reason {
        let aes = Aes256::new((&*self.key).into());
        let encrypted = |block: Block| {
            let mut block = block.into();
            aes.encrypt_block(&mut block);
            Block::from(block)
        };
        let mut opened = first.into();
        aes.decrypt_block(&mut opened);
        if starts_text(opened.into()) {
            return Reason::ModeEcb;
        }
        let stream = encrypted(self.iv);
        if !starts_text(xor(stream, first)) {
            return Reason::Key;
        }
        let continues = |stream: Block| xor(stream, second).first() == Some(&b':');
        if continues(encrypted(first)) {
            Reason::ModeCfb
        } else if continues(encrypted(stream)) {
            Reason::ModeOfb
        } else {
            Reason::ModeCtr
        }
    }
}

/// Whether this is the random number that every plaintext starts with.
fn starts_text(block: [u8; RANDOM_LEN]) -> bool {
    block.iter().all(u8::is_ascii_digit)
}

fn xor(mut a: Block, b: Block) -> Block {
    for (a, b) in a.iter_mut().zip(b) {
        *a ^= b;
    }
    a
}
