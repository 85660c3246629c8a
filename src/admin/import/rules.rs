//! fwknopd.conf: what it changes for all stanzas, and what the administrator writes into `[gate]`.

use std::path::Path;
use std::sync::Arc;

use super::lines::{Line, lines};
use super::table::{BY_HAND, FWKNOPD};
use crate::model::foreign::{Findings, Row, Setting, Verdict, row};

/// For how long fwknopd takes a packet as fresh, and Postern always.
const FRESH_S: u64 = 120;
const MAIN: &str = "write it into [gate] of posternd.toml: ";

/// What the settings of fwknopd.conf mean for stanzas.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Whether inner hosts see the gate's address.
    pub(super) masquerade: bool,
    /// Whether there is a fwknopd.conf.
    given: bool,
    /// Whether stanzas may forward ports.
    forwards: bool,
    /// Whether something restricts all stanzas in a way that cannot be kept.
    pub(super) blocked: bool,
}

pub(super) fn read(path: &Path, text: &str, findings: &mut Findings) -> Rules {
    let path = Arc::from(path);
    let mut settings = Vec::new();
    let mut rules = Rules::default();
    for line in lines(&path, text) {
        match line {
            Line::Setting(setting) => settings.push(setting),
            Line::Wrong(place, what, cure) => {
                findings.add(&place, None, Verdict::Refuse, (what, cure));
                rules.blocked = true;
            }
        }
    }
    rules.apply(&settings, findings);
    rules
}

impl Rules {
    /// Adds those of another file.
    pub(super) fn add(&mut self, other: &Self) {
        self.masquerade |= other.masquerade;
        self.given |= other.given;
        self.forwards |= other.forwards;
        self.blocked |= other.blocked;
    }

    /// Whether fwknopd does not start if a stanza forwards ports.
    pub(super) fn refuse_nat(&self) -> bool {
        self.given && !self.forwards
    }

    pub(super) fn apply(&mut self, settings: &[Setting], findings: &mut Findings) {
        self.given = true;
        let variables: Vec<(String, String)> = settings
            .iter()
            .map(|one| (one.name.clone(), one.value.to_string()))
            .collect();
        for setting in settings {
            let found = row(&FWKNOPD, &setting.name).filter(|row| row.name == setting.name);
            let Some(row) = found else {
                let what = "fwknopd.conf has no setting of this name";
                let words = (what, "correct its name, or remove the line");
                findings.add(&setting.place, None, Verdict::Refuse, words);
                continue;
            };
            self.setting(setting, &value(setting, &variables), row, findings);
        }
    }

    fn setting(&mut self, setting: &Setting, value: &str, row: &Row, findings: &mut Findings) {
        let is_yes = value.starts_with(['y', 'Y']);
        let place = &setting.place;
        let mut refuse = |words: (&str, &str)| {
            findings.add(place, Some(row), Verdict::Refuse, words);
        };
        match row.name {
            "MAX_SPA_PACKET_AGE" => match value.parse::<u64>() {
                Ok(age) if age == FRESH_S => {}
                Ok(age) if age > FRESH_S => {
                    let what = "packets older than 120 s are refused, whatever this says";
                    let words = (
                        what,
                        "set the clocks of clients, or time_offset in profiles",
                    );
                    findings.add(place, Some(row), Verdict::Narrow, words);
                }
                _ => {
                    refuse((row.why, row.cure));
                    self.blocked = true;
                }
            },
            "ENABLE_DESTINATION_RULE" | "ENABLE_EXTERNAL_CMDS" if is_yes => {
                refuse((row.why, row.cure));
                self.blocked = true;
            }
            name if name.ends_with("_ACCESS") && row.verdict == Verdict::Convert => {
                if let Err(words) = chain(name, value) {
                    refuse(words);
                    self.blocked = true;
                }
            }
            "ENABLE_IPT_SNAT" | "ENABLE_FIREWD_SNAT" => self.masquerade |= is_yes,
            name if NAT.contains(&name) => {
                self.forwards |= is_yes;
                if is_yes {
                    findings.add_row(place, row);
                }
            }
            name if BY_HAND.contains(&name) => {
                if let Some(cure) = by_hand(name, value) {
                    let words = ("import changes no [gate] settings", cure.as_str());
                    findings.add(place, Some(row), Verdict::Convert, words);
                }
            }
            // These are narrower if they are off.
            "ENABLE_SPA_PACKET_AGING" | "ENABLE_DIGEST_PERSISTENCE" if is_yes => {}
            "SNAT_TRANSLATE_IP" if value.contains("__CHANGEME__") => {}
            name if name.starts_with("ENABLE_")
                && !is_yes
                && !["ENABLE_SPA_PACKET_AGING", "ENABLE_DIGEST_PERSISTENCE"].contains(&name) => {}
            _ if row.verdict >= Verdict::Narrow => findings.add_row(place, row),
            _ => {}
        }
    }
}

/// Settings without which fwknopd refuses FORCE_NAT.
const NAT: [&str; 4] = [
    "ENABLE_IPT_FORWARDING",
    "ENABLE_FIREWD_FORWARDING",
    "ENABLE_IPT_LOCAL_NAT",
    "ENABLE_FIREWD_LOCAL_NAT",
];

/// Whether a chain of fwknopd accepts in the usual place: `ACCEPT, filter, INPUT, 1, FWKNOP_INPUT, 1`.
fn chain(name: &str, value: &str) -> Result<(), (&'static str, &'static str)> {
    let fields: Vec<&str> = value.split(',').map(str::trim).collect();
    let (target, rest) = fields.split_first().unwrap_or((&"", &[]));
    if *target != "ACCEPT" {
        let what = "the target is not ACCEPT, so grants do something else there";
        return Err((what, "write ACCEPT, if a grant should accept"));
    }
    let builtin = ["INPUT", "OUTPUT", "FORWARD"];
    let builtin = builtin.into_iter().find(|chain| name.contains(*chain));
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let is_usual = matches!(rest, ["filter", from, at, own, first]
        if Some(*from) == builtin && is_number(at) && !own.is_empty() && is_number(first));
    if is_usual {
        return Ok(());
    }
    let what = "fwknopd accepts in another chain than usual, or does not start with this";
    Err((
        what,
        "write ACCEPT, filter, INPUT, 1, FWKNOP_INPUT, 1, with the name of the chain",
    ))
}

/// The line for `[gate]`; `None` if nothing is to be written.
fn by_hand(name: &str, value: &str) -> Option<String> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let line = match name {
        "PCAP_INTF" => {
            let plain = |c: char| c.is_ascii_alphanumeric() || ".:_-".contains(c);
            let is_name = value.chars().all(plain) && value.len() <= 15;
            let name = if is_name { value } else { "NAME" };
            if name == "any" {
                return None;
            }
            format!("interfaces = [\"{name}\"]")
        }
        "ENABLE_UDP_SERVER" if value.starts_with(['y', 'Y']) => "capture = \"udp\"".to_owned(),
        "ENABLE_UDP_SERVER" => return None,
        "PCAP_FILTER" => {
            let words: Vec<&str> = value.split_ascii_whitespace().collect();
            match words.as_slice() {
                ["udp", "port", number] | ["udp", "dst", "port", number] => {
                    format!("port = {}", port(number)?)
                }
                _ => "port = PORT, the port that its filter names".to_owned(),
            }
        }
        _ => format!("port = {}", port(value)?),
    };
    Some(format!("{MAIN}{line}"))
}

/// The value; one that begins with `$NAME` takes the value of that setting.
fn value(setting: &Setting, variables: &[(String, String)]) -> String {
    let named = setting.value.strip_prefix('$').and_then(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_');
        let (name, tail) = rest.split_at(end.unwrap_or(rest.len()));
        let (_, value) = variables.iter().find(|(known, _)| known == name)?;
        Some(format!("{value}{tail}"))
    });
    named.unwrap_or_else(|| setting.value.to_string())
}
