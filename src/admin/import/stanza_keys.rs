//! The keys of a stanza, as the `fwknop = {…}` of a user.

use zeroize::Zeroizing;

use super::converted::seconds;
use super::reading::Reading;
use crate::client::import_fwknoprc::{HMAC_KEY_MAX, KEY_MAX, digest, key, mode};
use crate::client::profile::{list, quoted};
use crate::model::foreign::{TomlText, Verdict};

pub(super) struct Keys {
    key: Zeroizing<String>,
    hmac_key: Option<Zeroizing<String>>,
    hmac: &'static str,
    mode: &'static str,
}

/// The keys of a stanza; `None` if it has no symmetric key or something is wrong, with a finding.
pub(super) fn read(reading: &mut Reading<'_>) -> Option<Keys> {
    let hmac_key = one_of(reading, ["HMAC_KEY", "HMAC_KEY_BASE64"], HMAC_KEY_MAX);
    let key = one_of(reading, ["KEY", "KEY_BASE64"], KEY_MAX);
    let gpg = ["GPG_DECRYPT_ID", "GPG_DECRYPT_PW", "GPG_ALLOW_NO_PW"];
    let has_gpg = gpg.iter().any(|name| reading.get(name).is_some());
    if key.is_none() && !reading.refused && !has_gpg {
        let source = reading.get("SOURCE")?;
        let what = "the stanza has no key";
        reading.refuse(source, what, "add KEY_BASE64 and HMAC_KEY_BASE64 to it");
    }
    let hmac = hmac_digest(reading);
    let mode = encryption_mode(reading);
    let key = key?;
    let (hmac, mode) = (hmac?, mode?);
    check_hmac(reading, &key, hmac_key.as_ref(), mode);
    Some(Keys {
        key,
        hmac_key,
        hmac,
        mode,
    })
}

fn one_of(
    reading: &mut Reading<'_>,
    [plain, encoded]: [&str; 2],
    most: usize,
) -> Option<Zeroizing<String>> {
    let setting = match (reading.get(plain), reading.get(encoded)) {
        (Some(plain), Some(_)) => {
            let what = "the same key is there in base64, too";
            reading.refuse(plain, what, "remove one of the two");
            return None;
        }
        (plain, encoded) => plain.or(encoded)?,
    };
    let read = key(&setting.value, setting.name == encoded, most);
    read.map_err(|(what, cure)| reading.refuse(setting, what, cure))
        .ok()
}

fn hmac_digest(reading: &mut Reading<'_>) -> Option<&'static str> {
    let Some(setting) = reading.get("HMAC_DIGEST_TYPE") else {
        return Some("sha256");
    };
    let known = digest(&setting.value);
    if known.is_none() {
        let cure = "write MD5, SHA1, SHA256, SHA384, SHA512, SHA3_256 or SHA3_512";
        reading.refuse(setting, "this is no digest for an HMAC", cure);
    }
    known
}

fn encryption_mode(reading: &mut Reading<'_>) -> Option<&'static str> {
    let Some(setting) = reading.get("ENCRYPTION_MODE") else {
        return Some("cbc");
    };
    let known = mode(&setting.value);
    if known.is_none() {
        let cure = "remove ENCRYPTION_MODE here and at the client, or write CBC";
        reading.refuse(setting, "Postern reads the modes CBC and legacy only", cure);
    }
    known
}

fn check_hmac(
    reading: &mut Reading<'_>,
    key: &Zeroizing<String>,
    hmac_key: Option<&Zeroizing<String>>,
    mode: &str,
) {
    let settings = [
        "HMAC_KEY_BASE64",
        "HMAC_KEY",
        "ENCRYPTION_MODE",
        "USE_HMAC",
        "KEY_BASE64",
        "KEY",
    ];
    let mut found = settings.iter().filter_map(|name| reading.get(name));
    let Some(setting) = found.next() else { return };
    match hmac_key {
        Some(hmac_key) if hmac_key == key => {
            let what = "both keys are the same, and fwknopd refuses that";
            reading.refuse(setting, what, "make two keys with fwknop --key-gen");
        }
        Some(_) if mode == "legacy" => {
            let what = "packets in legacy mode never have an HMAC";
            let cure = "remove ENCRYPTION_MODE, or the key of the HMAC";
            reading.refuse(setting, what, cure);
        }
        None if reading.is_yes("USE_HMAC") => {
            let what = "USE_HMAC is on, and the stanza has no HMAC_KEY";
            reading.refuse(setting, what, "add HMAC_KEY_BASE64");
        }
        None => {
            let what = "packets have no HMAC, as before, so insecure_without_hmac is written";
            let cure = "better add HMAC_KEY_BASE64 here and at the client, and import again";
            reading.say(setting, Verdict::Convert, what, cure);
        }
        Some(_) => {}
    }
}

/// What stands beside the keys in `fwknop = {…}`.
#[derive(Default)]
pub(super) struct Beside<'a> {
    /// The user name that packets must carry.
    pub(super) username: Option<&'a str>,
    pub(super) destination: Vec<String>,
    /// What a port opens; `any` for all others.
    pub(super) access: Vec<(String, String)>,
    /// In seconds.
    pub(super) max_asked: Option<u64>,
    pub(super) order: Option<u16>,
}

impl Keys {
    /// What must differ from the keys of others, or be shared with them in turns.
    pub(super) fn own(&self) -> &Zeroizing<String> {
        self.hmac_key.as_ref().unwrap_or(&self.key)
    }

    /// Writes `fwknop = {…}`.
    pub(super) fn write(&self, toml: &mut TomlText, beside: &Beside<'_>) {
        toml.put("fwknop = { key = \"");
        toml.put_secret(&self.key);
        toml.put("\"");
        match &self.hmac_key {
            Some(hmac_key) => {
                toml.put(", hmac_key = \"");
                toml.put_secret(hmac_key);
                toml.put("\", hmac = \"");
                toml.put(self.hmac);
                toml.put("\"");
            }
            None => toml.put(", insecure_without_hmac = true"),
        }
        if self.mode != "cbc" {
            toml.put(&format!(", mode = \"{}\"", self.mode));
        }
        if let Some(username) = beside.username {
            toml.put(&format!(", username = {}", quoted(username)));
        }
        if !beside.destination.is_empty() {
            toml.put(&format!(", destination = {}", list(&beside.destination)));
        }
        if !beside.access.is_empty() {
            let entries = beside.access.iter().map(|(port, service)| {
                let port = if port == "any" {
                    port.clone()
                } else {
                    quoted(port)
                };
                format!("{port} = {}", quoted(service))
            });
            let entries: Vec<String> = entries.collect();
            toml.put(&format!(", access = {{ {} }}", entries.join(", ")));
        }
        if let Some(most) = beside.max_asked {
            toml.put(&format!(", max_asked = {}", seconds(most)));
        }
        if let Some(order) = beside.order {
            toml.put(&format!(", order = {order}"));
        }
        toml.put(" }\n");
    }
}
