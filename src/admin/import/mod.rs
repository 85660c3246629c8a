//! Imports the configs of fwknopd and knockd: users and services of Postern that never open more than before.
//!
//! [`convert`] is pure except for included files, which it asks for. `write` puts the result beside the config.

mod access;
mod command;
mod converted;
mod door;
mod kind;
mod knockd;
mod lines;
mod names;
mod ports;
mod rules;
mod stanza;
mod stanza_keys;
mod stanza_services;
mod table;
#[cfg(test)]
mod tests;
mod uci;
mod write;

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use access::{Access, Sources};
pub use converted::{Converted, NewService, NewUser};
use kind::Kind;
use rules::Rules;
pub(crate) use write::{Imported, import};

use crate::model::foreign::{Findings, Place, Verdict};

/// One file that is imported.
pub struct Input {
    pub path: PathBuf,
    pub text: Zeroizing<String>,
}

/// Users and services of these files, with a finding for each setting that is not converted as it is. Files that
/// access.conf includes are read with `file`, folders with `folder`.
pub fn convert(
    inputs: &[Input],
    zone: &TimeZone,
    file: &dyn Fn(&Path) -> Result<Zeroizing<String>, String>,
    folder: &dyn Fn(&Path) -> Result<Vec<PathBuf>, String>,
) -> Converted {
    let sources = Sources { file, folder };
    let mut made = Converted::default();
    let mut rules = Rules::default();
    let mut accesses = Vec::new();
    for input in inputs {
        let (path, text) = (input.path.as_path(), input.text.as_str());
        let findings = &mut made.findings;
        match kind::of(text) {
            Some(Kind::Access) => accesses.push(access::read(path, text, &sources, findings)),
            Some(Kind::Server) => rules.add(&rules::read(path, text, findings)),
            Some(Kind::Uci) => {
                let uci = uci::read(path, text, findings);
                let mut own = Rules::default();
                own.apply(&uci.server, findings);
                rules.add(&own);
                accesses.push(uci.access);
            }
            Some(Kind::Knockd) => {
                for door in knockd::read(path, text, findings) {
                    door::convert(&door, &mut made);
                }
            }
            other => unknown(path, other, findings),
        }
    }
    let blocked = rules.blocked || accesses.iter().any(|access| access.blocked);
    stanzas(&accesses, blocked, &rules, zone, &mut made);
    made
}

fn stanzas(
    accesses: &[Access],
    blocked: bool,
    rules: &Rules,
    zone: &TimeZone,
    made: &mut Converted,
) {
    let stanzas = accesses.iter().flat_map(|access| &access.stanzas);
    for (number, stanza) in (1..).zip(stanzas) {
        if blocked {
            let what = "the stanza is not converted, because of a setting above";
            let words = (what, "correct that setting, and import again");
            made.findings
                .add(&stanza.place, None, Verdict::Refuse, words);
        } else {
            stanza::convert(stanza, number, rules, zone, made);
        }
    }
}

fn unknown(path: &Path, kind: Option<Kind>, findings: &mut Findings) {
    let place = Place {
        file: path.into(),
        line: 1,
    };
    let words = match kind {
        Some(Kind::Client) => (
            "this is the .fwknoprc of a client",
            "run postern import with this file, as the user who has it",
        ),
        _ => (
            "this is no access.conf, fwknopd.conf, knockd.conf or /etc/config/fwknopd",
            "name one of these files",
        ),
    };
    findings.add(&place, None, Verdict::Refuse, words);
}
