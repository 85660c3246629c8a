//! The digest at the end of a plaintext, of seven hashes (README.md, section 3).

use alloc::string::String;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sha3::{Sha3_256, Sha3_512};

use crate::base64::encode;
use crate::reason::Reason;
use crate::request::DigestKind;

/// The hash whose digest of the text this is. Its length tells it, or two that have the same length.
pub(crate) fn kind(text: &str, digest: &str) -> Result<DigestKind, Reason> {
    let candidates: &[DigestKind] = match digest.len() {
        22 => &[DigestKind::Md5],
        27 => &[DigestKind::Sha1],
        43 => &[DigestKind::Sha256, DigestKind::Sha3_256],
        64 => &[DigestKind::Sha384],
        86 => &[DigestKind::Sha512, DigestKind::Sha3_512],
        _ => return Err(Reason::DigestLength),
    };
    let right = |kind: &&DigestKind| of(**kind, text) == digest;
    candidates.iter().find(right).copied().ok_or(Reason::Digest)
}

pub(crate) fn sha256(text: &str) -> String {
    of(DigestKind::Sha256, text)
}

fn of(kind: DigestKind, text: &str) -> String {
    match kind {
        DigestKind::Md5 => encode(&Md5::digest(text)),
        DigestKind::Sha1 => encode(&Sha1::digest(text)),
        DigestKind::Sha256 => encode(&Sha256::digest(text)),
        DigestKind::Sha384 => encode(&Sha384::digest(text)),
        DigestKind::Sha512 => encode(&Sha512::digest(text)),
        DigestKind::Sha3_256 => encode(&Sha3_256::digest(text)),
        DigestKind::Sha3_512 => encode(&Sha3_512::digest(text)),
    }
}
