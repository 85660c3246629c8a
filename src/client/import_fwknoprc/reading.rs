//! A section while it is converted: its settings by name, and what is said about them.

use super::read::Section;
use super::table::FWKNOPRC;
use crate::model::foreign::{Findings, Setting, Verdict, row};

pub(super) struct Reading<'s, 'f> {
    pub(super) section: &'s Section,
    pub(super) findings: &'f mut Findings,
    pub(super) refused: bool,
}

impl<'s> Reading<'s, '_> {
    pub(super) fn get(&self, name: &str) -> Option<&'s Setting> {
        let mut settings = self.section.settings.iter();
        settings.find(|setting| setting.name == name)
    }

    /// fwknop's client takes exactly Y or y as a yes.
    pub(super) fn is_yes(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|one| one.value.eq_ignore_ascii_case("y"))
    }

    pub(super) fn say(&mut self, setting: &Setting, verdict: Verdict, what: &str, cure: &str) {
        let row = row(&FWKNOPRC, &setting.name);
        self.findings
            .add(&setting.place, row, verdict, (what, cure));
        self.refused |= verdict == Verdict::Refuse;
    }

    /// For what is wrong with the section itself.
    pub(super) fn refuse_section(&mut self, what: &str, cure: &str) {
        let place = &self.section.place;
        self.findings
            .add(place, None, Verdict::Refuse, (what, cure));
        self.refused = true;
    }

    pub(super) fn refuse(&mut self, setting: &Setting, what: &str, cure: &str) {
        self.say(setting, Verdict::Refuse, what, cure);
    }

    pub(super) fn number(&mut self, name: &str, least: u64, most: u64) -> Option<u64> {
        let setting = self.get(name)?;
        let number = setting.value.parse::<u64>().ok();
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let cure = format!("write a number from {least} to {most}");
            self.refuse(setting, "this number cannot be used", &cure);
        }
        number
    }
}
