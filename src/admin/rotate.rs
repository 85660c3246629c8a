//! Gives a user a new key. The old key works for a stated time, so that the client can change over.
//!
//! Changes only the key lines of the user's own file.

use std::path::Path;
use std::time::Duration;

use postern_proto::KeyText;
use zeroize::Zeroizing;

use super::add::{Handout, addresses, notes, token, unwritable};
use super::change::by_hand;
use super::config_files::{ConfigFiles, replace};
use super::keys::{self, KeyChoice};
use super::reload::reload;
use crate::adapters::clock;
use crate::adapters::config::bundle::BundleFile;
use crate::adapters::config::{Edit, KeyKind, Listed, edited, text_of};
use crate::client::token::{EnrollRequest, Token};
use crate::model::exit::{ExitError, FAILED, USAGE};
use crate::model::time::Timestamp;

#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    pub(crate) name: String,
    pub(crate) request: Option<EnrollRequest>,
    pub(crate) pair: bool,
    pub(crate) psk: bool,
    pub(crate) keep_old: Duration,
    pub(crate) addresses: Vec<String>,
}

const KEY_LINES: [&str; 8] = [
    "key",
    "key_file",
    "public_key",
    "psk",
    "old_key",
    "old_public_key",
    "old_psk",
    "old_until",
];

pub(crate) fn rotate(
    config: &Path,
    rotation: &Rotation,
) -> Result<(Handout, Option<Timestamp>), ExitError> {
    let mut files = ConfigFiles::open(config)?;
    let (user, file) = files.own_file(&rotation.name)?;
    let user = user.clone();
    let addresses = addresses(&files.settings.gate, &rotation.addresses)?;
    let choice = key_choice(rotation, &user)?;
    let key = keys::make(&choice, &files)?;
    let now = clock::wall();
    let until = (!rotation.keep_old.is_zero()).then(|| whole_seconds(now.plus(rotation.keep_old)));
    let path = file.path.clone();
    let text = changed(&files, &user, file, &key.lines, until).ok_or_else(|| by_hand(&path))?;
    files.check(&path, Some(&text))?;
    let after = files.user(&rotation.name)?;
    if after.old.as_ref().map(|(_, end)| *end) != until || after.disabled != user.disabled {
        return Err(by_hand(&path));
    }
    let duration = Some(user.policy.duration).filter(|length| *length != default_duration(&user));
    let policy = &after.policy;
    let token = Token {
        code: after.totp,
        ..token(
            &files.settings,
            policy,
            addresses,
            key.token,
            &choice,
            duration,
        )
    };
    token.to_line().map_err(unwritable)?;
    replace(&path, &text)?;
    let mut notes = notes(&after.policy);
    notes.extend(user.old.filter(|(_, end)| *end > now).map(|(_, end)| {
        format!("an older key, which would have worked until {end}, no longer works")
    }));
    if let KeyKind::SharedFile(file) = &user.key {
        let file = file.display();
        notes.push(format!(
            "the old key's file {file} is no longer used; remove it"
        ));
    }
    let handout = Handout {
        file: path,
        token,
        totp_uri: None,
        reload: reload(&files.settings.gate.control_socket),
        notes,
    };
    Ok((handout, until))
}

fn key_choice(rotation: &Rotation, user: &Listed) -> Result<KeyChoice, ExitError> {
    let had_psk = matches!(user.key, KeyKind::Pair { psk: true, .. });
    let (name, psk) = (&rotation.name, rotation.psk || had_psk);
    match (&rotation.request, rotation.pair, &user.key) {
        (_, _, KeyKind::Fwknop { .. }) => {
            let what =
                format!("{name} knocks with a client of fwknop, whose keys are not made here");
            let file = user.file.display();
            let cure = format!(
                "change fwknop = {{…}} in {file} and the client's .fwknoprc, then: posternd reload"
            );
            Err(ExitError::new(USAGE, format!("{what}; {cure}")))
        }
        (_, _, KeyKind::Sequence(_)) => {
            let file = user.file.display();
            let what = format!("{name} knocks with a sequence, which is not made here");
            let cure =
                format!("change sequence in {file} and at the client, then: posternd reload");
            Err(ExitError::new(USAGE, format!("{what}; {cure}")))
        }
        (Some(request), _, KeyKind::Pair { public, .. }) if request.public_key == *public => {
            let what = format!("this request has the key that {name} already has");
            let cure = "make another one at the client with: postern enroll";
            Err(ExitError::new(FAILED, format!("{what}; {cure}")))
        }
        (Some(request), ..) => Ok(KeyChoice::Enrolled {
            request: request.clone(),
            psk,
        }),
        (None, true, _) => Ok(KeyChoice::Pair { psk }),
        (None, false, KeyKind::Pair { .. }) => {
            let what = format!("{name} has a key pair; the client should make the new private key");
            let cure =
                "run postern enroll there and give --request LINE, or make it here with --pair";
            Err(ExitError::new(USAGE, format!("{what}: {cure}")))
        }
        (None, false, KeyKind::Shared | KeyKind::SharedFile(_)) if rotation.psk => {
            Err(keys::psk_alone())
        }
        (None, false, KeyKind::Shared | KeyKind::SharedFile(_)) => Ok(KeyChoice::Shared),
    }
}

fn changed(
    files: &ConfigFiles,
    user: &Listed,
    file: &BundleFile,
    new: &[(&str, KeyText)],
    until: Option<Timestamp>,
) -> Option<Zeroizing<String>> {
    let text = |key: &str| text_of(file, key);
    let old: Vec<(&str, Zeroizing<String>)> = match (until, &user.key) {
        (None, _) | (Some(_), KeyKind::Fwknop { .. } | KeyKind::Sequence(_)) => Vec::new(),
        (Some(_), KeyKind::Shared) => vec![("old_key", text("key")?)],
        (Some(_), KeyKind::SharedFile(path)) => {
            let key = Zeroizing::new(files.key_file(path)?.trim_end().to_owned());
            vec![("old_key", key)]
        }
        (Some(_), KeyKind::Pair { psk, .. }) => {
            let mut old = vec![("old_public_key", text("public_key")?)];
            if *psk {
                old.push(("old_psk", text("psk")?));
            }
            old
        }
    };
    let new = new.iter().map(|(key, value)| (*key, in_quotes(value)));
    let old = old.iter().map(|(key, value)| (*key, in_quotes(value)));
    let mut lines: Vec<(&str, Zeroizing<String>)> = new.chain(old).collect();
    lines.extend(until.map(|until| ("old_until", Zeroizing::new(until.to_string()))));
    // First remove lines, then change the others in place. New lines come after the name, so the last is set first.
    let unused = |key: &&&str| !lines.iter().any(|(line, _)| line == *key);
    let removals = KEY_LINES.iter().filter(unused).map(|key| Edit::Remove(key));
    let sets = lines.iter().rev().map(|(key, value)| Edit::Set(key, value));
    edited(file, &removals.chain(sets).collect::<Vec<_>>())
}

fn in_quotes(text: &str) -> Zeroizing<String> {
    let mut quoted = Zeroizing::new(String::with_capacity(text.len().saturating_add(2)));
    for part in ["\"", text, "\""] {
        quoted.push_str(part);
    }
    quoted
}

fn default_duration(user: &Listed) -> Duration {
    let plain = crate::model::policy::Policy::for_user("", Vec::new());
    plain.duration.min(user.policy.max_duration)
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis().div_ceil(1000).saturating_mul(1000))
}
