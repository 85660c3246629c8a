//! The keys in one user's table: the key, the previous key, the secret for one-time codes.

use postern_proto::{CodeKey, CodeKeyError, PresharedKey, PublicKey, SharedKey};

use super::fields::Fields;
use super::key::{self, KeyFiles, UserKey};
use super::problem::{Refusal, refusal};
use super::values;
use crate::model::time::Timestamp;

pub(super) const KEYS: [&str; 11] = [
    "fwknop",
    "key",
    "key_file",
    "public_key",
    "psk",
    "totp",
    "totp_digits",
    "old_key",
    "old_public_key",
    "old_psk",
    "old_until",
];

/// A previous key, valid until a time. The gate checks the time.
pub(super) struct PreviousKey {
    pub(super) key: UserKey,
    pub(super) until: Timestamp,
}

/// The user's key; `None` if it is missing or wrong.
pub(super) fn key(fields: &Fields<'_>, key_files: &KeyFiles<'_>) -> Option<UserKey> {
    let cure = "remove psk: it only strengthens a key pair";
    fields.requires("psk", "public_key", cure);
    let mut given = ["key", "key_file", "public_key"].map(|kind| fields.has(kind).then_some(kind));
    given.sort_by_key(|kind| kind.map_or(usize::MAX, |kind| fields.at(kind)));
    match given {
        [None, ..] => {
            let cure = "add key = \"…\", the line that postern keygen prints, or key_file, public_key, fwknop or sequence";
            fields.refuse("key", "this user has no key", cure);
            None
        }
        [Some("key"), None, _] => shared_key(fields, "key"),
        [Some("key_file"), None, _] => key_file(fields, key_files),
        [Some(_), None, _] => key_pair(fields, "public_key", "psk"),
        [Some(first), Some(second), _] => {
            let what = format!("this user has both {first} and {second}");
            fields.refuse(second, what, "keep one of key, key_file, public_key");
            None
        }
    }
}

/// The user's previous key; `None` if there is none or it is wrong.
pub(super) fn previous_key(fields: &Fields<'_>) -> Option<PreviousKey> {
    let until = fields.time(
        "old_until",
        "a time, 2026-12-01T00:00:00Z",
        values::point_in_time,
    );
    let cure = "remove old_psk: it only strengthens a key pair";
    fields.requires("old_psk", "old_public_key", cure);
    let given = ["old_key", "old_public_key"]
        .into_iter()
        .find(|kind| fields.has(kind));
    match given {
        Some(kind) if until.is_none() && !fields.has("old_until") => {
            let cure = "add old_until = 2026-12-01T00:00:00Z, the time when the old key ends";
            fields.refuse(kind, format!("{kind} has no end"), cure);
        }
        None if fields.has("old_until") => {
            let cure = "add old_key or old_public_key, or remove old_until";
            let what = "old_until requires old_key or old_public_key";
            fields.refuse("old_until", what, cure);
        }
        _ => {}
    }
    let key = match given? {
        "old_key" if fields.has("old_public_key") => {
            let what = "this user has both old_key and old_public_key";
            fields.refuse("old_public_key", what, "keep one of the two");
            None
        }
        "old_key" => shared_key(fields, "old_key"),
        _ => key_pair(fields, "old_public_key", "old_psk"),
    };
    Some(PreviousKey {
        key: key?,
        until: until?,
    })
}

fn shared_key(fields: &Fields<'_>, name: &str) -> Option<UserKey> {
    let key = fields.text(name, |text| key::key(text, SharedKey::from_base64));
    key.map(UserKey::Shared)
}

fn key_pair(fields: &Fields<'_>, name: &str, psk: &str) -> Option<UserKey> {
    let preshared = fields.text(psk, |text| key::key(text, PresharedKey::from_base64));
    let is_wrong = preshared.is_none() && fields.has(psk);
    let public = fields.text(name, |text| key::key(text, PublicKey::from_base64))?;
    (!is_wrong).then_some(UserKey::Pair(public, preshared))
}

fn key_file(fields: &Fields<'_>, key_files: &KeyFiles<'_>) -> Option<UserKey> {
    let file = fields.file;
    let path = fields.text("key_file", |text| values::key_path(file.path, text))?;
    let named_at = file.place_name(fields.at("key_file"));
    let key = key_files.key(&path, SharedKey::from_base64, &named_at);
    let key = key.map_err(|problem| file.refuse_other(problem)).ok()?;
    Some(UserKey::Shared(key))
}

pub(super) fn code_key(fields: &Fields<'_>) -> Option<CodeKey> {
    let cure = "add totp = \"BASE32\", or remove totp_digits";
    fields.requires("totp_digits", "totp", cure);
    let digits = fields.number("totp_digits", 6..=8);
    let digits = digits.and_then(|digits| u8::try_from(digits).ok());
    fields.text("totp", |text| {
        CodeKey::from_base32(text, digits.unwrap_or(6)).map_err(code_refusal)
    })
}

fn code_refusal(error: CodeKeyError) -> Refusal {
    let cure = match error {
        CodeKeyError::Digits => "write totp_digits = 6, 7 or 8",
        CodeKeyError::Base32 | CodeKeyError::Length => {
            "write 32 characters of base32, the text form of 20 random bytes"
        }
    };
    refusal(format!("totp: {error}"), cure)
}
