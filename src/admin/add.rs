//! A new user: one file in `users.d`, written once the whole config with it is known to be right, and what the client is given.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::config_files::ConfigFiles;
use super::keys::{self, KeyChoice};
use super::reload::{Outcome, reload};
use super::totp::Totp;
use crate::adapters::clock;
use crate::adapters::config::disk;
use crate::adapters::files;
use crate::client::token::{ADDRESSES_MAX, LineError, SERVICES_MAX, Token, TokenKey};
use crate::model::endpoint::{DEFAULT_PORT, Endpoint};
use crate::model::exit::{ExitError, FAILED, USAGE};
use crate::model::policy::{GrantTo, Policy};
use crate::model::service::Wanted;
use crate::model::settings::Gate;
use crate::model::time;

/// Room for the longest user's file that a command line makes; no copy of a key stays behind when it is filled.
const FILE_MAX: usize = 1 << 20;

/// What a new user is to have. Texts are the config's to judge.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The name, which is a user's name by its form.
    pub name: String,
    /// What the user may open, at least one.
    pub services: Vec<Wanted>,
    /// Keys of the config beside name, key and services, and their values as TOML writes them; those not given have their defaults.
    pub settings: Vec<(&'static str, String)>,
    /// Granted when a knock asks for none; the profile then asks for none.
    pub duration: Option<Duration>,
    /// Where the client sends to, the gate's own port where one names none; empty: what the config says.
    pub addresses: Vec<String>,
    /// Which kind of key.
    pub key: KeyChoice,
    /// Whether one-time codes are asked for, too.
    pub totp: bool,
}

/// What came of adding a user, or of giving a user a new key.
#[derive(Debug)]
pub struct Handout {
    /// The user's file.
    pub file: PathBuf,
    /// What the client is given.
    pub token: Token,
    /// The URI for authenticator programs, where one-time codes are asked for.
    pub totp_uri: Option<Zeroizing<String>>,
    /// What became of the reload.
    pub reload: Outcome,
    /// What the administrator should know besides.
    pub notes: Vec<String>,
}

/// Adds a user.
///
/// # Errors
/// Exit 2 for what the command line says wrong, 78 for a config that is wrong as it is, 1 where there is such a user; nothing is written then.
pub fn add(config: &Path, user: &NewUser) -> Result<Handout, ExitError> {
    let mut files = ConfigFiles::open(config)?;
    if let Some(there) = files
        .users
        .iter()
        .find(|there| there.policy.user == user.name)
    {
        let what = format!(
            "user {} is there already, in {}:{}",
            user.name,
            there.file.display(),
            there.line
        );
        return Err(ExitError::new(
            FAILED,
            format!("{what}; for a new key: posternd user rotate {}", user.name),
        ));
    }
    let path = files.file_for(&user.name);
    if path.symlink_metadata().is_ok() {
        return Err(ExitError::new(
            FAILED,
            format!(
                "{} is there already; move it away, or choose another name",
                path.display()
            ),
        ));
    }
    let addresses = addresses(&files.settings.gate, &user.addresses)?;
    let key = keys::make(&user.key, &files)?;
    let totp = user.totp.then(Totp::make).transpose()?;
    let text = file(user, &key, totp.as_ref());
    files
        .judge(&path, Some(&text))
        .map_err(|stop| told_by_options(stop, &path))?;
    let (gate, policy) = (&files.settings.gate, &files.user(&user.name)?.policy);
    let token = Token {
        code: user.totp,
        ..token(gate, policy, addresses, key.token, &user.key, user.duration)
    };
    // A token that can't be written must be known before the user is there.
    token.to_line().map_err(unwritable)?;
    files::place_private(&path, text.as_bytes()).map_err(disk::unreadable)?;
    let totp_uri = totp.map(|totp| totp.uri(&gate.name, &user.name));
    Ok(Handout {
        file: path,
        notes: notes(policy),
        token,
        totp_uri,
        reload: reload(&gate.control_socket),
    })
}

/// What the client is given.
pub(super) fn token(
    gate: &Gate,
    policy: &Policy,
    addresses: Vec<Endpoint>,
    key: TokenKey,
    wish: &KeyChoice,
    duration: Option<Duration>,
) -> Token {
    let profile = match wish {
        KeyChoice::Enrolled { request, .. } => request.profile.clone(),
        KeyChoice::Shared | KeyChoice::Pair { .. } => None,
    };
    Token {
        user: policy.user.clone(),
        gate: gate.name.clone(),
        addresses,
        services: policy.services.iter().take(SERVICES_MAX).cloned().collect(),
        duration,
        source_only: policy.grant_to == GrantTo::Observed,
        code: false,
        profile,
        key,
    }
}

pub(super) fn notes(policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    if policy.services.len() > SERVICES_MAX {
        let what = format!(
            "a knock can ask for {SERVICES_MAX} services, so the profile names the first {SERVICES_MAX}"
        );
        notes.push(format!(
            "{what} of {}; the others are asked for with -s",
            policy.services.len()
        ));
    }
    if !policy.targets.is_empty() {
        notes.push(
            "hosts behind the gate are asked for with: postern knock … --target HOST".to_owned(),
        );
    }
    notes
}

pub(super) fn unwritable(error: LineError) -> ExitError {
    ExitError::new(FAILED, format!("no token can be made: {error}"))
}

/// Where a client sends to: as the command says, as the config says, or to the gate's own name.
pub(super) fn addresses(gate: &Gate, given: &[String]) -> Result<Vec<Endpoint>, ExitError> {
    let port = gate.ports.first().copied().unwrap_or(DEFAULT_PORT);
    if given.len() > ADDRESSES_MAX {
        let what = format!(
            "--address is given {} times, and a profile has at most {ADDRESSES_MAX}",
            given.len()
        );
        return Err(ExitError::new(
            USAGE,
            format!("{what}; one for each family will do"),
        ));
    }
    let given = given
        .iter()
        .map(|text| Endpoint::with_default(text, port))
        .collect::<Result<Vec<_>, _>>();
    let given = given.map_err(|error| ExitError::new(USAGE, format!("--address: {error}")))?;
    if let Some(some) = [&given, &gate.addresses]
        .into_iter()
        .find(|some| !some.is_empty())
    {
        return Ok(some.clone());
    }
    let named = Endpoint::with_default(gate.name.as_str(), port).map(|address| vec![address]);
    named.map_err(|_| {
        let cure = "say --address HOST, or write address = \"HOST\" in [gate]";
        ExitError::new(
            FAILED,
            format!(
                "nobody knows where clients send to, for the gate's name {:?} is no host; {cure}",
                gate.name.as_str()
            ),
        )
    })
}

/// The text of the user's file.
fn file(user: &NewUser, key: &keys::NewKey, totp: Option<&Totp>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(FILE_MAX));
    let mut put = |parts: &[&str]| {
        parts
            .iter()
            .chain(&["\n"])
            .for_each(|part| text.push_str(part))
    };
    put(&[
        "# Made by posternd user add, ",
        &clock::wall().to_string(),
        ". After a change: posternd reload",
    ]);
    put(&["name = ", &quoted(&user.name)]);
    for (name, value) in &key.lines {
        put(&[name, " = \"", value, "\""]);
    }
    if let Some(totp) = totp {
        put(&["totp = \"", &totp.secret, "\""]);
    }
    put(&["services = ", &list(user.services.iter())]);
    if let Some(duration) = user.duration {
        put(&["duration = ", &quoted(&time::human(duration))]);
    }
    for (name, value) in &user.settings {
        put(&[name, " = ", value]);
    }
    text
}

/// A text as TOML writes it.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A list of texts as TOML writes it.
pub fn list<T: std::fmt::Display>(values: impl Iterator<Item = T>) -> String {
    format!(
        "[{}]",
        values
            .map(|value| quoted(&value.to_string()))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// What is wrong in the new file was said on the command line, and the file is not there to look into.
fn told_by_options(stop: ExitError, path: &Path) -> ExitError {
    let prefix = format!("{}:", path.display());
    let told: Option<Vec<&str>> = stop
        .message
        .lines()
        .map(|line| Some(line.strip_prefix(&prefix)?.split_once(": ")?.1))
        .collect();
    match told {
        Some(lines) => ExitError::new(USAGE, lines.join("\n")),
        None => stop,
    }
}
