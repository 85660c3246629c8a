//! A stanza while it is converted: its settings by name, and what is said about them.

use super::access::Stanza;
use super::converted::LONGEST;
use super::table::ACCESS;
use crate::model::foreign::{Findings, Setting, Verdict, row};

/// A stanza while it is converted.
pub(super) struct Reading<'a> {
    pub(super) stanza: &'a Stanza,
    pub(super) findings: &'a mut Findings,
    pub(super) refused: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a Setting> {
        let mut settings = self.stanza.settings.iter();
        settings.find(|setting| setting.name == name)
    }

    pub(super) fn is_yes(&self, name: &str) -> bool {
        self.get(name).is_some_and(Setting::is_yes)
    }

    pub(super) fn say(&mut self, setting: &Setting, verdict: Verdict, what: &str, cure: &str) {
        let known = row(&ACCESS, &setting.name).filter(|row| row.name == setting.name);
        self.findings
            .add(&setting.place, known, verdict, (what, cure));
        self.refused |= verdict == Verdict::Refuse;
    }

    pub(super) fn refuse(&mut self, setting: &Setting, what: &str, cure: &str) {
        self.say(setting, Verdict::Refuse, what, cure);
    }

    /// A number of seconds; `None` if it is missing or refused.
    pub(super) fn seconds(&mut self, name: &str) -> Option<u64> {
        let setting = self.get(name)?;
        match setting.value.parse::<u64>() {
            Ok(0) | Err(_) => {
                let cure = "write a whole number of seconds, 1 or more";
                self.refuse(setting, "this is no length of time", cure);
                None
            }
            Ok(length) if length > LONGEST => {
                let what = "a grant lasts 30 days at most";
                self.say(
                    setting,
                    Verdict::Narrow,
                    what,
                    "knock again after that time",
                );
                Some(LONGEST)
            }
            Ok(length) => Some(length),
        }
    }
}
