//! Reads OpenWrt's /etc/config/fwknopd into the settings of access.conf and fwknopd.conf.

use std::path::Path;

use zeroize::Zeroizing;

use super::access::{Access, Stanza};
use super::lines::{LINE_MAX, content_lines};
use super::table::UCI;
use crate::model::foreign::{Findings, Place, Setting, Verdict, row};

/// The settings of a file.
#[derive(Default)]
pub(super) struct Uci {
    pub(super) access: Access,
    pub(super) server: Vec<Setting>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Global,
    Network,
    Access,
    Server,
    Unknown,
}

pub(super) fn read(path: &Path, text: &str, findings: &mut Findings) -> Uci {
    let mut uci = Uci::default();
    let mut section = Section::Unknown;
    let mut is_enabled = false;
    let mut first = None;
    for (place, line) in content_lines(path, text) {
        first.get_or_insert_with(|| place.clone());
        let words = words(line).filter(|_| line.len() <= LINE_MAX);
        match words.as_ref().map(|words| words.as_slice()) {
            Some([kind, name, ..]) if kind == "config" => {
                section = match name.as_str() {
                    "global" => Section::Global,
                    "network" => Section::Network,
                    "access" => Section::Access,
                    "config" => Section::Server,
                    _ => Section::Unknown,
                };
                if section == Section::Access {
                    uci.access.stanzas.push(Stanza {
                        place,
                        settings: Vec::new(),
                        refused: false,
                    });
                }
            }
            Some([kind, ..]) if kind == "package" => {}
            Some([kind, name, value]) if ["option", "list"].contains(&kind.as_str()) => {
                let setting = Setting {
                    place,
                    name: name.clone(),
                    value: Zeroizing::new(value.clone()),
                };
                match section {
                    Section::Global if name == "uci_enabled" => is_enabled = value == "1",
                    Section::Global => {}
                    Section::Network => network(&setting, findings),
                    Section::Access => access(&mut uci, setting),
                    Section::Server => uci.server.push(setting),
                    Section::Unknown => wrong(&mut uci, &setting.place, findings),
                }
            }
            _ => wrong(&mut uci, &place, findings),
        }
    }
    if let (Some(place), Some(row), false) = (first, row(&UCI, "uci_enabled"), is_enabled) {
        findings.add_row(&place, row);
        uci.access.blocked = true;
    }
    uci
}

fn access(uci: &mut Uci, setting: Setting) {
    // Only the web interface uses these.
    if ["keytype", "hkeytype"].contains(&setting.name.as_str()) {
        return;
    }
    if let Some(stanza) = uci.access.stanzas.last_mut() {
        // The conversion demands SOURCE in front, as in access.conf.
        let at = if setting.name == "SOURCE" {
            0
        } else {
            stanza.settings.len()
        };
        stanza.settings.insert(at, setting);
    }
}

fn network(setting: &Setting, findings: &mut Findings) {
    let what = "fwknopd listens at the interface of this network of OpenWrt";
    let cure = "write the interface into [gate] of posternd.toml: interfaces = [\"NAME\"]";
    let row = row(&UCI, "network");
    findings.add(&setting.place, row, Verdict::Convert, (what, cure));
}

fn wrong(uci: &mut Uci, place: &Place, findings: &mut Findings) {
    let what = "this is no line of /etc/config/fwknopd";
    let cure = "write config access, config config, or option NAME 'VALUE', or remove the line";
    findings.add(place, None, Verdict::Refuse, (what, cure));
    // It may belong to any stanza.
    uci.access.blocked = true;
}

/// The words of a line, with quotes; `None` if a quote is open.
fn words(line: &str) -> Option<Zeroizing<Vec<String>>> {
    let mut words = Zeroizing::new(Vec::new());
    let mut word: Option<String> = None;
    // A buffer that grows leaves copies of keys behind.
    let new = || String::with_capacity(line.len());
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (Some(_), _) => word.get_or_insert_with(new).push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_with(new);
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, _) => word.get_or_insert_with(new).push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_become_stanzas() {
        let text = "config global\n\toption uci_enabled '1'\n\nconfig network\n\toption network \"wan\"\n\
                    config access\n\toption keytype 'Base 64 key'\n\toption KEY_BASE64 'a='\n\toption SOURCE 'ANY' # all\n\
                    config config\n\toption ENABLE_IPT_FORWARDING y\n";
        let mut findings = Findings::default();
        let uci = read(Path::new("u"), text, &mut findings);
        assert!(!uci.access.blocked && !findings.has_refused());
        let names: Vec<_> = uci.access.stanzas[0]
            .settings
            .iter()
            .map(|one| &*one.name)
            .collect();
        assert_eq!(names, ["SOURCE", "KEY_BASE64"]);
        assert_eq!(uci.server[0].place.line, 11);
        assert_eq!(*uci.server[0].value, "y");
    }

    #[test]
    fn file_that_is_not_used_is_refused() {
        for text in [
            "config access\n",
            "config global\noption uci_enabled '0'\n",
            "config global\noption uci_enabled '1\n",
            "x\n",
        ] {
            let mut findings = Findings::default();
            assert!(
                read(Path::new("u"), text, &mut findings).access.blocked,
                "{text}"
            );
            assert!(findings.has_refused());
        }
    }
}
