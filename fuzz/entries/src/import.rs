//! Any text as a config of fwknopd or knockd, or as a client's .fwknoprc. What comes of it is valid TOML without a shell,
//! and nothing that is said about it repeats a key (invariants 6, 7 and 8).
//!
//! The input is one or more files with a zero byte between them. All but the first are for includes, each with its path in
//! its first line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use postern::admin::import::{Converted, Input, convert};
use postern::client::{import_fwknoprc, profile};
use toml::{Table, Value};
use zeroize::Zeroizing;

const SECRET: [&str; 4] = ["KEY", "KEY_BASE64", "HMAC_KEY", "HMAC_KEY_BASE64"];

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut files = text.split('\0');
    let main = files.next().unwrap_or_default();
    let others: Vec<(&str, &str)> = files
        .map(|file| file.split_once('\n').unwrap_or((file, "")))
        .collect();
    let read = |path: &Path| {
        let found = others.iter().find(|(name, _)| Path::new(name) == path);
        let text = found.map(|(_, text)| Zeroizing::new((*text).to_owned()));
        text.ok_or_else(|| "it cannot be read".to_owned())
    };
    let folder = |path: &Path| {
        let inside = others.iter().map(|(name, _)| PathBuf::from(name));
        Ok(inside.filter(|name| name.parent() == Some(path)).collect())
    };
    let input = Input {
        path: PathBuf::from("a.conf"),
        text: Zeroizing::new(main.to_owned()),
    };
    let made = convert(&[input], &TimeZone::UTC, &read, &folder, BTreeSet::new());
    check(&made);
    let (profiles, findings) = import_fwknoprc::convert(Path::new("rc"), main);
    let mut said = format!(
        "{made:?} {profiles:?}",
        made = (&made.users, &made.services)
    );
    for finding in made.findings.0.iter().chain(&findings.0) {
        let line = finding.to_string();
        assert_eq!(line.lines().count(), 1, "{line:?}");
        said += &line;
        said += &format!("{finding:?}");
    }
    for profile in &profiles {
        let read = profile::parse(&profile.toml.full, Path::new("config.toml"));
        assert_eq!(read.expect("a profile of the config").len(), 1);
        said += &profile.toml.masked;
    }
    let masked = made.users.iter().map(|user| &user.toml.masked);
    said.extend(masked.map(String::as_str));
    for key in keys_in(text) {
        assert!(!said.contains(key), "a key is printed: {said}");
    }
}

/// Whatever the text was, users and services have the form that the config demands.
fn check(made: &Converted) {
    let mut names = BTreeSet::new();
    let mut services = BTreeSet::new();
    for service in &made.services {
        let table: Table = service.toml.full.parse().expect("a service is TOML");
        let keys = table["service"][&service.name]
            .as_table()
            .expect("its section");
        for program in ["on_open", "on_close"]
            .iter()
            .filter_map(|key| keys.get(*key))
        {
            let words = texts(program);
            assert!(
                words[0].starts_with('/') && !words[0].contains('{'),
                "{words:?}"
            );
            assert!(
                !words[0].ends_with("/sh") && !words[0].ends_with("/bash"),
                "{words:?}"
            );
        }
        assert!(
            service.name.len() <= 32 && services.insert(service.name.clone()),
            "unique"
        );
    }
    for user in &made.users {
        let table: Table = user.toml.full.parse().expect("a user is TOML");
        assert_eq!(table["name"].as_str(), Some(user.name.as_str()));
        assert!(
            !user.name.contains('/') && !user.name.starts_with('.'),
            "a file's name"
        );
        assert!(names.insert(user.name.clone()), "unique");
        let kinds = ["fwknop", "sequence", "sequences_file"];
        assert_eq!(
            kinds
                .iter()
                .filter(|kind| table.contains_key(**kind))
                .count(),
            1
        );
        let wanted = texts(&table["services"]);
        assert!(!wanted.is_empty());
        let access = table.get("fwknop").and_then(|fwknop| fwknop.get("access"));
        for service in access.and_then(Value::as_table).into_iter().flatten() {
            let service = service.1.as_str().expect("a service");
            assert!(wanted.contains(&service), "{service} is the user's");
        }
        for service in wanted {
            assert!(
                service.contains('/') || services.contains(service),
                "{service} exists"
            );
        }
        for key in ["from", "networks"]
            .iter()
            .filter_map(|key| table.get(*key))
        {
            for network in texts(key) {
                network.parse::<ipnet::IpNet>().expect("a network");
            }
        }
        let length = |key: &str| -> u64 {
            let text = table[key].as_str().and_then(|text| text.strip_suffix('s'));
            text.and_then(|text| text.parse().ok()).expect("seconds")
        };
        assert!((1..=2_592_000).contains(&length("duration")));
        assert!((length("duration")..=2_592_000).contains(&length("max_duration")));
    }
}

fn texts(value: &Value) -> Vec<&str> {
    let values = value.as_array().expect("a list").iter();
    values.map(|text| text.as_str().expect("a text")).collect()
}

/// The values of keys that stand nowhere else in the text. They mix cases and digits, as no word of a message does.
fn keys_in(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.split(['\n', '\r', '\0']).filter_map(|line| {
        let (name, value) = line.trim().split_once([' ', '\t'])?;
        let name = name.strip_suffix(':').unwrap_or(name);
        let value = value
            .split([';', '#', ' ', '\t'])
            .find(|part| !part.is_empty())?;
        SECRET.contains(&name).then_some(value)
    });
    let is_mixed = |key: &str| {
        let has = |kind: fn(&char) -> bool| key.chars().any(|letter| kind(&letter));
        has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase) && has(char::is_ascii_digit)
    };
    lines.filter(move |key| key.len() >= 12 && is_mixed(key) && text.matches(key).count() == 1)
}
