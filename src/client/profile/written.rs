//! Profiles as text: what a token says, written as a section of `config.toml`, and that section put into a config that is there.
//!
//! Everything else in the config stays as it is, to the byte. Keys are in the texts, so every buffer is wiped and none grows.

use std::ops::Range;

use postern_proto::PublicKey;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::client::token::{Token, TokenKey};
use crate::model::time;

/// Room for the longest token as a section; its parts are bounded.
const SECTION_MAX: usize = 8192;

/// Why a section can't be put into a config, or taken out of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSection {
    /// A profile of this name is there.
    Exists,
    /// It is written in a way that only a person can change.
    ByHand,
}

/// A profile of this name, as a section of its own. `key_file` is where the private key lies that belongs to a token without one.
pub fn section(name: &str, token: &Token, key_file: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(SECTION_MAX));
    let mut line = |parts: &[&str]| {
        parts
            .iter()
            .chain(&["\n"])
            .for_each(|part| text.push_str(part))
    };
    line(&["gate = ", &quoted(token.gate.as_str())]);
    line(&["address = ", &one_or_list(&token.addresses)]);
    let gate_key = |key: &PublicKey| quoted(&key.to_base64());
    let psk = match &token.key {
        TokenKey::Shared(key) => {
            line(&["key = \"", &key.to_base64(), "\""]);
            None
        }
        TokenKey::Pair { own, gate, psk } => {
            line(&["private_key = \"", &own.to_base64(), "\""]);
            line(&["gate_public_key = ", &gate_key(gate)]);
            psk.as_ref()
        }
        TokenKey::Enrolled { gate, psk, .. } => {
            line(&["private_key_file = ", &quoted(key_file)]);
            line(&["gate_public_key = ", &gate_key(gate)]);
            psk.as_ref()
        }
    };
    if let Some(psk) = psk {
        line(&["psk = \"", &psk.to_base64(), "\""]);
    }
    let services: Vec<String> = token
        .services
        .iter()
        .map(|service| quoted(&service.to_string()))
        .collect();
    line(&["services = [", &services.join(", "), "]"]);
    if token.source_only {
        line(&["allow = \"source\""]);
    }
    if token.code {
        line(&["code = \"ask\""]);
    }
    if let Some(duration) = token.duration {
        line(&["duration = ", &quoted(&time::human(duration))]);
    }
    headed(name, &format!(" # for user {}", token.user), &text)
}

/// The section of the one profile in a text, under another name; the name that it has, where none is given.
///
/// # Errors
/// Where the text does not hold exactly one profile, as a section.
pub fn renamed(text: &str, name: Option<&str>) -> Result<(String, Zeroizing<String>), NoSection> {
    let tree = DeTable::parse(text).map_err(|_| NoSection::ByHand)?;
    let mut tables = tree.get_ref().iter();
    let (Some((key, value)), None) = (tables.next(), tables.next()) else {
        return Err(NoSection::ByHand);
    };
    if !is_section(text, value) || headers(tree.get_ref(), text).len() != 1 {
        return Err(NoSection::ByHand);
    }
    let name = name.unwrap_or(key.get_ref()).to_owned();
    let rest = text.get(value.span().end..).ok_or(NoSection::ByHand)?;
    let (comment, body) = rest.split_once('\n').unwrap_or((rest, ""));
    let section = headed(&name, comment.trim_end(), body);
    Ok((name, section))
}

/// A config with this section behind all that is there, or with `replace` in the place of the profile that has its name.
///
/// # Errors
/// Where such a profile is there and may not or can't be replaced.
pub fn with_section(
    config: &str,
    name: &str,
    section: &str,
    replace: bool,
) -> Result<Zeroizing<String>, NoSection> {
    let tree = DeTable::parse(config).map_err(|_| NoSection::ByHand)?;
    let place = match tree.get_ref().get(name) {
        None => config.len()..config.len(),
        Some(_) if !replace => return Err(NoSection::Exists),
        Some(value) => extent(config, tree.get_ref(), value).ok_or(NoSection::ByHand)?,
    };
    let (before, after) = (
        config.get(..place.start).unwrap_or_default(),
        config.get(place.end..).unwrap_or_default(),
    );
    let mut text = Zeroizing::new(String::with_capacity(
        config.len().saturating_add(section.len()).saturating_add(4),
    ));
    text.push_str(before);
    let is_behind_text = !before.is_empty();
    if is_behind_text && !before.ends_with('\n') {
        text.push('\n');
    }
    if is_behind_text && place.is_empty() && !before.ends_with("\n\n") {
        text.push('\n');
    }
    text.push_str(section);
    if !after.is_empty() && !section.ends_with("\n\n") {
        text.push('\n');
    }
    text.push_str(after);
    Ok(text)
}

fn headed(name: &str, comment: &str, body: &str) -> Zeroizing<String> {
    let parts = [
        "[",
        name,
        "]",
        comment,
        "\n",
        body,
        if body.is_empty() || body.ends_with('\n') {
            ""
        } else {
            "\n"
        },
    ];
    let mut text = Zeroizing::new(String::with_capacity(
        parts.iter().map(|part| part.len()).sum(),
    ));
    parts.iter().for_each(|part| text.push_str(part));
    text
}

/// From the header to the next section, and to the comment in front of that.
fn extent(text: &str, tree: &DeTable<'_>, value: &Spanned<DeValue<'_>>) -> Option<Range<usize>> {
    let DeValue::Table(table) = value.get_ref() else {
        return None;
    };
    if !is_section(text, value) || !headers(table, text).is_empty() {
        return None;
    }
    let start = value.span().start;
    let next = headers(tree, text)
        .into_iter()
        .filter(|header| *header > start)
        .min()
        .unwrap_or(text.len());
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
    matches!(value.get_ref(), DeValue::Table(_))
        && text
            .get(value.span())
            .is_some_and(|header| header.starts_with('['))
}

/// Where the headers of all tables stand.
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

fn one_or_list<T: std::fmt::Display>(values: &[T]) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|value| quoted(&value.to_string()))
        .collect();
    match values.as_slice() {
        [one] => one.clone(),
        list => format!("[{}]", list.join(", ")),
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use postern_proto::{GateName, PresharedKey, PrivateKey, SharedKey};

    use super::*;
    use crate::client::profile::{
        AllowSetting, CodeSource, KeySource, PrivateSource, Profile, parse,
    };

    fn token(key: TokenKey) -> Token {
        Token {
            user: "alice".to_owned(),
            gate: GateName::new("a \"gate\"\\ of ours").unwrap(),
            addresses: vec!["gate.example.org".parse().unwrap()],
            services: vec!["tcp/22".parse().unwrap(), "web".parse().unwrap()],
            duration: None,
            source_only: false,
            code: false,
            profile: None,
            key,
        }
    }

    fn read(text: &str, name: &str) -> Profile {
        parse(text, Path::new("/home/a/.config/postern/config.toml"))
            .unwrap()
            .remove(name)
            .unwrap()
    }

    #[test]
    fn what_a_token_says_reads_back_as_a_profile_with_every_kind_of_key() {
        let shared = || SharedKey::from_bytes([1; 32]);
        let profile = read(
            &section("home", &token(TokenKey::Shared(shared())), ""),
            "home",
        );
        assert_eq!(profile.gate, token(TokenKey::Shared(shared())).gate);
        assert_eq!(
            (
                profile.addresses.len(),
                profile.services.len(),
                profile.allow,
                profile.duration
            ),
            (1, 2, AllowSetting::Auto, None)
        );
        assert!(matches!(profile.key, Some(KeySource::Shared(key)) if key == shared()));

        let (own, gate) = (
            PrivateKey::from_bytes([2; 32]),
            PrivateKey::from_bytes([3; 32]).public(),
        );
        let psk = || Some(PresharedKey::from_bytes([4; 32]));
        let enrolled = Token {
            addresses: vec![
                "192.0.2.1".parse().unwrap(),
                "[2001:db8::1]:5".parse().unwrap(),
            ],
            duration: Some(Duration::from_secs(5400)),
            source_only: true,
            code: true,
            ..token(TokenKey::Enrolled {
                own: own.public(),
                gate,
                psk: psk(),
            })
        };
        let profile = read(&section("h-2", &enrolled, "h-2.key"), "h-2");
        assert_eq!(
            (profile.addresses, profile.allow),
            (enrolled.addresses, AllowSetting::Source)
        );
        assert_eq!(profile.code, Some(CodeSource::Ask));
        assert_eq!(profile.duration, Some(Duration::from_secs(5400)));
        let Some(KeySource::Pair {
            own: PrivateSource::File(path),
            gate: read_gate,
            psk: read_psk,
        }) = profile.key
        else {
            panic!()
        };
        assert_eq!(
            (path.as_path(), read_gate, read_psk),
            (Path::new("/home/a/.config/postern/h-2.key"), gate, psk())
        );

        let pair = token(TokenKey::Pair {
            own: PrivateKey::from_bytes([2; 32]),
            gate,
            psk: None,
        });
        let Some(KeySource::Pair {
            own: PrivateSource::Key(read_own),
            psk: None,
            ..
        }) = read(&section("p", &pair, ""), "p").key
        else {
            panic!()
        };
        assert_eq!(read_own, own);
    }

    #[test]
    fn a_section_is_added_behind_what_is_there_which_stays_to_the_byte() {
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
                assert_eq!(
                    with_section(before, "b", "[b]\ngate = \"b\"\n", replace)
                        .unwrap()
                        .as_str(),
                    after
                );
            }
        }
    }

    #[test]
    fn a_profile_is_replaced_only_when_that_is_asked_for_and_its_neighbours_keep_their_comments() {
        let config = "# all\n[a]\ngate = 'a'\n# about b\n[b] # old\ngate = 'b'\nservices = [\n'tcp/1']\n# still b\n\n# about c\n[c]\ngate = 'c'\n";
        let new = "[b]\ngate = 'new'\n";
        assert_eq!(
            with_section(config, "b", new, false),
            Err(NoSection::Exists)
        );
        assert_eq!(
            with_section(config, "b", new, true).unwrap().as_str(),
            "# all\n[a]\ngate = 'a'\n# about b\n[b]\ngate = 'new'\n\n# about c\n[c]\ngate = 'c'\n"
        );
        let last = with_section(config, "c", "[c]\ngate = 'new'\n", true).unwrap();
        assert!(
            last.starts_with(&config[..config.len() - 14])
                && last.ends_with("# about c\n[c]\ngate = 'new'\n"),
            "{}",
            *last
        );
    }

    #[test]
    fn a_profile_that_is_no_section_is_left_to_its_owner() {
        for config in [
            "b = { gate = 'b' }\n",
            "b.gate = 'b'\n",
            "[b]\ngate = 'b'\n[b.more]\nx = 1\n",
            "[[b]]\ngate = 'b'\n",
        ] {
            assert_eq!(
                with_section(config, "b", "[b]\n", true),
                Err(NoSection::ByHand),
                "{config}"
            );
        }
    }

    #[test]
    fn the_one_profile_of_a_text_gets_another_name_and_keeps_all_else() {
        let text =
            "# from the administrator\n\n[gate] # for user alice\ngate = 'g' # named so\nkey = 'k'";
        let (name, section) = renamed(text, None).unwrap();
        assert_eq!(
            (name.as_str(), section.as_str()),
            (
                "gate",
                "[gate] # for user alice\ngate = 'g' # named so\nkey = 'k'\n"
            )
        );
        let (name, section) = renamed(text, Some("home")).unwrap();
        assert_eq!(name, "home");
        assert!(
            section.starts_with("[home] # for user alice\n"),
            "{}",
            *section
        );
        for text in [
            "",
            "x = 1",
            "[a]\n[b]\n",
            "a.gate = 'g'",
            "[a]\n[a.b]\n",
            "[[a]]\n",
        ] {
            assert_eq!(renamed(text, None), Err(NoSection::ByHand), "{text}");
        }
    }
}
