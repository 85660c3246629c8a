//! Adds a user: one file in `users.d`, written after the whole config with it was checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::config_files::{self, ConfigFiles};
use super::keys::{self, KeyChoice};
use super::reload::{ReloadResult, reload};
use super::totp::Totp;
use crate::adapters::clock;
use crate::client::profile::{list, quoted};
use crate::client::token::{ADDRESSES_MAX, LineError, SERVICES_MAX, Token, TokenKey};
use crate::model::endpoint::{DEFAULT_PORT, Endpoint};
use crate::model::exit::{ExitError, FAILED, USAGE};
use crate::model::policy::Policy;
use crate::model::service::Wanted;
use crate::model::settings::{Gate, Settings};
use crate::model::time;

/// Capacity for the longest file of a user, so that the text never moves and leaves no copy of a key.
const MAX_FILE: usize = 1 << 20;

#[derive(Debug, Clone)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) services: Vec<Wanted>,
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) duration: Option<Duration>,
    pub(crate) addresses: Vec<String>,
    pub(crate) key: KeyChoice,
    pub(crate) totp: bool,
}

#[derive(Debug)]
pub(crate) struct Handout {
    pub(crate) file: PathBuf,
    pub(crate) token: Token,
    pub(crate) totp_uri: Option<Zeroizing<String>>,
    pub(crate) reload: ReloadResult,
    pub(crate) notes: Vec<String>,
}

/// Adds a user. Exit 2 for wrong arguments, 78 for an invalid config, 1 if the user exists. Nothing is written then.
pub(crate) fn add(config: &Path, user: &NewUser) -> Result<Handout, ExitError> {
    let mut files = ConfigFiles::open(config)?;
    if let Ok(there) = files.user(&user.name) {
        let (name, file, line) = (&user.name, there.file.display(), there.line);
        let what = format!("user {name} already exists, in {file}:{line}");
        let cure = format!("for a new key: posternd user rotate {name}");
        return Err(ExitError::new(FAILED, format!("{what}; {cure}")));
    }
    let path = files.file_for(&user.name);
    if path.symlink_metadata().is_ok() {
        let what = format!("{} already exists", path.display());
        let cure = "move it away, or choose another name";
        return Err(ExitError::new(FAILED, format!("{what}; {cure}")));
    }
    let addresses = addresses(&files.settings.gate, &user.addresses)?;
    let key = keys::make(&user.key, &files)?;
    let totp = user.totp.then(Totp::make).transpose()?;
    let text = file(user, &key, totp.as_ref());
    let checked = files.check(&path, Some(&text));
    checked.map_err(|stop| about_arguments(stop, &path))?;
    let (gate, policy) = (&files.settings.gate, &files.user(&user.name)?.policy);
    let token = Token {
        code: user.totp,
        ..token(
            &files.settings,
            policy,
            addresses,
            key.token,
            &user.key,
            user.duration,
        )
    };
    // Fail before the file is written if no token can be made.
    token.to_line().map_err(unwritable)?;
    config_files::create(&path, &text)?;
    let totp_uri = totp.map(|totp| totp.uri(&gate.name, &user.name));
    Ok(Handout {
        file: path,
        notes: notes(policy),
        token,
        totp_uri,
        reload: reload(&gate.control_socket),
    })
}

pub(super) fn token(
    settings: &Settings,
    policy: &Policy,
    addresses: Vec<Endpoint>,
    key: TokenKey,
    choice: &KeyChoice,
    duration: Option<Duration>,
) -> Token {
    let profile = match choice {
        KeyChoice::Enrolled { request, .. } => request.profile.clone(),
        KeyChoice::Shared | KeyChoice::Pair { .. } => None,
    };
    Token {
        user: policy.user.to_string(),
        gate: settings.gate_names().of(policy).clone(),
        addresses,
        services: policy.services.iter().take(SERVICES_MAX).cloned().collect(),
        duration,
        grant_to: policy.grant_to,
        quota: policy.quota,
        code: false,
        profile,
        key,
    }
}

pub(super) fn notes(policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    if policy.services.len() > SERVICES_MAX {
        let (most, all) = (SERVICES_MAX, policy.services.len());
        let what = format!("a knock names at most {most} services");
        notes.push(format!(
            "{what}, so the profile has the first {most} of {all}; request the others with -s"
        ));
    }
    if !policy.targets.is_empty() {
        notes.push("request a host behind the gate with: postern knock … --target HOST".to_owned());
    }
    notes
}

pub(super) fn unwritable(error: LineError) -> ExitError {
    ExitError::new(FAILED, format!("no token can be made: {error}"))
}

pub(super) fn addresses(gate: &Gate, given: &[String]) -> Result<Vec<Endpoint>, ExitError> {
    let port = gate.ports.first().copied().unwrap_or(DEFAULT_PORT);
    if given.len() > ADDRESSES_MAX {
        let (times, most) = (given.len(), ADDRESSES_MAX);
        let what = format!("--address is given {times} times, but a profile has at most {most}");
        let what = format!("{what}; give one for each family");
        return Err(ExitError::new(USAGE, what));
    }
    let given = given.iter().map(|text| Endpoint::with_default(text, port));
    let given = given.collect::<Result<Vec<_>, _>>();
    let given = given.map_err(|error| ExitError::new(USAGE, format!("--address: {error}")))?;
    let mut some = [&given, &gate.addresses].into_iter();
    if let Some(some) = some.find(|some| !some.is_empty()) {
        return Ok(some.clone());
    }
    let named = Endpoint::with_default(gate.name.as_str(), port).map(|address| vec![address]);
    named.map_err(|_| {
        let name = gate.name.as_str();
        let what = format!("because the gate's name {name:?} is no host");
        let cure = "give --address HOST, or write address = \"HOST\" in [gate]";
        let what = format!("no address for clients is known, {what}; {cure}");
        ExitError::new(FAILED, what)
    })
}

fn file(user: &NewUser, key: &keys::NewKey, totp: Option<&Totp>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE));
    let mut put = |parts: &[&str]| {
        parts.iter().for_each(|part| text.push_str(part));
        text.push('\n');
    };
    let (made, now) = ("# Made by posternd user add, ", clock::wall().to_string());
    put(&[made, &now, ". After a change: posternd reload"]);
    put(&["name = ", &quoted(&user.name)]);
    for (name, value) in &key.lines {
        put(&[name, " = \"", value, "\""]);
    }
    if let Some(totp) = totp {
        put(&["totp = \"", &totp.secret, "\""]);
    }
    put(&["services = ", &list(&user.services)]);
    if let Some(duration) = user.duration {
        put(&["duration = ", &quoted(&time::human(duration))]);
    }
    for (name, value) in &user.settings {
        put(&[name, " = ", value]);
    }
    text
}

/// Errors in the new file come from the arguments. The file does not exist, so its place is left out.
fn about_arguments(stop: ExitError, path: &Path) -> ExitError {
    let prefix = format!("{}:", path.display());
    let lines = stop.message.lines();
    let lines = lines.map(|line| Some(line.strip_prefix(&prefix)?.split_once(": ")?.1));
    match lines.collect::<Option<Vec<_>>>() {
        Some(lines) => ExitError::new(USAGE, lines.join("\n")),
        None => stop,
    }
}
