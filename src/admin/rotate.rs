//! A new key for a user, while the old one counts for a stated time, so that the client can change over when it likes.
//!
//! Only the user's own file is changed, and in it only the lines about keys.

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
use crate::adapters::config::{Change, KeyKind, Listed, edited, text_of};
use crate::client::token::{EnrollRequest, Token};
use crate::model::exit::{ExitError, FAILED, USAGE};
use crate::model::time::Timestamp;

/// What the new key is to be.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The user.
    pub name: String,
    /// What the client sent, where it has made a key pair.
    pub request: Option<EnrollRequest>,
    /// Whether a pair is made here.
    pub pair: bool,
    /// Whether a pre-shared key is mixed in; a user who had one gets one in any case.
    pub psk: bool,
    /// How long the old key counts beside the new one.
    pub keep_old: Duration,
    /// Where the client sends to, the gate's own port where one names none; empty: what the config says.
    pub addresses: Vec<String>,
}

/// Lines that tell of keys, and so go or change.
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

/// Gives a user a new key. Returns what the client is given, and when the old key ends.
///
/// # Errors
/// As `disable`; exit 2 where a user with a key pair gets no word about the new one.
pub fn rotate(
    config: &Path,
    rotation: &Rotation,
) -> Result<(Handout, Option<Timestamp>), ExitError> {
    let mut files = ConfigFiles::open(config)?;
    let (user, file) = files.own_file(&rotation.name)?;
    let (user, addresses) = (
        user.clone(),
        addresses(&files.settings.gate, &rotation.addresses)?,
    );
    let wish = wish(rotation, &user)?;
    let key = keys::make(&wish, &files)?;
    let now = clock::wall();
    let until = (!rotation.keep_old.is_zero()).then(|| whole_seconds(now.plus(rotation.keep_old)));
    let path = file.path.clone();
    let text = changed(&files, &user, file, &key.lines, until).ok_or_else(|| by_hand(&path))?;
    files.judge(&path, Some(&text))?;
    let after = files.user(&rotation.name)?;
    if after.old.as_ref().map(|(_, end)| *end) != until || after.disabled != user.disabled {
        return Err(by_hand(&path));
    }
    let duration =
        (user.policy.duration != default_duration(&user)).then_some(user.policy.duration);
    let token = Token {
        code: after.totp,
        ..token(
            &files.settings.gate,
            &after.policy,
            addresses,
            key.token,
            &wish,
            duration,
        )
    };
    token.to_line().map_err(unwritable)?;
    replace(&path, &text)?;
    let mut notes = notes(&after.policy);
    notes.extend(user.old.filter(|(_, end)| *end > now).map(|(_, end)| {
        format!("the key before that one, which counted until {end}, counts no more")
    }));
    if let KeyKind::SharedFile(file) = &user.key {
        notes.push(format!(
            "the old key's file {} is not read any more; remove it",
            file.display()
        ));
    }
    let reload = reload(&files.settings.gate.control_socket);
    Ok((
        Handout {
            file: path,
            token,
            totp_uri: None,
            reload,
            notes,
        },
        until,
    ))
}

/// The same kind of key as before, unless the command says another.
fn wish(rotation: &Rotation, user: &Listed) -> Result<KeyChoice, ExitError> {
    let had_psk = matches!(user.key, KeyKind::Pair { psk: true, .. });
    let psk = rotation.psk || had_psk;
    match (&rotation.request, rotation.pair, &user.key) {
        (Some(request), _, KeyKind::Pair { public, .. }) if request.public_key == *public => {
            let what = format!(
                "this request is for the key that {} has already",
                rotation.name
            );
            Err(ExitError::new(
                FAILED,
                format!("{what}; have postern enroll make another one at the client"),
            ))
        }
        (Some(request), ..) => Ok(KeyChoice::Enrolled {
            request: request.clone(),
            psk,
        }),
        (None, true, _) => Ok(KeyChoice::Pair { psk }),
        (None, false, KeyKind::Pair { .. }) => {
            let what = format!(
                "{} has a key pair, and its new private key is best made at the client",
                rotation.name
            );
            Err(ExitError::new(
                USAGE,
                format!(
                    "{what}; run postern enroll there and say --request LINE, or make it here with --pair"
                ),
            ))
        }
        (None, false, KeyKind::Shared | KeyKind::SharedFile(_)) if rotation.psk => {
            Err(ExitError::new(
                USAGE,
                "a pre-shared key only strengthens a key pair; say --request LINE or --pair, or leave --psk out",
            ))
        }
        (None, false, KeyKind::Shared | KeyKind::SharedFile(_)) => Ok(KeyChoice::Shared),
    }
}

/// The user's file with the new key, and the present one as the old one.
fn changed(
    files: &ConfigFiles,
    user: &Listed,
    file: &BundleFile,
    new: &[(&str, KeyText)],
    until: Option<Timestamp>,
) -> Option<Zeroizing<String>> {
    let text = |key: &str| text_of(file, key);
    let old: Vec<(&str, Zeroizing<String>)> = match (until, &user.key) {
        (None, _) => Vec::new(),
        (Some(_), KeyKind::Shared) => vec![("old_key", text("key")?)],
        (Some(_), KeyKind::SharedFile(path)) => vec![(
            "old_key",
            Zeroizing::new(files.key_file(path)?.trim_end().to_owned()),
        )],
        (Some(_), KeyKind::Pair { psk, .. }) => {
            let psk = if *psk {
                Some(("old_psk", text("psk")?))
            } else {
                None
            };
            std::iter::once(("old_public_key", text("public_key")?))
                .chain(psk)
                .collect()
        }
    };
    let end = until.map(|until| until.to_string());
    let lines: Vec<(&str, Zeroizing<String>)> = new
        .iter()
        .map(|(key, value)| (*key, in_quotes(value)))
        .chain(old.iter().map(|(key, value)| (*key, in_quotes(value))))
        .chain(end.map(|end| ("old_until", Zeroizing::new(end))))
        .collect();
    // What stays is changed in its place, and the rest goes first. New lines come behind the name, so the last is set first.
    let goes = KEY_LINES
        .iter()
        .filter(|key| !lines.iter().any(|(line, _)| line == *key))
        .map(|key| Change::Take(key));
    let sets = lines
        .iter()
        .rev()
        .map(|(key, value)| Change::Set(key, value));
    edited(file, &goes.chain(sets).collect::<Vec<_>>())
}

fn in_quotes(text: &str) -> Zeroizing<String> {
    let mut quoted = Zeroizing::new(String::with_capacity(text.len().saturating_add(2)));
    ["\"", text, "\""]
        .iter()
        .for_each(|part| quoted.push_str(part));
    quoted
}

/// What a user has who is given none, with the maximum that this one has.
fn default_duration(user: &Listed) -> Duration {
    let plain = crate::model::policy::Policy::for_user("", Vec::new());
    plain.duration.min(user.policy.max_duration)
}

/// The next whole second, as a config writes it.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis().div_ceil(1000).saturating_mul(1000))
}
