//! Reads access.conf with its includes into stanzas.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::lines::{LINES_MAX, Line, lines};
use crate::model::foreign::{Findings, Place, Setting, Verdict};

/// Levels of included files below the first.
const DEPTH_MAX: usize = 3;
const FILES_MAX: usize = 256;

/// How included files are read.
pub(super) struct Sources<'a> {
    pub(super) file: &'a dyn Fn(&Path) -> Result<Zeroizing<String>, String>,
    /// The paths of a folder that end in `.conf`, sorted.
    pub(super) folder: &'a dyn Fn(&Path) -> Result<Vec<PathBuf>, String>,
}

/// From one SOURCE to the next.
#[derive(Debug)]
pub(super) struct Stanza {
    pub(super) place: Place,
    pub(super) settings: Vec<Setting>,
    /// Whether a line of it was refused while it was read.
    pub(super) refused: bool,
}

/// The stanzas of an access.conf, in their order.
#[derive(Default)]
pub(super) struct Access {
    pub(super) stanzas: Vec<Stanza>,
    /// Whether no stanza can be converted, because a part of the file is unknown.
    pub(super) blocked: bool,
}

pub(super) fn read(
    path: &Path,
    text: &str,
    sources: &Sources<'_>,
    findings: &mut Findings,
) -> Access {
    let mut reader = Reader {
        sources,
        findings,
        access: Access::default(),
        after_include: false,
        files: 1,
        lines: 0,
    };
    reader.text(&Arc::from(path), text, 0);
    reader.access
}

struct Reader<'a, 's> {
    sources: &'a Sources<'s>,
    findings: &'a mut Findings,
    access: Access,
    /// Whether the last stanza is one of an included file.
    after_include: bool,
    files: usize,
    lines: usize,
}

impl Reader<'_, '_> {
    fn text(&mut self, path: &Arc<Path>, text: &str, depth: usize) {
        for line in lines(path, text) {
            self.lines += 1;
            match line {
                Line::Wrong(place, what, cure) => self.wrong(&place, what, cure),
                Line::Setting(setting) if self.lines > LINES_MAX => {
                    let what = "there are too many lines";
                    self.block(&setting.place, what, "import fewer files at once");
                    return;
                }
                Line::Setting(setting) => self.setting(setting, depth),
            }
        }
    }

    fn setting(&mut self, setting: Setting, depth: usize) {
        match setting.name.as_str() {
            "SOURCE" => {
                self.after_include = false;
                self.access.stanzas.push(Stanza {
                    place: setting.place.clone(),
                    settings: vec![setting],
                    refused: false,
                });
            }
            "%include" => self.include(&setting, &[PathBuf::from(setting.value.as_str())], depth),
            "%include_folder" => match (self.sources.folder)(Path::new(setting.value.as_str())) {
                Ok(paths) => self.include(&setting, &paths, depth),
                Err(error) => self.unread(&setting.place, &error),
            },
            "%include_keys" => self.keys(&setting),
            _ if self.after_include => {
                let what = "after an include, this may belong to either stanza";
                self.block(&setting.place, what, "move it above the include");
            }
            _ => {
                // fwknopd ignores what is before the first SOURCE.
                if let Some(stanza) = self.access.stanzas.last_mut() {
                    stanza.settings.push(setting);
                }
            }
        }
    }

    fn include(&mut self, setting: &Setting, paths: &[PathBuf], depth: usize) {
        if depth >= DEPTH_MAX {
            let what = "the files are included more than three levels deep";
            self.block(&setting.place, what, "include the file from a level above");
            return;
        }
        for path in paths {
            self.files += 1;
            if self.files > FILES_MAX {
                let what = "more than 256 files are included";
                self.block(&setting.place, what, "import some of them on their own");
                return;
            }
            match (self.sources.file)(path) {
                Ok(text) => self.text(&Arc::from(path.as_path()), &text, depth + 1),
                Err(error) => self.unread(&setting.place, &error),
            }
        }
        self.after_include = true;
    }

    /// The keys of the last stanza, in a file of their own.
    fn keys(&mut self, setting: &Setting) {
        let path = PathBuf::from(setting.value.as_str());
        let text = match (self.sources.file)(&path) {
            Ok(text) => text,
            Err(error) => return self.unread(&setting.place, &error),
        };
        for line in lines(&Arc::from(path.as_path()), &text) {
            match line {
                Line::Setting(key) if is_key(&key.name) => {
                    // They take the place of those that the stanza has.
                    if let Some(stanza) = self.access.stanzas.last_mut() {
                        stanza.settings.retain(|one| one.name != key.name);
                    }
                    self.setting(key, DEPTH_MAX);
                }
                Line::Setting(Setting { place, .. }) => {
                    let words = ("fwknopd reads only keys from this file", "nothing to do");
                    self.findings.add(&place, None, Verdict::Ignore, words);
                }
                Line::Wrong(place, what, cure) => self.wrong(&place, what, cure),
            }
        }
    }

    fn unread(&mut self, place: &Place, error: &str) {
        let cure = "import as a user who may read it, or remove the include";
        self.block(place, error, cure);
    }

    /// A wrong line: its stanza is not converted.
    fn wrong(&mut self, place: &Place, what: &str, cure: &str) {
        self.findings
            .add(place, None, Verdict::Refuse, (what, cure));
        if let Some(stanza) = self.access.stanzas.last_mut() {
            stanza.refused = true;
        }
    }

    /// What is missing could restrict any stanza, so none is converted.
    fn block(&mut self, place: &Place, what: &str, cure: &str) {
        self.findings
            .add(place, None, Verdict::Refuse, (what, cure));
        self.access.blocked = true;
    }
}

fn is_key(name: &str) -> bool {
    ["KEY", "KEY_BASE64", "HMAC_KEY", "HMAC_KEY_BASE64"].contains(&name)
}
