//! Any text as a gate's config. Nothing that it says, good or bad, repeats a key (invariants 7 and 8).
//!
//! The input is one or more files with a zero byte between them: `posternd.toml` first, then each with its path in
//! its first line: `users.d/…` is a user's file, `services.d/…` one of services, any other path a key file.

use std::path::Path;

use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::adapters::config::{Loaded, Problems, key_files, load};
use postern_proto::SharedKey;
use zeroize::Zeroizing;

const FOLDER: &str = "/etc/postern";

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let bundle = bundle(text);
    // What a config names is asked before it is known to be right.
    let _ = key_files(&bundle);

    let said = match load(&bundle) {
        Ok(loaded) => {
            assert_eq!(
                loaded.keys.len(),
                loaded.settings.policies.len(),
                "one key a user"
            );
            // A gate may have any name, even one that would do as a key; it is no secret.
            let name = format!("{:?}", loaded.settings.gate.name);
            format!("{loaded:?}").replace(&name, "")
        }
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a reason");
            for problem in &problems.0 {
                assert_eq!(problem.to_string().lines().count(), 1, "{problem}");
            }
            let again = load(&bundle).expect_err("the same text is refused again");
            assert_eq!(
                places(&again),
                places(&problems),
                "the same text, problems in the same places"
            );
            format!("{problems} {problems:?}")
        }
    };
    for key in keys_in(text) {
        // Half a key is too much already.
        for part in key.as_bytes().windows(key.len() / 2) {
            let part = std::str::from_utf8(part).expect("base64");
            // Also in another place, such as the name of a file: no secret any more.
            if text.matches(part).count() > text.matches(key).count() {
                continue;
            }
            assert!(!said.contains(part), "a key is printed: {said}");
        }
    }
}

/// The words may differ: a text that is not TOML is read with its long words replaced by random ones.
fn places(problems: &Problems) -> Vec<(&Path, Option<usize>)> {
    problems
        .0
        .iter()
        .map(|problem| (problem.file.as_path(), problem.line))
        .collect()
}

/// A config that is right.
pub(crate) fn loaded(text: &str) -> Loaded {
    load(&bundle(text)).unwrap_or_else(|problems| panic!("{problems}"))
}

pub fn bundle(text: &str) -> Bundle {
    let mut files = text.split('\0');
    let main = files.next().map(|text| file("posternd.toml", text));
    let (mut users, mut services, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for named in files {
        let (path, text) = named.split_once('\n').unwrap_or((named, ""));
        // File names are no secrets and are printed, so half a key must not fit into one.
        let path = if path.len() > 20 {
            "users.d/long.toml"
        } else {
            path
        };
        let list = if path.starts_with("users.d/") {
            &mut users
        } else if path.starts_with("services.d/") {
            &mut services
        } else {
            &mut keys
        };
        list.push(file(path, text));
    }
    Bundle {
        main,
        users,
        services,
        keys,
        roster: None,
    }
}

fn file(path: &str, text: &str) -> BundleFile {
    BundleFile {
        path: Path::new(FOLDER).join(path),
        text: Zeroizing::new(text.to_owned()),
    }
}

/// Every string or line that is a key and nothing else.
fn keys_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter.is_whitespace() || "\"'\0".contains(letter))
        .filter(|word| SharedKey::from_base64(word).is_ok())
}
