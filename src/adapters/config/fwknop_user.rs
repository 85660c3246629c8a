//! The keys of a user who knocks with a client of fwknop: `fwknop = {…}` in a `[[user]]`.
//!
//! Keys go straight into the types of `postern_fwknop`, which wipe themselves. No message shows a byte of one, nor a
//! word that could be one in the wrong place.

use std::collections::BTreeMap;

use ipnet::IpNet;
use postern_fwknop::{Key, KeyError, MacKind, Mode, is_user_name, key_from_base64};
use zeroize::Zeroizing;

use super::fields::Fields;
use super::fwknop_opens;
use super::key::KeyFiles;
use super::problem::{Problem, Refusal, refusal};
use super::user_keys;
use super::values;
use crate::core::gate::Access;
use crate::model::service::Wanted;

const KEYS: [&str; 15] = [
    "key",
    "key_file",
    "passphrase",
    "hmac_key",
    "hmac_key_file",
    "hmac_passphrase",
    "hmac",
    "mode",
    "username",
    "destination",
    "commands",
    "access",
    "max_asked",
    "order",
    "insecure_without_hmac",
];

const FORM: &str = "fwknop = { key = \"BASE64\", hmac_key = \"BASE64\" }";

pub(super) struct FwknopKeys {
    pub(super) key: Key,
    pub(super) username: Option<String>,
    pub(super) destination: Vec<IpNet>,
    pub(super) commands: BTreeMap<String, Wanted>,
    pub(super) access: Access,
    /// In seconds.
    pub(super) max_asked: Option<u32>,
    /// The user's turn among those who share a key.
    pub(super) order: Option<u16>,
    /// Users of one group share a key; the table of users sets it.
    pub(super) group: usize,
    /// What must differ from the keys of all other users: the key of the mac if there is one.
    pub(super) own: Zeroizing<Vec<u8>>,
}

/// The keys; `None` if one is missing or wrong. `services` are those of the user.
pub(super) fn read(
    user: &Fields<'_>,
    services: &[Wanted],
    key_files: &KeyFiles<'_>,
) -> Option<FwknopKeys> {
    let others = user_keys::KEYS.into_iter().filter(|key| *key != "fwknop");
    for other in others.filter(|key| user.has(key)) {
        let what = format!("this user has both {other} and fwknop");
        let cure = "keep one of the two, or divide them among two users";
        user.refuse(other, what, cure);
    }
    let mut fields = user.table("fwknop", FORM)?;
    fields.name = "fwknop";
    fields.only(&KEYS);
    let names = ["key", "key_file", "passphrase"];
    if names.iter().all(|name| !fields.has(name)) {
        let cure = "add key = \"…\", the KEY_BASE64 of the client, or key_file or passphrase";
        user.refuse("fwknop", "fwknop has no key", cure);
    }
    let key = secret(&fields, names, key_files);
    let mac_names = ["hmac_key", "hmac_key_file", "hmac_passphrase"];
    let has_mac = mac_names.iter().any(|name| fields.has(name));
    let mac_key = secret(&fields, mac_names, key_files);
    let kind = word(
        &fields,
        "hmac",
        MacKind::from_name,
        &MacKind::ALL.map(MacKind::as_str),
    );
    let mode = word(&fields, "mode", mode_of, &["cbc", "legacy"]);
    let is_insecure = fields.flag("insecure_without_hmac").unwrap_or_default();
    match (has_mac, mode, is_insecure) {
        (true, Some(Some(Mode::Legacy)), _) => {
            let cure = "remove mode, or the key of the HMAC";
            fields.refuse(
                "mode",
                "packets in the mode legacy never have an HMAC",
                cure,
            );
        }
        (true, _, true) => {
            let what = "insecure_without_hmac contradicts the key of the HMAC";
            let cure = "remove insecure_without_hmac";
            fields.refuse("insecure_without_hmac", what, cure);
        }
        (false, ..) if fields.has("hmac") => {
            let cure = "add hmac_key = \"…\", the HMAC_KEY_BASE64 of the client";
            fields.refuse("hmac", "hmac requires hmac_key", cure);
        }
        (false, _, false) => {
            let what =
                "without an HMAC, packets are hardly authenticated, and each costs a decryption";
            let cure = "add hmac_key = \"…\", the client's HMAC_KEY_BASE64, or insecure_without_hmac = true";
            user.refuse("fwknop", what, cure);
        }
        _ => {}
    }
    let username = fields.text("username", username);
    let is_wrong = username.is_none() && fields.has("username");
    let commands = fwknop_opens::commands(&fields, services);
    let access = fwknop_opens::access(&fields, services);
    let destination = destination(&fields);
    let order = fields.number("order", 0..=u16::MAX);
    let max_asked = fields.text("max_asked", values::max_duration);
    let max_asked = max_asked.map(|most| u32::try_from(most.as_secs()).unwrap_or(u32::MAX));
    let (key, kind, mode) = (
        key?,
        kind?.unwrap_or(MacKind::Sha256),
        mode?.unwrap_or(Mode::Cbc),
    );
    let read = match &mac_key {
        Some(mac_key) if **mac_key == *key => {
            let cure = "make two keys with fwknop --key-gen";
            user.refuse("fwknop", "both keys are the same", cure);
            return None;
        }
        Some(mac_key) => Key::new(&key, kind, mac_key),
        None if has_mac => return None,
        None => Key::without_mac(&key, mode),
    };
    let names = match &read {
        Err(KeyError::MacLength) => mac_names,
        _ => names,
    };
    let at = names.into_iter().find(|name| fields.has(name));
    let at = fields.at(at.unwrap_or_default());
    Some(FwknopKeys {
        key: fields.file.check(at, read.map_err(key_refusal))?,
        username: username.filter(|_| !is_wrong),
        destination,
        commands: commands?,
        access: access?,
        max_asked,
        order,
        group: 0,
        own: mac_key.unwrap_or(key),
    })
}

fn destination(fields: &Fields<'_>) -> Vec<IpNet> {
    let Some(networks) = fields.texts("destination", values::network) else {
        return Vec::new();
    };
    if networks.is_empty() {
        let what = "destination is empty, so no packet could be admitted";
        let cure = "remove destination, or name addresses of the gate";
        fields.refuse("destination", what, cure);
    }
    networks.into_iter().map(|(_, network)| network).collect()
}

/// A key in one of three forms: base64, a file with base64, a passphrase.
fn secret(
    fields: &Fields<'_>,
    names: [&'static str; 3],
    key_files: &KeyFiles<'_>,
) -> Option<Zeroizing<Vec<u8>>> {
    let [encoded, path, passphrase] = names;
    let mut given = names.into_iter().filter(|name| fields.has(name));
    let first = given.next()?;
    if let Some(second) = given.next() {
        let what = format!("fwknop has both {first} and {second}");
        fields.refuse(second, what, "keep one of the two");
        return None;
    }
    if first == encoded {
        return fields.text(encoded, |text| key_from_base64(text).map_err(key_refusal));
    }
    if first == passphrase {
        return fields.text(passphrase, |text| {
            Ok(Zeroizing::new(text.as_bytes().to_vec()))
        });
    }
    let file = fields.file;
    let path = fields.text(path, |text| values::key_path(file.path, text))?;
    let named_at = file.place_name(fields.at(first));
    let key = key_files.text(&path, &named_at).and_then(|text| {
        key_from_base64(text).map_err(|error| {
            let Refusal { what, cure } = key_refusal(error);
            Problem::of_file(&path, format!("{what} (named at {named_at})"), cure)
        })
    });
    key.map_err(|problem| file.refuse_other(problem)).ok()
}

fn key_refusal(error: KeyError) -> Refusal {
    let cure = match error {
        KeyError::Base64 => {
            "copy KEY_BASE64 or HMAC_KEY_BASE64 of the client; plain text is a passphrase"
        }
        KeyError::Length | KeyError::MacLength => "make a new key with fwknop --key-gen",
    };
    refusal(error.to_string(), cure)
}

/// A word of a closed list; the outer `None` if it is wrong. The message does not show it: it may be a passphrase.
fn word<T>(
    fields: &Fields<'_>,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Option<Option<T>> {
    if !fields.has(name) {
        return Some(None);
    }
    let word = fields.text(name, |text| {
        read(text).ok_or_else(|| {
            let what = format!("this is not a value of {name}");
            refusal(what, format!("write one of {}", words.join(", ")))
        })
    });
    word.map(Some)
}

fn mode_of(name: &str) -> Option<Mode> {
    match name {
        "cbc" => Some(Mode::Cbc),
        "legacy" => Some(Mode::Legacy),
        _ => None,
    }
}

fn username(text: &str) -> Result<String, Refusal> {
    if is_user_name(text) {
        return Ok(text.to_owned());
    }
    let cure = "write the name that the client sends, 1 to 48 letters, digits and the like";
    Err(refusal("no packet can state this user name", cure))
}
