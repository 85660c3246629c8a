//! Errors in a config: file, line, column, what is wrong, and what to do.
//!
//! A line of the file may hold a key, and a value in the wrong place may be one. So no error quotes the file, and everything
//! that could be a key is cut from the messages of the TOML parser.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::model::exit::{CONFIG, ExitError};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ProfileError {
    path: PathBuf,
    /// Line and column, from 1; `None` for the whole file.
    at: Option<(usize, usize)>,
    what: String,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl ProfileError {
    pub(super) fn from_toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let mut what = without_secrets(error.message());
        if !what.contains("; ") {
            what = format!("{what}; {}", cure(&what));
        }
        Self::new(path, text, error.span(), what)
    }

    pub(super) fn new(path: &Path, text: &str, span: Option<Range<usize>>, what: String) -> Self {
        Self {
            path: path.to_owned(),
            at: span.map(|span| position(text, span.start)),
            what,
        }
    }
}

fn cure(what: &str) -> &'static str {
    if what.starts_with("unknown field") {
        "remove it, or correct its spelling"
    } else if what.starts_with("missing field `gate`") {
        "add gate = \"NAME\" with the name in the gate's own config"
    } else {
        "correct it there"
    }
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (
        before.matches('\n').count().saturating_add(1),
        line.chars().count().saturating_add(1),
    )
}

/// A longer quoted value could be a key; names of keys, services, addresses and durations are not longer.
const QUOTED_MAX: usize = "insecure_without_hmac".len();
/// A longer run of base64 characters could be a key.
const RUN_MAX: usize = 32;

/// The message on one line, without anything that could be a key: long quoted values and long runs of base64.
pub(crate) fn without_secrets(message: &str) -> String {
    let one_line: Vec<&str> = message.split_whitespace().collect();
    without_runs(&without_quoted(&one_line.join(" ")))
}

fn without_quoted(message: &str) -> String {
    let mut kept = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(start) = rest.find(['"', '`']) {
        let (before, quoted) = rest.split_at(start);
        let quote = if quoted.starts_with('"') { '"' } else { '`' };
        let end = closing(quoted, quote).unwrap_or(quoted.len());
        let (quoted, after) = quoted.split_at(end);
        kept.push_str(before);
        if quoted.chars().count() > QUOTED_MAX + 2 {
            kept.extend([quote, '…', quote]);
        } else {
            kept.push_str(quoted);
        }
        rest = after;
    }
    kept + rest
}

/// The end of the quoted text at the start of `text`, after its closing quote.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if c == quote => return Some(index + c.len_utf8()),
            _ => {}
        }
    }
    None
}

fn without_runs(message: &str) -> String {
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let mut kept = String::with_capacity(message.len());
    let mut run = String::new();
    for c in message.chars().chain(std::iter::once('\0')) {
        if base64(c) {
            run.push(c);
            continue;
        }
        kept.push_str(if run.len() > RUN_MAX { "…" } else { &run });
        run.clear();
        if c != '\0' {
            kept.push(c);
        }
    }
    kept
}

impl From<ProfileError> for ExitError {
    fn from(error: ProfileError) -> Self {
        Self::new(CONFIG, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn possible_keys_are_cut() {
        for message in [
            format!("invalid type: string \"{KEY}\", expected a list"),
            format!("unknown field `{KEY}`"),
            format!("unclosed \"{KEY}"),
            format!("string \"a \\\" {KEY} b\" it is"),
            format!("bare {KEY} and\nagain {KEY}"),
        ] {
            let kept = without_secrets(&message);
            assert!(!kept.contains("AAEC") && kept.contains('…'), "{kept}");
            assert!(!kept.contains('\n'), "{kept}");
        }
        let short = "\"tcp/70000\" is not a service; write tcp/22 in /home/someone/.config/postern";
        assert_eq!(without_secrets(short), short);
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        assert_eq!(position("ab\nä=c", 0), (1, 1));
        assert_eq!(position("ab\nä=c", 5), (2, 2));
        assert_eq!(position("ab", 99), (1, 3));
    }
}
