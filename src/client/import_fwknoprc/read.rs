//! Reads the sections of a .fwknoprc. `[default]` gives its settings to all that follow.

use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::table::FWKNOPRC;
use crate::model::foreign::{Findings, Place, Setting, Verdict, row};

const LINE_MAX: usize = 1023;
const LINES_MAX: usize = 20_000;

/// `[NAME]` with its settings, and those of `[default]` that it does not set itself.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) settings: Vec<Setting>,
    pub(super) refused: bool,
}

/// Whether a text is a .fwknoprc: a section, then a name in capitals without `=`.
pub(crate) fn is_fwknoprc(text: &str) -> bool {
    let lines = text.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    if !lines.next().is_some_and(|first| first.starts_with('[')) {
        return false;
    }
    lines
        .find(|line| !line.starts_with('['))
        .is_some_and(|line| {
            let is_name = |c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit();
            let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            name.trim_end_matches(':').chars().all(is_name) && !rest.trim_start().starts_with('=')
        })
}

pub(super) fn read(path: &Path, text: &str, findings: &mut Findings) -> Vec<Section> {
    let path: Arc<Path> = Arc::from(path);
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in (1..).zip(text.lines()).take(LINES_MAX) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let place = Place {
            file: Arc::clone(&path),
            line: number,
        };
        let name = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some((name, _)) = name {
            sections.push(Section {
                name: name.trim().to_owned(),
                place,
                settings: Vec::new(),
                refused: false,
            });
            continue;
        }
        match (setting(&place, line), sections.last_mut()) {
            (Ok(setting), Some(section)) => {
                // The last one of a name counts.
                section.settings.retain(|other| other.name != setting.name);
                section.settings.push(setting);
            }
            (Ok(_), None) => {
                let words = ("the line is in no section", "move it below [default]");
                findings.add(&place, None, Verdict::Refuse, words);
            }
            (Err(words), section) => {
                findings.add(&place, None, Verdict::Refuse, words);
                if let Some(section) = section {
                    section.refused = true;
                }
            }
        }
    }
    inherit(sections)
}

fn setting(place: &Place, line: &str) -> Result<Setting, (&'static str, &'static str)> {
    if line.len() > LINE_MAX {
        return Err(("the line is longer than 1023 bytes", "shorten it"));
    }
    let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let name = name.strip_suffix(':').unwrap_or(name);
    let known = row(&FWKNOPRC, name).ok_or((
        "fwknop has no setting of this name",
        "correct its name, or remove the line",
    ))?;
    let value = rest.trim_start();
    let value = value
        .split([' ', '\t', ';', '#'])
        .next()
        .unwrap_or_default();
    if value.is_empty() {
        return Err((
            "the line has no value",
            "write NAME and a value, or remove the line",
        ));
    }
    Ok(Setting {
        place: place.clone(),
        name: known.name.to_owned(),
        value: Zeroizing::new(value.to_owned()),
    })
}

fn inherit(mut sections: Vec<Section>) -> Vec<Section> {
    let is_default = |section: &&Section| section.name.eq_ignore_ascii_case("default");
    let Some(default) = sections.iter().find(is_default).cloned() else {
        return sections;
    };
    for section in &mut sections {
        section.refused |= default.refused;
        for setting in &default.settings {
            if !section.settings.iter().any(|own| own.name == setting.name) {
                section.settings.push(setting.clone());
            }
        }
    }
    // Without a host, it only holds settings of the others.
    let has_host = |section: &Section| section.settings.iter().any(|one| one.name == "SPA_SERVER");
    let others = sections.len() > 1;
    sections.retain(|section| !(others && is_default(&section) && !has_host(section)));
    sections
}
