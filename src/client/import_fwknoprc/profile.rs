//! From a section of .fwknoprc to a profile.

use std::net::Ipv4Addr;

use super::read::Section;
use super::reading::Reading;
use super::table::FWKNOPRC;
use crate::client::profile::quoted;
use crate::client::token::is_profile_name;
use crate::model::endpoint::{DEFAULT_PORT, Host};
use crate::model::foreign::{Findings, Place, TomlText, Verdict, row};
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

impl Reading<'_, '_> {
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
