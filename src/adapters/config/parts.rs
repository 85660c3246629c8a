//! A long file of users in parts that are TOML by themselves, so that a million users are not in memory as values at once.
//!
//! A part starts at a line `[[user]]` and has whole users. A file in which such a line could be something else is one part.

use std::path::Path;

use zeroize::Zeroizing;

use super::config_text::ConfigText;
use crate::adapters::config::bundle::BundleFile;

/// Bytes of a part, some dozen users, and of a file that is not worth dividing. Parsed, a part takes thirty times as much, in blocks that
/// glibc uses again: it maps longer ones each time, and then keeps more free memory.
pub(super) const PART: usize = 8 << 10;

const USER: &str = "[[user]]";
const NEXT_USER: &str = "\n[[user]]";

/// Some lines of a file, and the number of the first.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    pub(super) line: usize,
}

/// A part of a file, or a whole file of `users.d`.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The file's number among all files.
    pub(super) file: usize,
    pub(super) part: Part<'a>,
}

/// A file, divided.
pub(super) struct Parts<'a> {
    path: &'a Path,
    /// The file without `users`.
    rest: Rest<'a>,
    /// For each piece of the rest: the number of lines before it, and the number of its first line in the file.
    lines: Vec<(usize, usize)>,
    pub(super) users: Vec<Part<'a>>,
}

enum Rest<'a> {
    One(&'a str),
    Joined(Zeroizing<String>),
}

impl<'a> Parts<'a> {
    /// Divides a file that is longer than `part` bytes into parts of about that length.
    pub(super) fn of(file: &'a BundleFile, part: usize) -> Self {
        let text = file.text.as_str();
        let has_long_strings = || text.contains("\"\"\"") || text.contains("'''");
        if text.len() <= part || has_long_strings() {
            return Self::whole(file);
        }
        let divided = Self::divided(file, part);
        divided.unwrap_or_else(|| Self::whole(file))
    }

    /// The same for a file that has users only. With anything else, it is one part.
    pub(super) fn of_users(file: &'a BundleFile, part: usize) -> Self {
        let parts = Self::of(file, part);
        let has_users_only = || parts.rest().values().is_some_and(|rest| rest.is_empty());
        if parts.users.is_empty() || has_users_only() {
            parts
        } else {
            Self::whole(file)
        }
    }

    fn whole(file: &'a BundleFile) -> Self {
        Self {
            path: &file.path,
            rest: Rest::One(&file.text),
            lines: vec![(0, 1)],
            users: Vec::new(),
        }
    }

    /// `None` if a table of a user comes where it belongs to none of the parts.
    fn divided(file: &'a BundleFile, part: usize) -> Option<Self> {
        let (path, text) = (file.path.as_path(), file.text.as_str());
        let (mut users, mut rest) = (Vec::<Part<'a>>::new(), Vec::<Part<'a>>::new());
        let (mut at, mut in_users) = (0_usize, false);
        let (mut start, mut start_line) = (0, 1);
        let mut cut = |end: usize, in_users: bool, start: usize, line: usize| {
            let text = text.get(start..end).unwrap_or_default();
            let list = if in_users { &mut users } else { &mut rest };
            list.extend((!text.is_empty()).then_some(Part { path, text, line }));
        };
        for (line, content) in (1..).zip(text.split_inclusive('\n')) {
            let header = content.trim_start_matches([' ', '\t']);
            if header.starts_with('[') {
                let is_user = header.starts_with(USER);
                let stays = header.starts_with("[user.") || header.starts_with("[[user.");
                if stays && !in_users {
                    return None;
                }
                let is_long = at.saturating_sub(start) >= part;
                if !stays && (is_user != in_users || is_user && is_long) {
                    cut(at, in_users, start, start_line);
                    (start, start_line, in_users) = (at, line, is_user);
                }
            }
            at = at.saturating_add(content.len());
        }
        cut(text.len(), in_users, start, start_line);
        let parts = Self::joined(path, &rest, users);
        // A rest that has users as well, or is not TOML, may be divided wrongly. The whole file has the error to report.
        let values = parts.rest().values();
        let has_user = values.map(|values| values.contains_key("user"));
        (has_user == Some(false)).then_some(parts)
    }

    fn joined(path: &'a Path, rest: &[Part<'a>], users: Vec<Part<'a>>) -> Self {
        let mut lines = Vec::new();
        let mut before = 0;
        for piece in rest {
            lines.push((before, piece.line));
            before += piece.text.matches('\n').count();
        }
        let rest = match rest {
            [] => Rest::One(""),
            [one] => Rest::One(one.text),
            many => {
                let mut joined = Zeroizing::new(String::with_capacity(
                    many.iter().map(|piece| piece.text.len()).sum(),
                ));
                many.iter().for_each(|piece| joined.push_str(piece.text));
                Rest::Joined(joined)
            }
        };
        Self {
            path,
            rest,
            lines,
            users,
        }
    }

    /// What is not in a part.
    pub(super) fn rest<'t>(&'t self) -> ConfigText<'t>
    where
        'a: 't,
    {
        let text = match &self.rest {
            Rest::One(text) => text,
            Rest::Joined(text) => text.as_str(),
        };
        ConfigText::of_lines(self.path, text, self.lines.clone())
    }

    /// The rest, and all parts.
    pub(super) fn texts(&self) -> impl Iterator<Item = ConfigText<'_>> {
        let parts = self.users.iter().map(Part::text);
        std::iter::once(self.rest()).chain(parts)
    }

    /// What has users. The main file, which is the first, is read on its own if it is not divided.
    pub(super) fn sources(&self, number: usize) -> impl Iterator<Item = Source<'a>> + '_ {
        let whole = self.undivided().filter(|_| number > 0);
        let parts = self.users.iter().copied().chain(whole);
        parts.map(move |part| Source { file: number, part })
    }

    /// All of the file, if it was not divided.
    pub(super) fn undivided(&self) -> Option<Part<'a>> {
        match self.rest {
            Rest::One(text) if self.users.is_empty() => Some(Part {
                path: self.path,
                text,
                line: 1,
            }),
            _ => None,
        }
    }
}

impl Source<'_> {
    /// About how many users it has.
    pub(super) fn users(&self) -> usize {
        1 + self.part.text.matches(NEXT_USER).count()
    }
}

impl<'a> Part<'a> {
    pub(super) fn text(&self) -> ConfigText<'a> {
        ConfigText::of_lines(self.path, self.text, vec![(0, self.line)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, Vec<(usize, String)>) {
        let file = BundleFile::new("/p", text);
        let parts = Parts::of(&file, 1);
        let users = parts.users.iter();
        let users = users.map(|part| (part.line, part.text.to_owned()));
        let Rest::One(rest) = parts.rest else {
            panic!("it is joined");
        };
        (rest.to_owned(), users.collect())
    }

    #[test]
    fn each_user_is_a_part() {
        let one = "[[user]]\nname = \"a\"\n[user.max_prefix]\nv4 = 24\n";
        let two = " [[user]] # b\nname = \"b\"";
        let (rest, users) = parts(&format!("[gate]\nport = [\n1]\n{one}{two}"));
        assert_eq!(rest, "[gate]\nport = [\n1]\n");
        assert_eq!(users, [(4, one.to_owned()), (8, two.to_owned())]);
    }

    #[test]
    fn doubtful_files_are_not_divided() {
        let user = "[[user]]\nname = \"a\"\n";
        for text in [
            format!("[gate]\nname = '''\n{user}'''\n"),
            format!("user = []\n{user}"),
            format!("[user]\n{user}"),
            format!("[[ user ]]\n{user}"),
            format!("[user.x]\n{user}"),
            format!("{user}[gate]\n[user.x]\n"),
        ] {
            assert_eq!(parts(&text), (text.clone(), Vec::new()), "{text}");
        }
    }

    #[test]
    fn lines_of_a_joined_rest_are_those_of_the_file() {
        let file = BundleFile::new("/p", "# 1\n[gate]\n[[user]]\n# 4\n[metrics]\na = 6\n");
        let parts = Parts::of(&file, 1);
        let rest = parts.rest();
        let lines = [0, 4, 11, 21].map(|at| rest.place(at).0);
        assert_eq!(lines, [1, 2, 5, 6]);
    }
}
