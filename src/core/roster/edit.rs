//! Changes to the text of a roster. Comments and everything else stay as they were.

use std::ops::Range;

use toml::de::DeTable;

use super::division::Malformed;
use super::text::{Roster, RosterUser};
use crate::model::time::Timestamp;

const USER: &str = "[[user]]";

/// What a change sets at the top of a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub version: u64,
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditFault {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("there is no user {0}")]
    NoUser(String),
    #[error("the text is not written as expected here; change it by hand, then sign it")]
    ByHand,
}

/// Sets version and end.
pub fn set_header(text: &str, header: Header) -> Result<String, EditFault> {
    let mut text = replaced(text, "version", &header.version.to_string())?;
    if let Some(until) = header.until {
        let seconds = Timestamp::from_millis(until.as_millis() / 1000 * 1000);
        text = replaced(&text, "until", &seconds.to_string())?;
    }
    Ok(text)
}

fn replaced(text: &str, key: &str, value: &str) -> Result<String, EditFault> {
    let place = place(text, key).ok_or(EditFault::ByHand)?;
    let (Some(before), Some(after)) = (text.get(..place.start), text.get(place.end..)) else {
        return Err(EditFault::ByHand);
    };
    Ok(format!("{before}{value}{after}"))
}

fn place(text: &str, key: &str) -> Option<Range<usize>> {
    let values = DeTable::parse(text).ok()?.into_inner();
    Some(values.get(key)?.span())
}

/// Adds a user.
pub fn with_user(text: &str, user: &RosterUser) -> Result<String, EditFault> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut lines = format!("{}\n\n{USER}\n", text.trim_end());
    let mut line = |key: &str, value: String| lines.push_str(&format!("{key} = {value}\n"));
    line("name", quoted(&user.name));
    line("policy", quoted(&user.policy));
    let gates: Vec<String> = user.gates.iter().map(|gate| quoted(gate)).collect();
    line("gates", format!("[{}]", gates.join(", ")));
    if let Some(key) = &user.public_key {
        line("public_key", quoted(key));
    }
    if !user.sealed.is_empty() {
        let sealed = user.sealed.iter();
        let sealed = sealed.map(|(gate, text)| format!("{} = {}", quoted(gate), quoted(text)));
        line(
            "sealed",
            format!("{{ {} }}", sealed.collect::<Vec<_>>().join(", ")),
        );
    }
    if let Some(expires) = &user.expires {
        line("expires", expires.to_string());
    }
    let mut expected = Roster::parse(text)?;
    expected.user.push(user.clone());
    checked(lines, &expected)
}

/// Removes a user.
pub fn without_user(text: &str, name: &str) -> Result<String, EditFault> {
    let mut expected = Roster::parse(text)?;
    let count = expected.user.len();
    expected.user.retain(|user| user.name != name);
    if expected.user.len() == count {
        return Err(EditFault::NoUser(name.to_owned()));
    }
    let mut kept = String::with_capacity(text.len());
    let mut block = String::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with('[') {
            keep(&mut kept, &mut block, name);
        }
        block.push_str(line);
    }
    keep(&mut kept, &mut block, name);
    checked(kept, &expected)
}

/// Keeps a block of lines, from one header to the next, unless it is the table of this user.
fn keep(kept: &mut String, block: &mut String, name: &str) {
    let is_user = || {
        let table = block.strip_prefix(USER)?;
        let values = DeTable::parse(table).ok()?.into_inner();
        Some(values.get("name")?.get_ref().as_str() == Some(name))
    };
    if is_user() != Some(true) {
        kept.push_str(block);
    }
    block.clear();
}

fn checked(text: String, expected: &Roster) -> Result<String, EditFault> {
    match Roster::parse(&text)? {
        found if found == *expected => Ok(text),
        _ => Err(EditFault::ByHand),
    }
}
