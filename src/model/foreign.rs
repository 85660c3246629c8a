//! Settings of another program's config, what becomes of each, and what to tell about it.
//!
//! Values may be secrets: they are wiped, and neither Debug nor a finding shows them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One setting as it was read.
#[derive(Clone)]
pub struct Setting {
    pub place: Place,
    pub name: String,
    pub value: Zeroizing<String>,
}

/// Without the value, which may be a key.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.place)
    }
}

#[cfg(feature = "daemon")]
impl Setting {
    /// Whether the value is a yes, as fwknopd reads it: anything that begins with y or Y.
    pub(crate) fn is_yes(&self) -> bool {
        self.value.starts_with(['y', 'Y'])
    }
}

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It changes nothing that a knock may open.
    Ignore,
    /// It means the same afterwards.
    Convert,
    /// Less is possible afterwards.
    Narrow,
    /// It cannot be expressed. What it belongs to is left out.
    Refuse,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Convert => "convert",
            Self::Narrow => "narrow",
            Self::Refuse => "refuse",
        }
    }

    fn past(self) -> &'static str {
        match self {
            Self::Ignore => "ignored",
            Self::Convert => "converted",
            Self::Narrow => "narrowed",
            Self::Refuse => "refused",
        }
    }
}

/// One row of the table of settings. The documentation has the same rows.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The name, as the other program spells it.
    pub name: &'static str,
    pub verdict: Verdict,
    /// The keys of Postern that it becomes; empty for none.
    pub becomes: &'static str,
    /// Why, if it is not converted as it is.
    pub why: &'static str,
    /// What to do about it.
    pub cure: &'static str,
}

impl Row {
    pub(crate) const fn convert(name: &'static str, becomes: &'static str) -> Self {
        Self::new(name, Verdict::Convert, becomes, "", "")
    }

    pub(crate) const fn ignore(name: &'static str, why: &'static str) -> Self {
        Self::new(name, Verdict::Ignore, "", why, "")
    }

    pub(crate) const fn narrow(
        name: &'static str,
        becomes: &'static str,
        why: &'static str,
        cure: &'static str,
    ) -> Self {
        Self::new(name, Verdict::Narrow, becomes, why, cure)
    }

    pub(crate) const fn refuse(name: &'static str, why: &'static str, cure: &'static str) -> Self {
        Self::new(name, Verdict::Refuse, "", why, cure)
    }

    const fn new(
        name: &'static str,
        verdict: Verdict,
        becomes: &'static str,
        why: &'static str,
        cure: &'static str,
    ) -> Self {
        Self {
            name,
            verdict,
            becomes,
            why,
            cure,
        }
    }
}

/// What to tell about one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub place: Place,
    pub verdict: Verdict,
    /// The name of the setting; empty if it is not a known name.
    pub setting: &'static str,
    pub what: String,
    pub cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, verdict) = (&self.place, self.verdict.past());
        let gap = if self.setting.is_empty() { "" } else { " " };
        let (setting, what, cure) = (self.setting, &self.what, &self.cure);
        write!(f, "{place}: {setting}{gap}{verdict}: {what}; {cure}")
    }
}

/// Findings in the order in which they were made.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    pub(crate) fn add(
        &mut self,
        place: &Place,
        row: Option<&Row>,
        verdict: Verdict,
        words: (&str, &str),
    ) {
        self.0.push(Finding {
            place: place.clone(),
            verdict,
            setting: row.map_or("", |row| row.name),
            what: words.0.to_owned(),
            cure: words.1.to_owned(),
        });
    }

    /// The finding that the table has for a setting.
    #[cfg(feature = "daemon")]
    pub(crate) fn add_row(&mut self, place: &Place, row: &Row) {
        self.add(place, Some(row), row.verdict, (row.why, row.cure));
    }

    pub fn has_refused(&self) -> bool {
        let mut all = self.0.iter();
        all.any(|finding| finding.verdict == Verdict::Refuse)
    }
}

pub(crate) fn row<'r>(table: &'r [Row], name: &str) -> Option<&'r Row> {
    table.iter().find(|row| row.name.eq_ignore_ascii_case(name))
}

/// A TOML text with secrets, and the same with dots in place of each.
#[derive(Clone)]
pub struct TomlText {
    pub full: Zeroizing<String>,
    pub masked: String,
}

/// More than one user or profile needs, so that the text never moves and leaves no copy of a key.
const TEXT_MAX: usize = 64 << 10;

impl TomlText {
    pub(crate) fn new() -> Self {
        Self {
            full: Zeroizing::new(String::with_capacity(TEXT_MAX)),
            masked: String::new(),
        }
    }

    pub(crate) fn put(&mut self, text: &str) {
        self.full.push_str(text);
        self.masked.push_str(text);
    }

    pub(crate) fn put_secret(&mut self, text: &str) {
        self.full.push_str(text);
        self.masked.push('…');
    }

    pub(crate) fn line(&mut self, key: &str, value: &str) {
        for part in [key, " = ", value, "\n"] {
            self.put(part);
        }
    }
}

impl fmt::Debug for TomlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TomlText({} bytes)", self.full.len())
    }
}
