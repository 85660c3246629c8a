//! Keys and signatures in the format of minisign: Ed25519 over the file, or over its BLAKE2b digest.
//!
//! A file of signatures has four lines for each: an untrusted comment, the signature, a trusted comment, and a signature of
//! the signature and that comment. minisign's own tools read the first of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest};
use ed25519_dalek::{Signature as Ed25519, Signer, SigningKey as Ed25519Key, VerifyingKey};
use zeroize::Zeroizing;

/// The most signatures in one file.
pub(crate) const SIGNATURES_MAX: usize = 16;

const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";
const PURE: [u8; 2] = *b"Ed";
const DIGESTED: [u8; 2] = *b"ED";
const NO_PASSWORD: [u8; 2] = [0, 0];
const CHECKSUM: [u8; 2] = *b"B2";
/// Algorithm, key derivation, checksum, salt and two limits: what comes before the key in a file of a secret key.
const SECRET_HEAD: usize = 2 + 2 + 2 + 32 + 8 + 8;

/// Of the password; all zero without one.
const CHECKSUM_LEN: usize = 32;

/// A public key, as minisign writes it: 56 characters that begin with `RW`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey {
    id: [u8; 8],
    key: VerifyingKey,
}

/// A secret key without a password; wiped on drop.
pub struct SecretKey {
    id: [u8; 8],
    key: Ed25519Key,
}

/// One signature of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    digested: bool,
    id: [u8; 8],
    of_file: [u8; 64],
    trusted_comment: String,
    of_comment: [u8; 64],
}

/// Why a text is not a key of this format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFault {
    #[error("this is no key in minisign's format")]
    Form,
    #[error("this key has a password, and only keys without one are read")]
    Password,
}

impl PublicKey {
    /// Reads a key from its line, or from a file with a comment before it.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let line = last_line(text).ok_or(KeyFault::Form)?;
        let bytes: [u8; 42] = decoded(line).ok_or(KeyFault::Form)?;
        let (algorithm, rest) = bytes.split_first_chunk().ok_or(KeyFault::Form)?;
        let (id, key) = rest.split_first_chunk().ok_or(KeyFault::Form)?;
        let key = key
            .try_into()
            .ok()
            .and_then(|key| VerifyingKey::from_bytes(key).ok());
        match key.filter(|key| *algorithm == PURE && !key.is_weak()) {
            Some(key) => Ok(Self { id: *id, key }),
            None => Err(KeyFault::Form),
        }
    }

    /// The name of a key that minisign shows.
    pub fn id(&self) -> String {
        shown(&self.id)
    }

    /// Whether it is the same key, under whatever name.
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// The line that [`PublicKey::parse`] reads.
    pub fn line(&self) -> String {
        STANDARD.encode([&PURE[..], &self.id, self.key.as_bytes()].concat())
    }
}

impl SecretKey {
    /// A new key from random bytes.
    pub fn from_random(id: [u8; 8], seed: &Zeroizing<[u8; 32]>) -> Self {
        let key = Ed25519Key::from_bytes(seed);
        Self { id, key }
    }

    /// Reads the file that `minisign -G -W` writes.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let line = last_line(text).ok_or(KeyFault::Form)?;
        let bytes = STANDARD.decode(line).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| KeyFault::Form)?;
        let (head, rest) = bytes
            .split_first_chunk::<SECRET_HEAD>()
            .ok_or(KeyFault::Form)?;
        if !head.starts_with(&PURE) {
            return Err(KeyFault::Form);
        }
        if head.get(2..4) != Some(&NO_PASSWORD) {
            return Err(KeyFault::Password);
        }
        let (id, rest) = rest.split_first_chunk::<8>().ok_or(KeyFault::Form)?;
        let (pair, checksum) = rest.split_first_chunk::<64>().ok_or(KeyFault::Form)?;
        match Ed25519Key::from_keypair_bytes(pair) {
            Ok(key) if checksum.len() == CHECKSUM_LEN => Ok(Self { id: *id, key }),
            _ => Err(KeyFault::Form),
        }
    }

    /// The text of a file that [`SecretKey::parse`] and minisign read.
    pub fn file(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(self.key.to_keypair_bytes());
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_HEAD + 8 + 64 + CHECKSUM_LEN));
        for part in [&PURE[..], &NO_PASSWORD, &CHECKSUM, &[0; 48], &self.id] {
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(pair.as_slice());
        bytes.extend_from_slice(&[0; CHECKSUM_LEN]);
        let line = Zeroizing::new(STANDARD.encode(&bytes));
        let comment = format!("{UNTRUSTED}secret key {}\n", shown(&self.id));
        // One buffer of its final size, so that no copy of the key is left behind.
        let parts = [comment.as_str(), line.as_str(), "\n"];
        let length = parts.iter().map(|part| part.len()).sum();
        let mut file = Zeroizing::new(String::with_capacity(length));
        parts.iter().for_each(|part| file.push_str(part));
        file
    }

    pub fn public(&self) -> PublicKey {
        PublicKey {
            id: self.id,
            key: self.key.verifying_key(),
        }
    }

    /// Signs a file. The comment, one line, is signed too.
    pub fn sign(&self, file: &[u8], trusted_comment: &str) -> Signature {
        let of_file = self.key.sign(&Blake2b512::digest(file)).to_bytes();
        let trusted_comment = trusted_comment.replace(['\n', '\r'], " ");
        let of_comment = self
            .key
            .sign(&[&of_file[..], trusted_comment.as_bytes()].concat());
        Signature {
            digested: true,
            id: self.id,
            of_file,
            trusted_comment,
            of_comment: of_comment.to_bytes(),
        }
    }
}

impl Signature {
    /// Reads a file of signatures; `None` if it is anything else.
    pub fn parse_all(text: &str) -> Option<Vec<Self>> {
        let lines: Vec<&str> = text.lines().take(4 * SIGNATURES_MAX + 1).collect();
        if lines.len() > 4 * SIGNATURES_MAX {
            return None;
        }
        lines.chunks(4).map(Self::parse).collect()
    }

    fn parse(lines: &[&str]) -> Option<Self> {
        let [untrusted, signature, trusted, of_comment] = lines else {
            return None;
        };
        untrusted.strip_prefix(UNTRUSTED.trim_end())?;
        let bytes: [u8; 74] = decoded(signature)?;
        let (algorithm, rest) = bytes.split_first_chunk::<2>()?;
        let (id, of_file) = rest.split_first_chunk::<8>()?;
        Some(Self {
            digested: match *algorithm {
                PURE => false,
                DIGESTED => true,
                _ => return None,
            },
            id: *id,
            of_file: of_file.try_into().ok()?,
            trusted_comment: trusted.strip_prefix(TRUSTED)?.to_owned(),
            of_comment: decoded(of_comment)?,
        })
    }

    /// The four lines of a file of signatures.
    pub fn lines(&self) -> String {
        let algorithm = if self.digested { DIGESTED } else { PURE };
        let signature = [&algorithm[..], &self.id, &self.of_file].concat();
        format!(
            "{UNTRUSTED}signature of a roster, key {}\n{}\n{TRUSTED}{}\n{}\n",
            shown(&self.id),
            STANDARD.encode(signature),
            self.trusted_comment,
            STANDARD.encode(self.of_comment),
        )
    }

    /// The name of the key that it names.
    pub fn signer(&self) -> String {
        shown(&self.id)
    }

    /// A field such as `version:7` of the signed comment.
    pub fn comment_field(&self, name: &str) -> Option<&str> {
        let mut fields = self.trusted_comment.split('\t');
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix(':'))
    }

    /// Whether it names this key, which anyone can write.
    pub fn names(&self, key: &PublicKey) -> bool {
        self.id == key.id
    }

    /// Whether this key signed the file and the comment.
    pub fn verifies(&self, key: &PublicKey, file: &SignedBytes<'_>) -> bool {
        let of_file = Ed25519::from_bytes(&self.of_file);
        let of_comment = Ed25519::from_bytes(&self.of_comment);
        let message = if self.digested {
            file.digest.as_slice()
        } else {
            file.bytes
        };
        let comment = [&self.of_file[..], self.trusted_comment.as_bytes()].concat();
        self.names(key)
            && key.key.verify_strict(message, &of_file).is_ok()
            && key.key.verify_strict(&comment, &of_comment).is_ok()
    }
}

/// A file whose digest is computed once for all its signatures.
pub struct SignedBytes<'a> {
    bytes: &'a [u8],
    digest: [u8; 64],
}

impl<'a> SignedBytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let digest = Blake2b512::digest(bytes).into();
        Self { bytes, digest }
    }

    /// The begin of its digest, to tell own texts apart.
    pub fn short_digest(&self) -> String {
        let begin = self.digest.first_chunk::<8>().copied();
        format!("{:016x}", u64::from_be_bytes(begin.unwrap_or_default()))
    }

    pub fn digest(&self) -> String {
        STANDARD.encode(self.digest)
    }
}

/// The line of a key file: the last one that is not empty, after at most one comment.
fn last_line(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next()?;
    let line = if first.starts_with(UNTRUSTED.trim_end()) {
        lines.next()?
    } else {
        first
    };
    lines.next().is_none().then_some(line)
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// minisign shows a key's name as a number.
fn shown(id: &[u8; 8]) -> String {
    format!("{:016X}", u64::from_le_bytes(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with minisign 0.11: `minisign -G -W`, then `minisign -S` and `minisign -S -l` of the 6 bytes "hello\n".
    const SECRET: &str = include_str!("minisign_tests/secret.key");
    const PUBLIC: &str = include_str!("minisign_tests/public.key");
    const SIGNATURES: [&str; 2] = [
        include_str!("minisign_tests/digested.minisig"),
        include_str!("minisign_tests/pure.minisig"),
    ];

    #[test]
    fn signatures_of_minisign_verify() {
        let public = PublicKey::parse(PUBLIC).unwrap();
        for text in SIGNATURES {
            let signature = &Signature::parse_all(text).unwrap()[0];
            assert!(signature.verifies(&public, &SignedBytes::new(b"hello\n")));
            for other in [&b"hello"[..], b"hello\n\n", b"", b"Hello\n"] {
                assert!(!signature.verifies(&public, &SignedBytes::new(other)));
            }
            let mut said = signature.clone();
            said.trusted_comment.push('!');
            assert!(!said.verifies(&public, &SignedBytes::new(b"hello\n")));
        }
    }

    #[test]
    fn keys_read_back_from_their_files() {
        let secret = SecretKey::parse(SECRET).unwrap();
        assert_eq!(secret.public(), PublicKey::parse(PUBLIC).unwrap());
        assert!(PUBLIC.contains(&secret.public().line()));
        assert!(PUBLIC.contains(&secret.public().id()));
        let again = SecretKey::parse(&secret.file()).unwrap();
        let signature = again.sign(b"x", "version:1");
        let text = format!("{}{}", signature.lines(), signature.lines());
        let both = Signature::parse_all(&text).unwrap();
        assert_eq!(both, [signature.clone(), signature]);
        assert!(both[1].verifies(&again.public(), &SignedBytes::new(b"x")));
    }

    #[test]
    fn other_texts_are_no_keys_and_signatures() {
        for text in ["", "RW", PUBLIC, &SECRET[..100], &format!("{SECRET}x")] {
            assert_eq!(SecretKey::parse(text).err(), Some(KeyFault::Form), "{text}");
        }
        for text in ["", SECRET, &PUBLIC.replace("RW", "RX")] {
            assert!(PublicKey::parse(text).is_err(), "{text}");
        }
        let good = SIGNATURES[0];
        for text in [
            &good[1..],
            &good[..good.len() - 3],
            &format!("{good}x"),
            &good.repeat(17),
        ] {
            assert!(Signature::parse_all(text).is_none(), "{text}");
        }
    }
}
