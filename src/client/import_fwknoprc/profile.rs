//! From a section of .fwknoprc to a profile.

use std::net::Ipv4Addr;

use postern_fwknop::is_target_host;

use super::read::Section;
use super::reading::Reading;
use super::table::FWKNOPRC;
use crate::client::profile::{list, quoted};
use crate::client::token::is_profile_name;
use crate::model::endpoint::{DEFAULT_PORT, Endpoint, Host};
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
pub(super) fn convert(
    section: &Section,
    earlier: &[NewProfile],
    findings: &mut Findings,
) -> Option<NewProfile> {
    let mut reading = Reading {
        section,
        findings,
        refused: section.refused,
    };
    reading.judged_by_table();
    let name: String = section.name.chars().map(kept).collect();
    if !is_profile_name(&name) {
        let cure = "write 1 to 32 letters and digits";
        reading.refuse_section("the name is no name for a profile", cure);
    }
    if earlier.iter().any(|profile| profile.name == name) {
        let what = "an earlier section becomes the same profile";
        reading.refuse_section(what, "give it another name");
    }
    let host = reading.host();
    let port = reading.number("SPA_SERVER_PORT", 1, u64::from(u16::MAX));
    let keys = reading.keys();
    let nat = reading.nat(host.as_deref());
    let services = reading.services();
    let allow = reading.allow();
    let duration = reading.number("FW_TIMEOUT", 0, 65536);
    // fwknop's client states no time then
    let duration = duration.filter(|seconds| *seconds > 0);
    let offset = reading.offset();
    if reading.refused {
        return None;
    }
    let (host, port) = (host?, port.unwrap_or(u64::from(DEFAULT_PORT)));
    let address = format!("{host}:{port}");
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

/// Whether a packet can go there, and name it.
fn is_ipv4_or_name(host: &str) -> bool {
    !host.contains(':') && is_target_host(host)
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
        let host = setting.value.parse::<Host>().ok();
        let host = host.map(|host| host.to_string());
        let host = host.filter(|host| host.contains(':') || is_target_host(host));
        match &host {
            None => self.refuse(
                setting,
                "this is no host",
                "write a host name or an address",
            ),
            Some(host) if host.contains(':') => {
                let what = "packets of fwknop go over IPv4 only";
                self.refuse(setting, what, "write a name, or an IPv4 address");
            }
            Some(_) => {}
        }
        host
    }

    /// The ports of ACCESS. NAT_PORT takes the place of the only one, as in fwknop's client.
    fn ports(&mut self) -> Option<Vec<Ports>> {
        let nat_port = self.number("NAT_PORT", 1, u64::from(u16::MAX));
        let nat_port = nat_port.and_then(|port| u16::try_from(port).ok());
        let ports = self.access();
        let Some((setting, port)) = self.get("NAT_PORT").zip(nat_port) else {
            return ports;
        };
        match ports.as_deref() {
            Some([only]) => only.moved_to(port).map(|moved| vec![moved]),
            Some(_) => {
                let what = "it stands for one port, and ACCESS has several";
                self.refuse(setting, what, "write one port into ACCESS");
                None
            }
            None => {
                let what = "there is no ACCESS whose port it could replace";
                let cure = "name the port with each knock: postern knock -s tcp/PORT";
                self.say(setting, Verdict::Narrow, what, cure);
                None
            }
        }
    }

    /// The key of `fwknop` for NAT, with a comma in front.
    fn nat(&mut self, server: Option<&str>) -> String {
        let first = self
            .access()
            .and_then(|ports| Some(ports.first()?.range()?.0));
        let is_local = self.is_yes("NAT_LOCAL");
        let place = match (self.get("NAT_ACCESS"), server, first) {
            (Some(setting), ..) => {
                // The port is that of ACCESS if nothing else is written.
                let text = setting.value.replace(',', ":");
                let inner = Endpoint::with_default(&text, first.unwrap_or_default());
                let inner = inner.ok().filter(|inner| inner.port > 0);
                let inner = inner.filter(|inner| is_ipv4_or_name(inner.host.as_str()));
                if inner.is_none() {
                    let cure = "write HOST:PORT, with a name or an IPv4 address";
                    self.refuse(setting, "this is no host with a port", cure);
                }
                inner.map(|inner| inner.to_string())
            }
            (None, Some(server), Some(port)) if is_local => Some(format!("{server}:{port}")),
            (None, _, None) if is_local => {
                if let Some(setting) = self.get("NAT_LOCAL") {
                    let cure = "write the port of the gate into ACCESS";
                    self.refuse(setting, "without ACCESS it names no port", cure);
                }
                None
            }
            _ => None,
        };
        let key = if is_local { "nat_local" } else { "nat_access" };
        place.map_or(String::new(), |place| {
            format!(", {key} = {}", quoted(&place))
        })
    }

    fn access(&self) -> Option<Vec<Ports>> {
        let ports = self.get("ACCESS")?.value.split(',').map(|one| {
            let known = one.starts_with("tcp/") || one.starts_with("udp/");
            let port = one.parse::<Ports>().ok();
            port.filter(|_| known && !one.contains('-'))
        });
        ports.collect()
    }

    fn services(&mut self) -> Option<String> {
        if let (Some(setting), None) = (self.get("ACCESS"), self.access()) {
            let cure = "write it like tcp/22,udp/53";
            self.refuse(setting, "this is no list of ports", cure);
            return None;
        }
        self.ports().map(|ports| list(&ports))
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
