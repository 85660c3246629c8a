//! The keys of a section, as the `fwknop = {…}` of a profile.

use postern_fwknop::is_user_name;
use zeroize::Zeroizing;

use super::reading::Reading;
use super::secret::{HMAC_KEY_MAX, KEY_MAX, digest, key, mode};
use crate::client::profile::quoted;
use crate::model::foreign::TomlText;

pub(super) struct Keys {
    key: Zeroizing<String>,
    hmac_key: Option<Zeroizing<String>>,
    hmac: &'static str,
    mode: &'static str,
    username: Option<String>,
}

impl Keys {
    pub(super) fn write(&self, toml: &mut TomlText) {
        toml.put("key = \"");
        toml.put_secret(&self.key);
        toml.put("\"");
        match &self.hmac_key {
            Some(hmac_key) => {
                toml.put(", hmac_key = \"");
                toml.put_secret(hmac_key);
                toml.put(&format!("\", hmac = \"{}\"", self.hmac));
            }
            None => toml.put(", insecure_without_hmac = true"),
        }
        if self.mode != "cbc" {
            toml.put(&format!(", mode = \"{}\"", self.mode));
        }
        if let Some(username) = &self.username {
            toml.put(&format!(", username = {}", quoted(username)));
        }
    }
}

impl Reading<'_, '_> {
    pub(super) fn keys(&mut self) -> Option<Keys> {
        let hmac_key = self.one_key(["HMAC_KEY", "HMAC_KEY_BASE64"], HMAC_KEY_MAX);
        let key = self.one_key(["KEY", "KEY_BASE64"], KEY_MAX);
        let named = |reading: &mut Self, name, known: fn(&str) -> Option<&'static str>, cure| {
            let setting = reading.get(name)?;
            let found = known(&setting.value);
            if found.is_none() {
                reading.refuse(setting, "Postern does not know this value", cure);
            }
            found
        };
        let cure = "write MD5, SHA1, SHA256, SHA384, SHA512, SHA3_256 or SHA3_512";
        let hmac = named(self, "HMAC_DIGEST_TYPE", digest, cure).unwrap_or("sha256");
        let cure = "remove ENCRYPTION_MODE here and at the gate, or write CBC";
        let mode = named(self, "ENCRYPTION_MODE", mode, cure).unwrap_or("cbc");
        let username = self.username();
        if let (Some(setting), "legacy", Some(_)) = (self.get("ENCRYPTION_MODE"), mode, &hmac_key) {
            let what = "packets in the mode legacy never have an HMAC";
            self.refuse(setting, what, "remove it, or the key of the HMAC");
        }
        if key.is_some() && key == hmac_key {
            let cure = "make two keys with fwknop --key-gen, for both sides";
            self.refuse_section("both keys are the same", cure);
        }
        let Some(key) = key else {
            if !self.refused {
                let cure = "add KEY_BASE64 and HMAC_KEY_BASE64";
                self.refuse_section("the section has no key", cure);
            }
            return None;
        };
        if hmac_key.is_none() && self.is_yes("USE_HMAC") {
            let setting = self.get("USE_HMAC")?;
            self.refuse(
                setting,
                "the section has no HMAC_KEY",
                "add HMAC_KEY_BASE64",
            );
        }
        Some(Keys {
            key,
            hmac_key,
            hmac,
            mode,
            username,
        })
    }

    fn username(&mut self) -> Option<String> {
        let setting = self.get("SPOOF_USER")?;
        if !is_user_name(&setting.value) {
            let cure = "write 1 to 48 letters, digits and the like";
            self.refuse(setting, "no packet can state this user name", cure);
        }
        Some(setting.value.to_string())
    }

    fn one_key(&mut self, [plain, encoded]: [&str; 2], most: usize) -> Option<Zeroizing<String>> {
        let found = (self.get(plain), self.get(encoded));
        if let (Some(plain), Some(_)) = found {
            let what = "the same key is there in base64, too";
            self.refuse(plain, what, "remove one of the two");
            return None;
        }
        let setting = found.0.or(found.1)?;
        let read = key(&setting.value, setting.name == encoded, most);
        read.map_err(|(what, cure)| self.refuse(setting, what, cure))
            .ok()
    }
}
