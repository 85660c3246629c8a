//! The keys of one TOML table, read one by one: a wrong one is noted on the page and the others are read all the same.
//!
//! Says nothing of a value but its type; what a value means is the caller's.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::page::Page;
use super::problem::{Fault, fault, quoted};

pub(super) struct Fields<'t> {
    /// As people call it: `[gate]`.
    name: &'t str,
    table: &'t DeTable<'t>,
    /// Its header.
    pub(super) span: Range<usize>,
}

type Value<'t> = &'t Spanned<DeValue<'t>>;

impl<'t> Fields<'t> {
    pub(super) fn new(name: &'t str, table: &'t DeTable<'t>, span: Range<usize>) -> Self {
        Self { name, table, span }
    }

    /// A table inside this one, `None` where it is missing or no table.
    pub(super) fn table(
        &self,
        page: &mut Page<'_>,
        key: &str,
        name: &'t str,
    ) -> Option<Fields<'t>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Fields::new(name, table, value.span())),
            other => {
                page.refuse(
                    value.span(),
                    wrong_type(key, &format!("a table, {name}"), other),
                );
                None
            }
        }
    }

    /// Refuses keys that have no meaning.
    pub(super) fn only(&self, page: &mut Page<'_>, known: &[&str]) {
        for key in self
            .table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
        {
            let what = format!("{} has no meaning in {}", quoted(key.get_ref()), self.name);
            page.refuse(
                key.span(),
                fault(
                    what,
                    format!("the keys of {} are {}", self.name, known.join(", ")),
                ),
            );
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'t>> {
        self.table.get(key)
    }

    /// All keys and their values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'t Spanned<Cow<'t, str>>, Value<'t>)> {
        self.table.iter()
    }

    /// Where a key's value stands; the table's header where there is none.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.get(key)
            .map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Notes that a key is missing.
    pub(super) fn require(&self, page: &mut Page<'_>, key: &str, example: &str) {
        if !self.has(key) {
            page.refuse(
                self.span.clone(),
                fault(
                    format!("{} has no {key}", self.name),
                    format!("add {key} = {example}"),
                ),
            );
        }
    }

    pub(super) fn text<T>(
        &self,
        page: &mut Page<'_>,
        key: &str,
        read: impl FnOnce(&'t str) -> Result<T, Fault>,
    ) -> Option<T> {
        let value = self.get(key)?;
        page.check(value.span(), text(key, value, read))
    }

    /// A whole number from `low` to `high`.
    pub(super) fn number(
        &self,
        page: &mut Page<'_>,
        key: &str,
        low: u16,
        high: u16,
    ) -> Option<u16> {
        let value = self.get(key)?;
        page.check(value.span(), number(key, value, low, high))
    }

    /// True or false.
    pub(super) fn flag(&self, page: &mut Page<'_>, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            other => {
                page.refuse(
                    value.span(),
                    wrong_type(key, "true or false, without quotes", other),
                );
                None
            }
        }
    }

    /// A list of numbers, or one number.
    pub(super) fn numbers(
        &self,
        page: &mut Page<'_>,
        key: &str,
        low: u16,
        high: u16,
    ) -> Option<Vec<(Range<usize>, u16)>> {
        let value = self.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            return self
                .number(page, key, low, high)
                .map(|number| vec![(value.span(), number)]);
        };
        each(page, items, |item| number(key, item, low, high))
    }

    /// A list of texts, each with its place; `None` where one of them is wrong.
    pub(super) fn texts<T>(
        &self,
        page: &mut Page<'_>,
        key: &str,
        read: impl Fn(&'t str) -> Result<T, Fault>,
    ) -> Option<Vec<(Range<usize>, T)>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Array(items) => each(page, items, |item| text(key, item, &read)),
            other => {
                page.refuse(
                    value.span(),
                    wrong_type(key, "a list of texts, [\"…\"]", other),
                );
                None
            }
        }
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(key: &str, words: &[(&str, T)], text: &str) -> Result<T, Fault> {
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let words: Vec<String> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            fault(
                format!("{} is no value of {key}", quoted(text)),
                format!("write {}", words.join(" or ")),
            )
        })
}

pub(super) fn wrong_type(key: &str, wanted: &str, found: &DeValue<'_>) -> Fault {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    fault(
        format!("{key} cannot be {found}"),
        format!("write {wanted}"),
    )
}

fn text<'t, T>(
    key: &str,
    value: Value<'t>,
    read: impl FnOnce(&'t str) -> Result<T, Fault>,
) -> Result<T, Fault> {
    match value.get_ref() {
        DeValue::String(text) => read(text),
        other => Err(wrong_type(key, "a text in quotes, \"…\"", other)),
    }
}

fn number(key: &str, value: Value<'_>, low: u16, high: u16) -> Result<u16, Fault> {
    let wanted = format!("a whole number from {low} to {high}");
    match value.get_ref() {
        DeValue::Integer(number) => u16::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| (low..=high).contains(number))
            .ok_or_else(|| {
                fault(
                    format!("{} is out of the range of {key}", quoted(number.as_str())),
                    format!("write {wanted}"),
                )
            }),
        other => Err(wrong_type(key, &wanted, other)),
    }
}

fn each<'t, T>(
    page: &mut Page<'_>,
    items: &'t [Spanned<DeValue<'t>>],
    read: impl Fn(Value<'t>) -> Result<T, Fault>,
) -> Option<Vec<(Range<usize>, T)>> {
    let read: Vec<_> = items
        .iter()
        .map(|item| {
            page.check(item.span(), read(item))
                .map(|value| (item.span(), value))
        })
        .collect();
    read.into_iter().collect()
}
