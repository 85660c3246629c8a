//! The keys of one TOML table. A wrong value becomes a problem of the file, and the other keys are still read.
//!
//! Checks types only; `values` and the sections check what a value means.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::config_text::ConfigText;
use super::problem::{Refusal, is_not, quoted, refusal};

pub(super) struct Fields<'t> {
    pub(super) file: &'t ConfigText<'t>,
    pub(super) name: &'t str,
    table: &'t DeTable<'t>,
    pub(super) start: usize,
}

type Value<'t> = &'t Spanned<DeValue<'t>>;

pub(super) type Items<T> = Vec<(usize, T)>;

impl<'t> Fields<'t> {
    pub(super) fn new(
        file: &'t ConfigText<'t>,
        name: &'t str,
        table: &'t DeTable<'t>,
        start: usize,
    ) -> Self {
        Self {
            file,
            name,
            table,
            start,
        }
    }

    /// A table in this one; `None` if it is missing or not a table.
    pub(super) fn table(&self, key: &str, name: &'t str) -> Option<Fields<'t>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Fields::new(self.file, name, table, place(value))),
            other => {
                self.refuse_as(key, wrong_type(key, &format!("a table, {name}"), other));
                None
            }
        }
    }

    pub(super) fn only(&self, known: &[&str]) {
        for key in self.table.keys() {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            if known.contains(&name) {
                continue;
            }
            let what = format!("unknown key {} in {}", quoted(name), self.name);
            let cure = match closest(name, known) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("the keys of {} are {}", self.name, known.join(", ")),
            };
            self.file.refuse(at, refusal(what, cure));
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'t>> {
        self.table.get(key)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'t Spanned<Cow<'t, str>>, Value<'t>)> {
        self.table.iter()
    }

    /// The place of a key's value, or of the table's header without it.
    pub(super) fn at(&self, key: &str) -> usize {
        self.get(key).map_or(self.start, place)
    }

    /// Notes a problem with a key's value, or with the whole table if the key is missing.
    pub(super) fn refuse(&self, key: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.refuse_as(key, refusal(what, cure));
    }

    fn refuse_as(&self, key: &str, refusal: Refusal) {
        self.file.refuse(self.at(key), refusal);
    }

    pub(super) fn require(&self, key: &str, example: &str) {
        if !self.has(key) {
            let what = format!("{} has no {key}", self.name);
            self.refuse(key, what, format!("add {key} = {example}"));
        }
    }

    /// Notes a problem if `key` is there without `other`.
    pub(super) fn requires(&self, key: &str, other: &str, cure: &str) {
        if self.has(key) && !self.has(other) {
            self.refuse(key, format!("{key} requires {other}"), cure);
        }
    }

    pub(super) fn text<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'t str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let value = self.get(key)?;
        self.file.check(place(value), text(key, value, read))
    }

    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.text(key, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words = words.iter().map(|(word, _)| format!("\"{word}\""));
                let cure = format!("write {}", words.collect::<Vec<_>>().join(" or "));
                is_not(&format!("a value of {key}"), text, cure)
            })
        })
    }

    pub(super) fn number(&self, key: &str, bounds: RangeInclusive<u16>) -> Option<u16> {
        let value = self.get(key)?;
        self.file.check(place(value), number(key, value, &bounds))
    }

    pub(super) fn numbers(&self, key: &str, bounds: RangeInclusive<u16>) -> Option<Items<u16>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Array(items) => self.each(items, |item| number(key, item, &bounds)),
            _ => Some(vec![(place(value), self.number(key, bounds)?)]),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)?.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            other => {
                self.refuse_as(key, wrong_type(key, "true or false, without quotes", other));
                None
            }
        }
    }

    /// A TOML date or time, or the same as a text.
    pub(super) fn time<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let time = match value.get_ref() {
            DeValue::Datetime(time) => read(&time.to_string()),
            DeValue::String(text) => read(text),
            other => Err(wrong_type(key, wanted, other)),
        };
        self.file.check(place(value), time)
    }

    /// A list of texts; `None` if one of them is wrong.
    pub(super) fn texts<T>(
        &self,
        key: &str,
        read: impl Fn(&'t str) -> Result<T, Refusal>,
    ) -> Option<Items<T>> {
        match self.get(key)?.get_ref() {
            DeValue::Array(items) => self.each(items, |item| text(key, item, &read)),
            other => {
                self.refuse_as(key, wrong_type(key, "a list of texts, [\"…\"]", other));
                None
            }
        }
    }

    /// The same; one text may stand without the list.
    pub(super) fn texts_or_one<T>(
        &self,
        key: &str,
        read: impl Fn(&'t str) -> Result<T, Refusal>,
    ) -> Option<Items<T>> {
        match self.get(key)?.get_ref() {
            DeValue::String(_) => Some(vec![(self.at(key), self.text(key, read)?)]),
            _ => self.texts(key, read),
        }
    }

    fn each<T>(
        &self,
        items: &'t [Spanned<DeValue<'t>>],
        read: impl Fn(Value<'t>) -> Result<T, Refusal>,
    ) -> Option<Items<T>> {
        let item = |item| {
            let value = self.file.check(place(item), read(item))?;
            Some((place(item), value))
        };
        // Collected first, so that a wrong item does not hide the next one.
        let read: Vec<_> = items.iter().map(item).collect();
        read.into_iter().collect()
    }
}

fn place(value: Value<'_>) -> usize {
    value.span().start
}

pub(super) fn wrong_type(key: &str, wanted: &str, found: &DeValue<'_>) -> Refusal {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let what = format!("{key} cannot be {found}");
    refusal(what, format!("write {wanted}"))
}

fn text<'t, T>(
    key: &str,
    value: Value<'t>,
    read: impl FnOnce(&'t str) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    match value.get_ref() {
        DeValue::String(text) => read(text),
        other => Err(wrong_type(key, "a text in quotes, \"…\"", other)),
    }
}

fn number(key: &str, value: Value<'_>, bounds: &RangeInclusive<u16>) -> Result<u16, Refusal> {
    let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
    match value.get_ref() {
        DeValue::Integer(number) => u16::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                let what = format!("{} is out of the range of {key}", quoted(number.as_str()));
                refusal(what, format!("write {wanted}"))
            }),
        other => Err(wrong_type(key, &wanted, other)),
    }
}

/// The known word that a misspelled one is closest to.
fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    const WORD_MAX: usize = 20;
    if word.len() > WORD_MAX {
        return None;
    }
    let measured = known.iter().map(|known| (edits(word, known), *known));
    let (edits, closest) = measured.min()?;
    (edits <= 2 && edits * 2 <= word.len()).then_some(closest)
}

fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for letter in one.bytes() {
        let mut left = row.first().map_or(0, |first| first + 1);
        let mut next = vec![left];
        for (wanted, pair) in other.bytes().zip(row.windows(2)) {
            if let [diagonal, above] = pair {
                let replaced = diagonal + usize::from(letter != wanted);
                left = replaced.min(above + 1).min(left + 1);
                next.push(left);
            }
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
