//! From a token to a section of `config.toml`, and that section into an existing config.
//!
//! The rest of the config stays the same to the byte. The texts hold keys, so every buffer is wiped and none grows.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::client::token::{Token, TokenKey};
use crate::model::grant_to::GrantTo;
use crate::model::quota::Quota;
use crate::model::time;

/// More than the longest token needs as a section; its parts are bounded.
const SECTION_MAX: usize = 8192;

/// What [`section`] writes.
const WRITTEN: [&str; 11] = [
    "gate",
    "address",
    "key",
    "private_key",
    "private_key_file",
    "gate_public_key",
    "psk",
    "services",
    "duration",
    "grant_to",
    "quota",
];

/// Why a section cannot be put into a config, or taken from a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionError {
    Exists,
    NotASection,
}

/// The section of a new profile. `key_file` holds the private key of a token without one.
pub(crate) fn section(name: &str, token: &Token, key_file: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(SECTION_MAX));
    let mut line = |parts: &[&str]| {
        parts.iter().for_each(|part| text.push_str(part));
        text.push('\n');
    };
    line(&["gate = ", &quoted(token.gate.as_str())]);
    match token.addresses.as_slice() {
        [one] => line(&["address = ", &quoted(&one.to_string())]),
        many => line(&["address = ", &list(many)]),
    }
    match &token.key {
        TokenKey::Shared(key) => line(&["key = \"", &key.to_base64(), "\""]),
        TokenKey::Pair { own, .. } => line(&["private_key = \"", &own.to_base64(), "\""]),
        TokenKey::Enrolled { .. } => line(&["private_key_file = ", &quoted(key_file)]),
    }
    if let TokenKey::Pair { gate, psk, .. } | TokenKey::Enrolled { gate, psk, .. } = &token.key {
        line(&["gate_public_key = ", &quoted(&gate.to_base64())]);
        if let Some(psk) = psk {
            line(&["psk = \"", &psk.to_base64(), "\""]);
        }
    }
    line(&["services = ", &list(&token.services)]);
    if token.grant_to == GrantTo::Observed {
        line(&["allow = \"source\""]);
    }
    if token.code {
        line(&["code = \"ask\""]);
    }
    if let Some(duration) = token.duration {
        line(&["duration = ", &quoted(&time::human(duration))]);
    }
    if token.grant_to != GrantTo::default() {
        line(&["grant_to = ", &quoted(token.grant_to.name())]);
    }
    if token.quota != Quota::default() {
        line(&["quota = ", &quoted(&token.quota.to_string())]);
    }
    headed(name, &format!(" # for user {}", token.user), &text)
}

/// The section of the only profile in a text, under another name if one is given.
pub(crate) fn renamed(
    text: &str,
    name: Option<&str>,
) -> Result<(String, Zeroizing<String>), SectionError> {
    let tree = DeTable::parse(text).map_err(|_| SectionError::NotASection)?;
    let mut tables = tree.get_ref().iter();
    let (Some((key, value)), None) = (tables.next(), tables.next()) else {
        return Err(SectionError::NotASection);
    };
    if !is_section(text, value) || headers(tree.get_ref(), text).len() != 1 {
        return Err(SectionError::NotASection);
    }
    let name = name.unwrap_or(key.get_ref()).to_owned();
    let rest = text.get(value.span().end..);
    let rest = rest.ok_or(SectionError::NotASection)?;
    let (comment, body) = rest.split_once('\n').unwrap_or((rest, ""));
    let section = headed(&name, comment.trim_end(), body);
    Ok((name, section))
}

/// The first line of a section that [`section`] never writes, such as one that runs a program at each knock.
pub(crate) fn unexpected_key(text: &str) -> Option<String> {
    let tree = DeTable::parse(text).ok()?;
    let sections = tree
        .get_ref()
        .values()
        .filter_map(|value| value.get_ref().as_table());
    let mut keys = sections.flatten();
    let is_written = |key: &str, value: &DeValue<'_>| match (key, value.as_str()) {
        ("allow", text) => text == Some("source"),
        ("code", text) => text == Some("ask"),
        // a file beside the config only
        ("private_key_file", text) => text.is_some_and(|name| !name.contains('/')),
        (key, _) => WRITTEN.contains(&key),
    };
    keys.find(|(key, value)| !is_written(key.get_ref(), value.get_ref()))
        .map(|(key, _)| key.get_ref().escape_debug().to_string())
}

/// A config with this section at its end, or with `replace` in place of the profile of this name.
pub(crate) fn with_section(
    config: &str,
    name: &str,
    section: &str,
    replace: bool,
) -> Result<Zeroizing<String>, SectionError> {
    let tree = DeTable::parse(config).map_err(|_| SectionError::NotASection)?;
    let place = match tree.get_ref().get(name) {
        None => config.len()..config.len(),
        Some(_) if !replace => return Err(SectionError::Exists),
        Some(value) => extent(config, tree.get_ref(), value).ok_or(SectionError::NotASection)?,
    };
    let before = config.get(..place.start).unwrap_or_default();
    let after = config.get(place.end..).unwrap_or_default();
    let is_appended = place.is_empty() && !before.is_empty();
    let gap_before = match before {
        _ if is_appended && !before.ends_with('\n') => "\n\n",
        _ if is_appended && !before.ends_with("\n\n") => "\n",
        _ => "",
    };
    let has_gap_after = after.is_empty() || section.ends_with("\n\n");
    let gap_after = if has_gap_after { "" } else { "\n" };
    Ok(joined(&[before, gap_before, section, gap_after, after]))
}

fn headed(name: &str, comment: &str, body: &str) -> Zeroizing<String> {
    let has_end = body.is_empty() || body.ends_with('\n');
    let end = if has_end { "" } else { "\n" };
    joined(&["[", name, "]", comment, "\n", body, end])
}

/// The parts in one buffer that never grows.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(length));
    parts.iter().for_each(|part| text.push_str(part));
    text
}

/// From the header of a section to the next section, without the comment before that.
fn extent(text: &str, tree: &DeTable<'_>, value: &Spanned<DeValue<'_>>) -> Option<Range<usize>> {
    let DeValue::Table(table) = value.get_ref() else {
        return None;
    };
    if !is_section(text, value) || !headers(table, text).is_empty() {
        return None;
    }
    let start = value.span().start;
    let later = headers(tree, text).into_iter().filter(|at| *at > start);
    let next = later.min().unwrap_or(text.len());
    let mut end = next;
    for line in text.get(start..next)?.split_inclusive('\n').rev() {
        if !line.starts_with('#') {
            break;
        }
        end = end.saturating_sub(line.len());
    }
    Some(start..if next == text.len() { next } else { end })
}

fn is_section(text: &str, value: &Spanned<DeValue<'_>>) -> bool {
    let header = text.get(value.span()).unwrap_or_default();
    matches!(value.get_ref(), DeValue::Table(_)) && header.starts_with('[')
}

fn headers(table: &DeTable<'_>, text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for value in table.values() {
        match value.get_ref() {
            DeValue::Table(inner) => {
                found.extend(is_section(text, value).then_some(value.span().start));
                found.extend(headers(inner, text));
            }
            DeValue::Array(items) => {
                let tables = items.iter().filter(|item| is_section(text, item));
                found.extend(tables.map(|item| item.span().start));
            }
            _ => {}
        }
    }
    found
}

pub(crate) fn list<T: std::fmt::Display>(values: &[T]) -> String {
    let values = values.iter().map(|value| quoted(&value.to_string()));
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_proto::{GateName, PresharedKey, PrivateKey, SharedKey};

    use super::*;

    #[test]
    fn section_has_each_kind_of_key() {
        let private = || PrivateKey::from_bytes([2; 32]);
        let gate = PrivateKey::from_bytes([3; 32]).public();
        let psk = || Some(PresharedKey::from_bytes([4; 32]));
        let shared = SharedKey::from_bytes([1; 32]);
        let (own, psk_text) = (private().to_base64(), psk().unwrap().to_base64());
        let shared_text = format!("key = \"{}\"\n", &*shared.to_base64());
        let gate_text = format!("gate_public_key = \"{gate}\"\n");
        let pair_text = format!("private_key = \"{}\"\n{gate_text}", &*own);
        let psk_text = format!("{gate_text}psk = \"{}\"\n", &*psk_text);
        let enrolled_text = format!("private_key_file = \"h-2.key\"\n{psk_text}");
        let pair = TokenKey::Pair {
            own: private(),
            gate,
            psk: None,
        };
        let enrolled = TokenKey::Enrolled {
            own: private().public(),
            gate,
            psk: psk(),
        };
        for (key, key_text) in [
            (TokenKey::Shared(shared), shared_text),
            (pair, pair_text),
            (enrolled, enrolled_text),
        ] {
            let token = Token {
                user: "alice".to_owned(),
                gate: GateName::new("a \"gate\"\\ of ours").unwrap(),
                addresses: ["192.0.2.1", "[2001:db8::1]:5"]
                    .map(|a| a.parse().unwrap())
                    .to_vec(),
                services: ["tcp/22", "web"].map(|a| a.parse().unwrap()).to_vec(),
                duration: Some(Duration::from_secs(5400)),
                grant_to: GrantTo::Observed,
                quota: "5/10s".parse().unwrap(),
                code: true,
                profile: None,
                key,
            };
            let head = "[h-2] # for user alice\ngate = 'a \"gate\"\\ of ours'\n\
                        address = [\"192.0.2.1:62201\", \"[2001:db8::1]:5\"]\n";
            let tail = "services = [\"tcp/22\", \"web\"]\nallow = \"source\"\ncode = \"ask\"\n\
                        duration = \"1h 30m\"\ngrant_to = \"observed\"\nquota = \"5/10s\"\n";
            let expected = [head, &key_text, tail].concat();
            assert_eq!(*section("h-2", &token, "h-2.key"), expected);
        }
    }

    #[test]
    fn section_is_appended_to_the_config() {
        for (before, after) in [
            ("", "[b]\ngate = \"b\"\n"),
            ("# mine\n", "# mine\n\n[b]\ngate = \"b\"\n"),
            (
                "[a]\ngate = \"a\" # mine",
                "[a]\ngate = \"a\" # mine\n\n[b]\ngate = \"b\"\n",
            ),
            (
                "[a]\ngate = \"a\"\n\n",
                "[a]\ngate = \"a\"\n\n[b]\ngate = \"b\"\n",
            ),
        ] {
            for replace in [false, true] {
                let text = with_section(before, "b", "[b]\ngate = \"b\"\n", replace).unwrap();
                assert_eq!(text.as_str(), after);
            }
        }
    }

    #[test]
    fn replacement_keeps_the_rest() {
        let before = "# all\n[a]\ngate = 'a'\n# about b\n";
        let old = "[b] # old\ngate = 'b'\nservices = [\n'tcp/1']\n# still b\n\n";
        let after = "# about c\n[c]\ngate = 'c'\n";
        let config = [before, old, after].concat();
        let new = "[b]\ngate = 'new'\n";
        let expected = Err(SectionError::Exists);
        assert_eq!(with_section(&config, "b", new, false), expected);
        let text = with_section(&config, "b", new, true).unwrap();
        assert_eq!(*text, [before, new, "\n", after].concat());
        let last = with_section(&config, "c", "[c]\ngate = 'new'\n", true).unwrap();
        assert_eq!(
            *last,
            [before, old, "# about c\n[c]\ngate = 'new'\n"].concat()
        );
        for config in [
            "b = { gate = 'b' }\n",
            "b.gate = 'b'\n",
            "[b]\ngate = 'b'\n[b.more]\nx = 1\n",
            "[[b]]\ngate = 'b'\n",
        ] {
            let text = with_section(config, "b", "[b]\n", true);
            assert_eq!(text, Err(SectionError::NotASection), "{config}");
        }
    }

    #[test]
    fn only_profile_of_a_text_is_renamed() {
        let comment = "# from the administrator\n\n";
        let rest = "] # for user alice\ngate = 'g' # named so\nkey = 'k'";
        let text = format!("{comment}[gate{rest}");
        for (name, expected) in [(None, "gate"), (Some("home"), "home")] {
            let (name, section) = renamed(&text, name).unwrap();
            assert_eq!(
                (name.as_str(), section.as_str()),
                (expected, &*format!("[{expected}{rest}\n"))
            );
        }
        for text in [
            "",
            "x = 1",
            "[a]\n[b]\n",
            "a.gate = 'g'",
            "[a]\n[a.b]\n",
            "[[a]]\n",
        ] {
            let found = renamed(text, None);
            assert_eq!(found, Err(SectionError::NotASection), "{text}");
        }
    }
}
