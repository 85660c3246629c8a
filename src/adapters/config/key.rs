//! Keys of a config: from text straight into proto's key types, which wipe themselves.
//!
//! A message never shows a byte of a key.

use std::collections::HashMap;
use std::path::Path;

use postern_proto::{
    KeyError, KeyMaterial, KeyText, PresharedKey, PrivateKey, PublicKey, SharedKey,
};

use super::problem::{Problem, Refusal, refusal};
use crate::adapters::config::bundle::Bundle;

/// Characters of the shortest secret for one-time codes.
const SECRET_TEXT_MIN: usize = 26;

pub(super) enum UserKey {
    Shared(SharedKey),
    Pair(PublicKey, Option<PresharedKey>),
}

pub(super) type Decode<K> = fn(&str) -> Result<K, KeyError>;

pub(super) fn key<K>(text: &str, decode: Decode<K>) -> Result<K, Refusal> {
    decode(text).map_err(|error| {
        let length = match error {
            KeyError::Length => format!(", not {}", text.chars().count()),
            _ => String::new(),
        };
        let cure = "write the one line that postern keygen prints";
        refusal(format!("invalid key: {error}{length}"), cure)
    })
}

/// Whether a text in the wrong place holds a key, nearly a key, or a secret for one-time codes.
pub(super) fn looks_like_key(text: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || ".:;,'\"".contains(c))
        .any(|word| is_base64_key(word) || is_base32_secret(word))
}

fn is_base64_key(word: &str) -> bool {
    let letters = word.len() >= 40
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte));
    letters && (word.contains('=') || (word.len() <= 48 && !word.starts_with('/')))
}

/// Lower-case text needs a digit: without one it may be a long word.
fn is_base32_secret(word: &str) -> bool {
    let word = word.trim_end_matches('=');
    let digit = |byte: u8| (b'2'..=b'7').contains(&byte);
    let upper = word
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || digit(byte));
    let lower = word
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || digit(byte))
        && word.bytes().any(digit);
    word.len() >= SECRET_TEXT_MIN && (upper || lower)
}

pub(super) struct KeyFiles<'a>(HashMap<&'a Path, &'a str>);

impl<'a> KeyFiles<'a> {
    pub(super) fn of(bundle: &'a Bundle) -> Self {
        let files = bundle.keys.iter();
        Self(
            files
                .map(|file| (file.path.as_path(), file.text.as_str()))
                .collect(),
        )
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// The line in a file; `named_at` is the line of the config that names it.
    pub(super) fn text(&self, path: &Path, named_at: &str) -> Result<&'a str, Problem> {
        let text = self.0.get(path).copied().map(line_of);
        text.ok_or_else(|| {
            let what = format!("was not read, but {named_at} names it");
            Problem::of_file(path, what, "load the config again")
        })
    }

    /// The key in a file; `named_at` is the line of the config that names it.
    pub(super) fn key<K>(
        &self,
        path: &Path,
        decode: Decode<K>,
        named_at: &str,
    ) -> Result<K, Problem> {
        key(self.text(path, named_at)?, decode).map_err(|Refusal { what, cure }| {
            Problem::of_file(path, format!("{what} (named at {named_at})"), cure)
        })
    }
}

impl UserKey {
    /// The text of the key that must differ from all others, for its fingerprint.
    pub(super) fn text(&self) -> KeyText {
        match self {
            Self::Shared(key) => key.to_base64(),
            Self::Pair(public, _) => public.to_base64(),
        }
    }

    /// What [`Self::material`] would say, without an X25519.
    pub(super) fn check(&self, gate: Option<&PrivateKey>) -> Option<Result<(), Refusal>> {
        match self {
            Self::Shared(_) => Some(Ok(())),
            Self::Pair(public, _) if public.is_of_small_order() => {
                gate?;
                Some(Err(unusable(KeyError::ZeroSecret)))
            }
            Self::Pair(..) => gate.map(|_| Ok(())),
        }
    }

    /// The key material; `None` for a key pair without the gate's private key.
    pub(super) fn material(
        &self,
        gate: Option<&PrivateKey>,
    ) -> Option<Result<KeyMaterial, Refusal>> {
        let (public, preshared) = match self {
            Self::Shared(key) => return Some(Ok(KeyMaterial::shared(key))),
            Self::Pair(public, preshared) => (public, preshared.as_ref()),
        };
        let paired = KeyMaterial::pair_at_gate(gate?, public, preshared);
        Some(paired.map_err(unusable))
    }
}

fn unusable(error: KeyError) -> Refusal {
    let cure = "ask the user for a new key pair, from postern keygen --pair";
    refusal(error.to_string(), cure)
}

/// A text of one line without the end of it, which may be that of Windows.
pub(crate) fn line_of(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn keys_and_secrets_look_like_keys() {
        for text in [
            KEY,
            &KEY[..43],
            &format!(" {KEY}\n"),
            &format!("{KEY}{KEY}"),
            &format!("base64:{KEY}"),
            &format!("key={KEY}"),
            &format!("gate.key{KEY}"),
            &KEY.replace("AAE", "/AE"),
            &KEY.replace('8', "-"),
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "gezdgnbvgy3tqojqgezdgnbvgy======",
        ] {
            assert!(looks_like_key(text), "{text}");
        }
        for text in [
            "/etc/postern/gate.key",
            "gate.key",
            "/etc/postern/keys/gate/production/alicekey",
            "averyveryveryverylongname.of.a.file",
            "averyveryveryveryverylongname",
            "./averyveryveryveryveryveryveryverylongname",
        ] {
            assert!(!looks_like_key(text), "{text}");
        }
    }
}
