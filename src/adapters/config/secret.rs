//! Keys: from text straight into proto's key types, which wipe themselves, and what a problem may say of them: never a byte.
//!
//! Must not keep key bytes: two users with one key are found by keyed fingerprints.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use postern_proto::{KeyError, KeyText};

use super::problem::{Fault, Problem, fault};
use crate::adapters::config::bundle::Bundle;

const CURE: &str = "write the one line that postern keygen prints";

/// Characters of the shortest secret for codes.
const SECRET_TEXT_MIN: usize = 26;

/// A way to decode a key: `SharedKey::from_base64` and the like.
pub(super) type Decode<K> = fn(&str) -> Result<K, KeyError>;

pub(super) fn key<K>(text: &str, decode: Decode<K>) -> Result<K, Fault> {
    decode(text).map_err(|error| what_is_wrong(text, error))
}

fn what_is_wrong(text: &str, error: KeyError) -> Fault {
    match error {
        KeyError::Length => fault(
            format!("this is no key: {error}, not {}", text.chars().count()),
            CURE,
        ),
        _ => fault(format!("this is no key: {error}"), CURE),
    }
}

/// True for a text that holds a key, or nearly one, or a secret for codes, where something else was expected.
pub(super) fn looks_like_key(text: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || ":;,'\"".contains(c))
        .any(|word| is_base64_key(word) || is_base32_secret(word))
}

fn is_base64_key(word: &str) -> bool {
    let letters = word.len() >= 40
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte));
    letters && (word.contains('=') || (word.len() <= 48 && !word.starts_with('/')))
}

/// In small letters also a long word of a language could be one, so there a digit is asked for.
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

/// The key files of a bundle, by path.
pub(super) struct KeyTexts<'a>(HashMap<&'a Path, &'a str>);

impl<'a> KeyTexts<'a> {
    pub(super) fn of(bundle: &'a Bundle) -> Self {
        Self(
            bundle
                .keys
                .iter()
                .map(|file| (file.path.as_path(), file.text.as_str()))
                .collect(),
        )
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// The key in a file; `named_at` says where the config names it.
    pub(super) fn key<K>(
        &self,
        path: &Path,
        decode: Decode<K>,
        named_at: &str,
    ) -> Result<K, Problem> {
        let Some(text) = self.0.get(path) else {
            return Err(Problem::of_file(
                path,
                format!("was not read, though {named_at} names it"),
                "load the config again",
            ));
        };
        let text = text.strip_suffix('\n').unwrap_or(text);
        key(text, decode).map_err(|fault| {
            Problem::of_file(
                path,
                format!("{} (named at {named_at})", fault.what),
                fault.cure,
            )
        })
    }
}

/// Which keys were seen, by fingerprints that only this load of this process can make: what stays in memory says nothing of a key.
pub(super) struct Seen<P> {
    first: RandomState,
    second: RandomState,
    seen: HashMap<(u64, u64), P>,
}

impl<P: Clone> Seen<P> {
    pub(super) fn new() -> Self {
        Self {
            first: RandomState::new(),
            second: RandomState::new(),
            seen: HashMap::new(),
        }
    }

    /// Where the same key was seen before; else notes that it is seen here.
    pub(super) fn before(&mut self, key: &KeyText, here: P) -> Option<P> {
        let mark = (self.first.hash_one(&**key), self.second.hash_one(&**key));
        match self.seen.get(&mark) {
            Some(before) => Some(before.clone()),
            None => {
                self.seen.insert(mark, here);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_proto::SharedKey;

    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_key_in_the_place_of_a_path_is_seen_for_what_it_is() {
        for text in [
            KEY,
            &KEY[..43],
            &format!(" {KEY}\n"),
            &format!("{KEY}{KEY}"),
            &format!("base64:{KEY}"),
            &format!("key={KEY}"),
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

    #[test]
    fn the_same_key_is_seen_again_and_another_is_not() {
        let mut seen = Seen::new();
        let text = |byte| SharedKey::from_bytes([byte; 32]).to_base64();
        assert_eq!(seen.before(&text(1), "alice"), None);
        assert_eq!(seen.before(&text(2), "bob"), None);
        assert_eq!(seen.before(&text(1), "carol"), Some("alice"));
    }

    #[test]
    fn a_fault_of_a_key_says_its_length_and_nothing_else_of_it() {
        let fault = key(&KEY[..43], SharedKey::from_base64).unwrap_err();
        assert_eq!(
            fault.what,
            "this is no key: a key must have exactly 44 characters of base64, not 43"
        );
    }
}
