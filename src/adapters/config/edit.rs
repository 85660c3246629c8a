//! Edits single keys in the text of a user's own file; comments and all other bytes stay.
//!
//! A user's own file has the user's keys without a table. The text holds keys, so every buffer is wiped and none grows.

use std::ops::Range;

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::config_text::ConfigText;
use crate::adapters::config::bundle::BundleFile;
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit<'a> {
    /// Sets a value, in TOML. A new key follows the user's name.
    Set(&'a str, &'a str),
    Remove(&'a str),
}

/// The text of the file after these edits, in order; `None` if it is not a user's own file.
pub(crate) fn edited(file: &BundleFile, edits: &[Edit<'_>]) -> Option<Zeroizing<String>> {
    let mut file = BundleFile::new(file.path.clone(), file.text.as_str());
    for edit in edits {
        file.text = once(&file, *edit)?;
    }
    Some(std::mem::take(&mut file.text))
}
pub(crate) fn text_of(file: &BundleFile, key: &str) -> Option<Zeroizing<String>> {
    let values = ConfigText::of(file).values()?;
    match values.get(key)?.get_ref() {
        DeValue::String(text) => Some(Zeroizing::new(text.to_string())),
        _ => None,
    }
}

fn once(file: &BundleFile, edit: Edit<'_>) -> Option<Zeroizing<String>> {
    let values = ConfigText::of(file).values()?;
    if values.contains_key("user") {
        return None;
    }
    let text = file.text.as_str();
    let (Edit::Set(key, _) | Edit::Remove(key)) = edit;
    let found = values
        .iter()
        .find(|(found, _)| found.get_ref() == key)
        .map(|(key, value)| (key.span(), value.span()));
    Some(match (edit, found) {
        (Edit::Set(_, value), Some((_, place))) => replaced(text, place, &[value]),
        (Edit::Set(key, value), None) => {
            let name = values.get("name")?.span();
            let end = end_of_line(text, name.end);
            let line_end = if text.get(..end)?.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            replaced(text, end..end, &[line_end, key, " = ", value, "\n"])
        }
        (Edit::Remove(_), Some((key, value))) => {
            let start = text
                .get(..key.start)?
                .rfind('\n')
                .map_or(0, |at| at.saturating_add(1));
            replaced(text, start..end_of_line(text, value.end), &[])
        }
        (Edit::Remove(_), None) => file.text.clone(),
    })
}

fn end_of_line(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at.saturating_add(
        rest.find('\n')
            .map_or(rest.len(), |newline| newline.saturating_add(1)),
    )
}

fn replaced(text: &str, place: Range<usize>, parts: &[&str]) -> Zeroizing<String> {
    let more: usize = parts.iter().map(|part| part.len()).sum();
    let mut new = Zeroizing::new(String::with_capacity(text.len().saturating_add(more)));
    new.push_str(text.get(..place.start).unwrap_or_default());
    parts.iter().for_each(|part| new.push_str(part));
    new.push_str(text.get(place.end..).unwrap_or_default());
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> BundleFile {
        BundleFile::new("users.d/alice.toml", text)
    }

    const TEXT: &str = "# Alice, of the night shift\nname = \"alice\" # that is her\n  key = \"AAAA\"  # from 2025\nservices = [\n  \"tcp/22\", # ssh\n]\n\n[max_prefix]\nv4 = 24\n";

    #[test]
    fn edits_keep_all_other_bytes() {
        use Edit::{Remove, Set};
        let with_flag = TEXT.replace("that is her\n", "that is her\ndisabled = true\n");
        let no_newline = "key = \"AAAA\"\nservices = [\"tcp/22\"]\nname = \"alice\"";
        for (text, edits, expected) in [
            (
                TEXT,
                &[Set("key", "\"BBBB\"")][..],
                &*TEXT.replace("AAAA", "BBBB"),
            ),
            (TEXT, &[Set("disabled", "true")], &with_flag),
            (&with_flag, &[Remove("disabled")], TEXT),
            (TEXT, &[Remove("disabled")], TEXT),
            (
                no_newline,
                &[Set("disabled", "true")],
                &format!("{no_newline}\ndisabled = true\n"),
            ),
            (
                TEXT,
                &[Remove("services"), Remove("key"), Set("key_file", "'k'")],
                "# Alice, of the night shift\nname = \"alice\" # that is her\nkey_file = 'k'\n\n[max_prefix]\nv4 = 24\n",
            ),
        ] {
            let edited = edited(&file(text), edits).unwrap();
            assert_eq!(edited.as_str(), expected, "{edits:?}");
        }
        let text = |key| text_of(&file(TEXT), key).map(|text| text.to_string());
        let texts = ["key", "services", "quota"].map(text);
        assert_eq!(texts, [Some("AAAA".to_owned()), None, None]);
    }

    #[test]
    fn other_files_are_not_edited() {
        for text in ["[[user]]\nname = \"a\"\n", "name = ", "key = \"AAAA\"\n"] {
            let edited = edited(&file(text), &[Edit::Set("disabled", "true")]);
            assert!(edited.is_none(), "{text}");
        }
    }
}
