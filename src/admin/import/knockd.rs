//! Reads knockd.conf: `[options]` and doors.

use std::path::Path;

use zeroize::Zeroizing;

use super::lines::content_lines;
use super::table::KNOCKD;
use crate::model::foreign::{Findings, Place, Setting, Verdict, row};

const LINE_MAX: usize = 4096;

const OPTIONS: [&str; 4] = ["UseSyslog", "LogFile", "PidFile", "Interface"];

/// One section with a sequence.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) settings: Vec<Setting>,
    /// Whether a line of it was refused while it was read.
    pub(super) refused: bool,
}

pub(super) fn read(path: &Path, text: &str, findings: &mut Findings) -> Vec<Door> {
    let mut doors: Vec<Door> = Vec::new();
    let mut in_options = false;
    for (place, line) in content_lines(path, text) {
        let section = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(name) = section {
            in_options = name.eq_ignore_ascii_case("options");
            if !in_options {
                doors.push(Door {
                    name: name.to_owned(),
                    place,
                    settings: Vec::new(),
                    refused: false,
                });
            }
            continue;
        }
        let read = setting(&place, line, in_options, doors.is_empty());
        match (read, doors.last_mut()) {
            (Ok(setting), _) if in_options => option(&setting, findings),
            (Ok(setting), Some(door)) => door.settings.push(setting),
            (Ok(_), None) => {}
            (Err((what, cure)), door) => {
                findings.add(&place, None, Verdict::Refuse, (what, cure));
                if let Some(door) = door.filter(|_| !in_options) {
                    door.refused = true;
                }
            }
        }
    }
    doors
}

type Wrong = (&'static str, &'static str);

fn setting(place: &Place, line: &str, options: bool, is_first: bool) -> Result<Setting, Wrong> {
    if line.len() > LINE_MAX {
        return Err(("the line is longer than 4096 bytes", "shorten it"));
    }
    if is_first && !options {
        return Err((
            "the line is in no section",
            "move it below [options] or a door",
        ));
    }
    let (name, value) = line.split_once('=').unwrap_or((line, ""));
    let (name, value) = (name.trim(), value.trim());
    let known = row(&KNOCKD, name).ok_or((
        "knockd has no setting of this name",
        "correct its name, or remove the line",
    ))?;
    if options != OPTIONS.contains(&known.name) {
        return Err((
            "the setting is in the wrong section",
            "move it: options to [options], all others to a door",
        ));
    }
    if value.is_empty() && known.name != "UseSyslog" {
        return Err((
            "the line has no value",
            "write NAME = VALUE, or remove the line",
        ));
    }
    Ok(Setting {
        place: place.clone(),
        name: known.name.to_owned(),
        value: Zeroizing::new(value.to_owned()),
    })
}

fn option(setting: &Setting, findings: &mut Findings) {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".:_-".contains(c);
    let name = setting.value.as_str();
    if setting.name == "Interface" && name.chars().all(plain) && name.len() <= 15 {
        let cure = format!("write it into [gate] of posternd.toml: interfaces = [\"{name}\"]");
        let words = ("import changes no [gate] settings", cure.as_str());
        findings.add(
            &setting.place,
            row(&KNOCKD, "Interface"),
            Verdict::Convert,
            words,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_lines_are_read() {
        let text = "[options]\n UseSyslog\nINTERFACE = eth1\n\n[a]\n# no\nsequence = 1,2\n\
                    COMMAND = /bin/a b=c\nnonsense = 1\n[b]\ntcpflags=syn\nLogFile = x\n";
        let mut findings = Findings::default();
        let doors = read(Path::new("k"), text, &mut findings);
        let lines: Vec<usize> = findings.0.iter().map(|one| one.place.line).collect();
        assert_eq!(lines, [3, 9, 12]);
        let read: Vec<_> = doors
            .iter()
            .map(|door| (door.name.as_str(), door.refused))
            .collect();
        assert_eq!(read, [("a", true), ("b", true)]);
        let [sequence, command] = doors[0].settings.as_slice() else {
            panic!()
        };
        assert_eq!(
            (sequence.name.as_str(), sequence.value.as_str()),
            ("Sequence", "1,2")
        );
        assert_eq!(
            (command.name.as_str(), command.value.as_str()),
            ("Command", "/bin/a b=c")
        );
    }

    #[test]
    fn lines_outside_of_a_section_are_refused() {
        for text in [
            "sequence = 1",
            "[a]\nsequence",
            "[a]\nsequence =",
            "[options]\nsequence = 1",
        ] {
            let mut findings = Findings::default();
            read(Path::new("k"), text, &mut findings);
            assert!(findings.has_refused(), "{text}");
        }
    }
}
