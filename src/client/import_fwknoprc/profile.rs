//! From a section of .fwknoprc to a profile.

use std::net::Ipv4Addr;

use zeroize::Zeroizing;

use super::read::Section;
use super::secret::{HMAC_KEY_MAX, KEY_MAX, digest, key, mode};
use super::table::FWKNOPRC;
use crate::client::profile::quoted;
use crate::client::token::is_profile_name;
use crate::model::endpoint::{DEFAULT_PORT, Host};
use crate::model::foreign::{Findings, Place, Setting, TomlText, Verdict, row};
use crate::model::service::Ports;

/// A profile and where it was defined.
#[derive(Debug)]
pub struct NewProfile {
    /// The name of the section.
    pub name: String,
    /// The line of the section in .fwknoprc.
    pub place: Place,
    /// The section for the config.
    pub toml: TomlText,
}

struct Reading<'s, 'f> {
    section: &'s Section,
    findings: &'f mut Findings,
    refused: bool,
}

/// The profile of a section; `None` if a part of it was refused.
pub(super) fn convert(section: &Section, findings: &mut Findings) -> Option<NewProfile> {
    let mut reading = Reading {
        section,
        findings,
        refused: section.refused,
    };
    reading.judged_by_table();
    let name: String = section.name.chars().map(kept).collect();
    if !is_profile_name(&name) {
        let words = (
            "the name is no name for a profile",
            "write 1 to 32 letters and digits",
        );
        reading
            .findings
            .add(&section.place, None, Verdict::Refuse, words);
        reading.refused = true;
    }
    let host = reading.host();
    let port = reading.number("SPA_SERVER_PORT", 1, u64::from(u16::MAX));
    let keys = reading.keys();
    let nat = reading.nat();
    let services = reading.services();
    let allow = reading.allow();
    let duration = reading.number("FW_TIMEOUT", 1, 65536);
    let offset = reading.offset();
    if reading.refused {
        return None;
    }
    let (host, port) = (host?, port.unwrap_or(u64::from(DEFAULT_PORT)));
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let mut toml = TomlText::new();
    toml.put(&format!("[{name}] # from {}\n", section.place));
    toml.line("gate", &quoted(&host));
    toml.line("address", &quoted(&address));
    toml.put("fwknop = { ");
    keys?.write(&mut toml);
    toml.put(&nat);
    toml.put(" }\n");
    if let Some(services) = services {
        toml.line("services", &services);
    }
    for (key, value) in [
        ("allow", allow),
        ("duration", duration.map(|seconds| format!("{seconds}s"))),
        ("time_offset", offset),
    ] {
        if let Some(value) = value {
            toml.line(key, &quoted(&value));
        }
    }
    let place = section.place.clone();
    Some(NewProfile { name, place, toml })
}

fn kept(letter: char) -> char {
    let is_kept = letter.is_ascii_alphanumeric() || "_-".contains(letter);
    if is_kept { letter } else { '-' }
}

struct Keys {
    key: Zeroizing<String>,
    hmac_key: Option<Zeroizing<String>>,
    hmac: &'static str,
    mode: &'static str,
    username: Option<String>,
}

impl Keys {
    fn write(&self, toml: &mut TomlText) {
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

impl<'s> Reading<'s, '_> {
    fn get(&self, name: &str) -> Option<&'s Setting> {
        let mut settings = self.section.settings.iter();
        settings.find(|setting| setting.name == name)
    }

    /// fwknop's client takes exactly Y or y as a yes.
    fn is_yes(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|one| one.value.eq_ignore_ascii_case("y"))
    }

    fn say(&mut self, setting: &Setting, verdict: Verdict, what: &str, cure: &str) {
        let row = row(&FWKNOPRC, &setting.name);
        self.findings
            .add(&setting.place, row, verdict, (what, cure));
        self.refused |= verdict == Verdict::Refuse;
    }

    fn refuse(&mut self, setting: &Setting, what: &str, cure: &str) {
        self.say(setting, Verdict::Refuse, what, cure);
    }

    fn judged_by_table(&mut self) {
        const SWITCHES: [&str; 6] = [
            "RAND_PORT",
            "NAT_RAND_PORT",
            "RESOLVE_IP_HTTPS",
            "RESOLVE_IP_HTTP",
            "RESOLVE_HTTP_ONLY",
            "USE_GPG",
        ];
        for setting in &self.section.settings {
            let Some(row) = row(&FWKNOPRC, &setting.name) else {
                continue;
            };
            let applies = match row.name {
                "SPA_SERVER_PROTO" => !setting.value.eq_ignore_ascii_case("udp"),
                name if SWITCHES.contains(&name) => self.is_yes(name),
                _ => true,
            };
            if applies && row.verdict >= Verdict::Narrow {
                self.say(setting, row.verdict, row.why, row.cure);
            }
        }
    }

    fn host(&mut self) -> Option<String> {
        let Some(setting) = self.get("SPA_SERVER") else {
            let words = (
                "there is no SPA_SERVER",
                "add SPA_SERVER with the gate's host name",
            );
            let row = row(&FWKNOPRC, "SPA_SERVER");
            self.findings
                .add(&self.section.place, row, Verdict::Refuse, words);
            self.refused = true;
            return None;
        };
        let host = setting
            .value
            .parse::<Host>()
            .ok()
            .map(|host| host.to_string());
        if host.is_none() {
            self.refuse(
                setting,
                "this is no host",
                "write a host name or an address",
            );
        }
        host
    }

    fn number(&mut self, name: &str, least: u64, most: u64) -> Option<u64> {
        let setting = self.get(name)?;
        let number = setting.value.parse::<u64>().ok();
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let cure = format!("write a number from {least} to {most}");
            self.refuse(setting, "this number cannot be used", &cure);
        }
        number
    }

    fn keys(&mut self) -> Option<Keys> {
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
        let username = self.get("SPOOF_USER").map(|user| user.value.to_string());
        let Some(key) = key else {
            if !self.refused {
                let words = (
                    "the section has no key",
                    "add KEY_BASE64 and HMAC_KEY_BASE64",
                );
                self.findings
                    .add(&self.section.place, None, Verdict::Refuse, words);
                self.refused = true;
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

    /// The keys of `fwknop` for NAT, each with a comma in front.
    fn nat(&mut self) -> String {
        let mut text = String::new();
        if let Some(setting) = self.get("NAT_ACCESS") {
            let parts = setting.value.rsplit_once([',', ':']);
            let inner = parts.and_then(|(host, port)| {
                let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
                Some(format!("{}:{port}", host.parse::<Host>().ok()?))
            });
            match inner {
                Some(inner) => text += &format!(", nat = {}", quoted(&inner)),
                None => self.refuse(setting, "this is no host with a port", "write HOST:PORT"),
            }
        }
        if self.is_yes("NAT_LOCAL") {
            text += ", nat_local = true";
        }
        if let Some(port) = self.number("NAT_PORT", 1, u64::from(u16::MAX)) {
            text += &format!(", nat_port = {port}");
        }
        text
    }

    fn services(&mut self) -> Option<String> {
        let setting = self.get("ACCESS")?;
        let ports = setting.value.split(',').map(|one| {
            let one = one.to_ascii_lowercase();
            let known = one.starts_with("tcp/") || one.starts_with("udp/");
            one.parse::<Ports>()
                .ok()
                .filter(|_| known && !one.contains('-'))
        });
        let ports: Option<Vec<Ports>> = ports.collect();
        if ports.is_none() {
            self.refuse(
                setting,
                "this is no list of ports",
                "write it like tcp/22,udp/53",
            );
        }
        let ports: Vec<String> = ports?
            .iter()
            .map(|port| quoted(&port.to_string()))
            .collect();
        Some(format!("[{}]", ports.join(", ")))
    }

    fn allow(&mut self) -> Option<String> {
        let setting = self.get("ALLOW_IP")?;
        let value = setting.value.as_str();
        if value.eq_ignore_ascii_case("source") || value == "0.0.0.0" {
            return Some("source".to_owned());
        }
        if value.eq_ignore_ascii_case("resolve") {
            let what = "Postern asks no web server for the own address";
            let cure = "write allow = \"stun:HOST\" into the profile, or allow = \"source\"";
            self.say(setting, Verdict::Narrow, what, cure);
            return None;
        }
        let address = value.parse::<Ipv4Addr>().ok();
        if address.is_none() {
            let cure = "write source, or an IPv4 address";
            self.refuse(setting, "this is no address", cure);
        }
        address.map(|address| address.to_string())
    }

    /// `TIME_OFFSET`: seconds, or a number with the first letter of its unit.
    fn offset(&mut self) -> Option<String> {
        let setting = self.get("TIME_OFFSET")?;
        let value = setting.value.as_str();
        let (sign, rest) = match value.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("+", value.strip_prefix('+').unwrap_or(value)),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, unit) = rest.split_at(end);
        let unit = match unit
            .chars()
            .next()
            .map(|letter| letter.to_ascii_lowercase())
        {
            None | Some('s') => Some(1),
            Some('m') => Some(60),
            Some('h') => Some(3600),
            Some('d') => Some(86_400),
            Some(_) => None,
        };
        let number: Option<u64> = number.parse().ok();
        let seconds = number
            .zip(unit)
            .and_then(|(number, unit)| number.checked_mul(unit));
        match seconds.filter(|seconds| *seconds <= 86_400 * 365) {
            Some(seconds) => Some(format!("{sign}{seconds}s")),
            None => {
                self.refuse(
                    setting,
                    "this is no length of time",
                    "write it like 60s, 2m or -1h",
                );
                None
            }
        }
    }
}
