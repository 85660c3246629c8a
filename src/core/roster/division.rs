//! A long roster in pieces that are TOML by themselves, so that ten thousand users are not in memory as values at once.

use serde::de::DeserializeOwned;

const USER: &str = "[[user]]";

/// Bytes of a piece, some hundred users.
const PIECE: usize = 32 << 10;

/// The longest line of an error.
const LINE_MAX: usize = 200;

/// What is wrong with the text of a roster, one line with its cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Some lines of a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'t> {
    text: &'t str,
    /// The number of lines before it.
    before: usize,
}

/// The text before its users, and pieces with users. A text in which users do not follow each other to its end is one piece.
pub(super) fn divided(text: &str) -> (Piece<'_>, Vec<Piece<'_>>) {
    let whole = Piece { text, before: 0 };
    if text.len() <= PIECE || text.contains("\"\"\"") || text.contains("'''") {
        return (whole, Vec::new());
    }
    let (mut head, mut users) = (None, Vec::new());
    let (mut start, mut start_line, mut at) = (0, 0, 0_usize);
    for (line, content) in text.split_inclusive('\n').enumerate() {
        let table = content.trim_start_matches([' ', '\t']);
        let is_user = table.starts_with(USER);
        let is_cut = is_user && (head.is_none() || at.saturating_sub(start) >= PIECE);
        if is_cut {
            let piece = Piece {
                text: text.get(start..at).unwrap_or_default(),
                before: start_line,
            };
            match head {
                None => head = Some(piece),
                Some(_) => users.push(piece),
            }
            (start, start_line) = (at, line);
        } else if head.is_some() && !is_user && table.starts_with('[') {
            let is_of_user = table.starts_with("[user.") || table.starts_with("[[user.");
            if !is_of_user {
                return (whole, Vec::new());
            }
        }
        at = at.saturating_add(content.len());
    }
    let Some(head) = head else {
        return (whole, Vec::new());
    };
    let last = text.get(start..).unwrap_or_default();
    users.push(Piece {
        text: last,
        before: start_line,
    });
    (head, users)
}

impl Piece<'_> {
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        toml::from_str(self.text).map_err(|error| {
            let at = error.span().unwrap_or_default().start;
            let before = self.text.get(..at);
            let line = before.map_or(0, |before| before.matches('\n').count());
            let line = line.saturating_add(self.before).saturating_add(1);
            let what: String = error.message().chars().take(LINE_MAX).collect();
            let what = what.replace(|c: char| c.is_control(), " ");
            Malformed(format!("line {line}: {what}"))
        })
    }
}
