//! What is wrong with a config: file, line, column, what, and what to do; never a line of the file.
//!
//! A line of this file may hold a key, and a value in the wrong place may be one. So what the reader of TOML says is taken
//! without its picture of the source, and what could be a key in it is left out.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The first thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ProfileError {
    path: PathBuf,
    /// Line and column, from 1; none where the whole file is meant.
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
        let said = without_secrets(error.message());
        let what = match advice(&said) {
            Some(advice) => format!("{said}; {advice}"),
            None => said,
        };
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

/// What to do, unless the message says so itself.
fn advice(said: &str) -> Option<&'static str> {
    if said.contains("; ") {
        None
    } else if said.starts_with("unknown field") {
        Some("take it out or correct its spelling")
    } else if said.starts_with("missing field `gate`") {
        Some("add gate = \"NAME\" with the name that the gate's own config gives it")
    } else {
        Some("correct it there")
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

/// A longer quoted value could be a key in the wrong place; a service, an address or a duration is shorter.
const QUOTED_MAX: usize = 20;
/// A run of this many characters of base64 is no word of any language.
const RUN_MAX: usize = 32;

/// The message on one line, without what could be a key: longer quoted values and longer runs of base64.
pub fn without_secrets(message: &str) -> String {
    without_runs(&without_quoted(
        &message.split_whitespace().collect::<Vec<_>>().join(" "),
    ))
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

/// Where the quoted text that `text` begins with ends, behind its closing quote.
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn what_could_be_a_key_is_left_out() {
        for message in [
            format!("invalid type: string \"{KEY}\", expected a list"),
            format!("unknown field `{KEY}`"),
            format!("unclosed \"{KEY}"),
            format!("string \"a \\\" {KEY} b\" it is"),
            format!("bare {KEY} and\nagain {KEY}"),
        ] {
            let kept = without_secrets(&message);
            assert!(
                !kept.contains("AAEC") && kept.contains('…') && !kept.contains('\n'),
                "{kept}"
            );
        }
    }

    #[test]
    fn what_is_short_is_kept() {
        let message =
            "\"tcp/70000\" is not a service; write tcp/22 in /home/someone/.config/postern";
        assert_eq!(without_secrets(message), message);
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        assert_eq!(position("ab\nä=c", 0), (1, 1));
        assert_eq!(position("ab\nä=c", 5), (2, 2));
        assert_eq!(position("ab", 99), (1, 3));
    }
}
