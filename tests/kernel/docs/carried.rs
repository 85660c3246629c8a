//! Values that one command prints and a later one uses: a token, a request, a key. A page shows an old value;
//! the later commands get the new value, as a reader would use his own.

use std::collections::BTreeMap;

use regex::Regex;

/// The kinds of values, each counted by itself.
const KINDS: [&str; 3] = [
    r"\bpostern-[a-z]+-1\.[A-Za-z0-9_-]{20,}",
    r"[A-Za-z0-9+/]{43}=",
    r"\b[A-Z2-7]{32}\b",
];

pub(crate) struct Carried {
    kinds: Vec<Regex>,
    /// By what the page shows: what was made.
    made: BTreeMap<String, String>,
}

impl Carried {
    pub(crate) fn new() -> Self {
        Self {
            kinds: KINDS
                .iter()
                .map(|pattern| Regex::new(pattern).unwrap())
                .collect(),
            made: BTreeMap::new(),
        }
    }

    /// Learns what was printed in place of what a page shows. If the page shows less than was printed, nothing is learnt.
    pub(crate) fn learn(&mut self, shown: &[String], printed: &str) {
        let shown = shown.join("\n");
        for kind in &self.kinds {
            let [shown, made] = [shown.as_str(), printed].map(|text| {
                kind.find_iter(text)
                    .map(|found| found.as_str())
                    .collect::<Vec<_>>()
            });
            if shown.len() == made.len() {
                self.made.extend(
                    shown
                        .into_iter()
                        .zip(made)
                        .map(|(shown, made)| (shown.to_owned(), made.to_owned())),
                );
            }
        }
    }

    /// A page's words with what was made in its place.
    pub(crate) fn put_into(&self, text: &str) -> String {
        self.made
            .iter()
            .fold(text.to_owned(), |text, (shown, made)| {
                text.replace(shown, made)
            })
    }
}
