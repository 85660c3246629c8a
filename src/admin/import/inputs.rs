//! Converts files of any kind, those of the server before the stanzas that they change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::access::{self, Access, Sources};
use super::converted::Converted;
use super::kind::{self, Kind};
use super::lines::LINES_MAX;
use super::rules::{self, Rules};
use super::sharing::{self, Sharing};
use super::{door, knockd, shared_programs, stanza, uci};

use crate::model::foreign::{Findings, Place, Verdict};

/// One file that is imported.
pub struct Input {
    pub path: PathBuf,
    pub text: Zeroizing<String>,
}

/// Users and services of these files, with a finding for each setting that is not converted as it is. Files that
/// access.conf includes are read with `file`, folders with `folder`. Services of the gate have the `taken` ports.
pub fn convert(
    inputs: &[Input],
    zone: &TimeZone,
    file: &dyn Fn(&Path) -> Result<Zeroizing<String>, String>,
    folder: &dyn Fn(&Path) -> Result<Vec<PathBuf>, String>,
    taken: BTreeSet<String>,
) -> Converted {
    let sources = Sources { file, folder };
    let mut made = Converted {
        taken,
        ..Converted::default()
    };
    let mut rules = Rules::default();
    let mut accesses = Vec::new();
    let mut too_long = false;
    for input in inputs {
        let (path, text) = (input.path.as_path(), input.text.as_str());
        let findings = &mut made.findings;
        if text.lines().nth(LINES_MAX).is_some() {
            too_long = true;
            let place = Place {
                file: path.into(),
                line: LINES_MAX.saturating_add(1),
            };
            let words = ("there are too many lines", "import fewer of them at once");
            findings.add(&place, None, Verdict::Refuse, words);
            continue;
        }
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
    let blocked = too_long || rules.blocked || accesses.iter().any(|access| access.blocked);
    stanzas(&accesses, blocked, &rules, zone, &mut made);
    shared_programs::refuse(&mut made);
    made
}

fn stanzas(
    accesses: &[Access],
    blocked: bool,
    rules: &Rules,
    zone: &TimeZone,
    made: &mut Converted,
) {
    let stanzas = || accesses.iter().flat_map(|access| &access.stanzas);
    let mut sharing = Sharing::of(stanzas());
    for (index, stanza) in stanzas().enumerate() {
        let words = if blocked {
            let what = "the stanza is not converted, because of a setting above";
            (what, "correct that setting, and import again")
        } else if sharing.is_shadowed(index) {
            let what = "a stanza above has the same keys, and is not converted as it is";
            (
                what,
                "give this stanza keys of its own, or correct that stanza",
            )
        } else {
            let before = (made.findings.0.len(), made.users.len());
            stanza::convert(stanza, (index + 1, sharing.turn(index)), rules, zone, made);
            if sharing::is_changed(&made.findings, before.0, made.users.len() > before.1) {
                sharing.change(index);
            }
            continue;
        };
        made.findings
            .add(&stanza.place, None, Verdict::Refuse, words);
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
