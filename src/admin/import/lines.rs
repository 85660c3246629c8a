//! Lines of access.conf and fwknopd.conf: `NAME value`, where a colon may follow the name and `;` ends the value.

use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::model::foreign::{Place, Setting};

/// fwknopd cuts longer lines, so that the rest becomes a line of its own.
pub(super) const LINE_MAX: usize = 1023;
/// Lines of all files of one import.
pub(super) const LINES_MAX: usize = 100_000;

/// The trimmed lines of knockd.conf and of UCI, without comments and empty ones.
pub(super) fn content_lines<'t>(
    path: &Path,
    text: &'t str,
) -> impl Iterator<Item = (Place, &'t str)> {
    let path: Arc<Path> = path.into();
    let trimmed = (1..).zip(text.lines().map(str::trim));
    let said = trimmed.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    said.map(move |(line, text)| {
        let file = Arc::clone(&path);
        (Place { file, line }, text)
    })
}

/// One line that says something.
pub(super) enum Line {
    Setting(Setting),
    /// A line that is no setting: why, and the cure.
    Wrong(Place, &'static str, &'static str),
}

/// All lines of a text, without comments and empty ones.
pub(super) fn lines<'t>(path: &'t Arc<Path>, text: &'t str) -> impl Iterator<Item = Line> + 't {
    let numbered = (1..).zip(text.split('\n'));
    numbered.filter_map(move |(number, line)| read(path, number, line))
}

fn read(path: &Arc<Path>, number: usize, line: &str) -> Option<Line> {
    let place = Place {
        file: path.clone(),
        line: number,
    };
    // fwknopd reads nothing behind a CR.
    let line = line.split('\r').next().unwrap_or_default().trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return None;
    }
    if line.len() > LINE_MAX {
        let what = "the line is longer than 1023 bytes, and fwknopd cuts it";
        return Some(Line::Wrong(place, what, "shorten it"));
    }
    let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let value = rest.split(';').next().unwrap_or_default().trim();
    // `NAME;` has no value, and `NAME:` has a colon to drop.
    let name = name.split(';').next().unwrap_or_default();
    let name = name.strip_suffix(':').unwrap_or(name);
    if value.is_empty() {
        let cure = "write NAME and a value with a blank between, or remove the line";
        return Some(Line::Wrong(place, "the line has no value", cure));
    }
    Some(Line::Setting(Setting {
        place,
        name: name.to_owned(),
        value: Zeroizing::new(value.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Vec<(usize, String, String)> {
        let path = Arc::from(Path::new("f"));
        let all = lines(&path, text).map(|line| match line {
            Line::Setting(one) => (one.place.line, one.name, one.value.to_string()),
            Line::Wrong(place, what, _) => (place.line, String::new(), what.to_owned()),
        });
        all.collect()
    }

    #[test]
    fn colon_and_semicolon_are_dropped() {
        let text = "# no\n;no\n\nSOURCE: ANY;\n  KEY\ta b ; rest\r\nX: y";
        let expected = [(4, "SOURCE", "ANY"), (5, "KEY", "a b"), (6, "X", "y")];
        let expected = expected.map(|(line, name, value)| (line, name.into(), value.into()));
        assert_eq!(read_all(&text.replace('\r', "")), expected);
        let dos = text.replace('\r', "").replace('\n', "\r\n");
        assert_eq!(read_all(&dos), expected, "lines are counted with CR, too");
    }

    #[test]
    fn lines_without_value_are_wrong() {
        for text in ["KEY", "KEY:", "KEY ;", "KEY;", ":"] {
            assert_eq!(read_all(text)[0].2, "the line has no value", "{text}");
        }
        assert!(
            read_all(&format!("KEY {}", "a".repeat(1020)))[0]
                .2
                .contains("1023")
        );
    }
}
