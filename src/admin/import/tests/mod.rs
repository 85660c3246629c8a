//! Whole files through the import: each setting, its message, and an oracle for what a file admits before and after.

mod after;
mod door_oracle;
mod doors;
mod files;
mod oracle;
mod settings;
mod stanza_oracle;
mod tables;
mod written;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::tz::{TimeZone, offset};
use zeroize::Zeroizing;

use super::{Converted, Input, convert};

/// Two keys, for packets and for their HMAC.
const KEY: &str = "KEY_BASE64 c2VjcmV0LWtleS1vZi1hbGljZQ==\n";
const HMAC: &str = "HMAC_KEY_BASE64 c2VjcmV0LWhtYWMtb2YtYWxpY2U=\n";

/// Converts files, each with its name and text; included files are among them.
fn import(files: &[(&str, &str)]) -> Converted {
    let named: Vec<(PathBuf, &str)> = files
        .iter()
        .map(|(path, text)| (PathBuf::from(path), *text))
        .collect();
    let read = |path: &Path| {
        let found = named.iter().find(|(known, _)| known == path);
        let text = found.map(|(_, text)| Zeroizing::new((*text).to_owned()));
        text.ok_or_else(|| format!("{} cannot be read", path.display()))
    };
    let folder = |path: &Path| {
        let inside = named
            .iter()
            .filter(|(known, _)| known.parent() == Some(path));
        Ok(inside.map(|(known, _)| known.clone()).collect())
    };
    let inputs = named
        .iter()
        .filter(|(path, _)| !path.starts_with("included"));
    let inputs: Vec<Input> = inputs
        .map(|(path, text)| Input {
            path: path.clone(),
            text: Zeroizing::new((*text).to_owned()),
        })
        .collect();
    convert(
        &inputs,
        &TimeZone::fixed(offset(2)),
        &read,
        &folder,
        BTreeSet::new(),
    )
}

/// The stanza of these lines, after SOURCE and keys.
fn stanza(lines: &str) -> Converted {
    import(&[("access.conf", &format!("SOURCE ANY\n{KEY}{HMAC}{lines}"))])
}

/// The only user as TOML.
fn only_user(made: &Converted) -> toml::Table {
    let [user] = made.users.as_slice() else {
        panic!("{:?} {:?}", made.users, said(made));
    };
    user.toml.full.parse().unwrap()
}

/// These lines become no user, and a finding says this.
fn expect_refused(made: &Converted, part: &str, lines: &str) {
    let said = said(made).join("\n");
    assert!(said.contains(part), "{lines}: {said}");
    assert!(
        made.findings.has_refused() && made.users.is_empty(),
        "{lines}: {said}"
    );
}

fn said(made: &Converted) -> Vec<String> {
    made.findings.0.iter().map(ToString::to_string).collect()
}
