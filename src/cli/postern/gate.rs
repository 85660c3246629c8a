//! Which gate and which key a command means: the profile, what the command line says over it, and where a key comes from.
//!
//! A key goes from its file, standard input or POSTERN_KEY into its own type; every buffer on the way is wiped.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use postern_proto::UserKeys;
use zeroize::Zeroizing;

use super::arguments::NamedGate;
use crate::client::profile::{self, AllowSetting, KeySource, Profile, Profiles, TimeOffset};
use crate::client::{self, Exit, Failure};

const KEY_VARIABLE: &str = "POSTERN_KEY";

/// The profile that a command means, and its keys.
pub(super) fn choose(
    profile: Option<&str>,
    named: NamedGate,
    config: Option<&Path>,
) -> Result<(Profile, UserKeys), Failure> {
    let mut chosen = match (profile, &named.gate) {
        (Some(name), _) => in_config(name, config)?,
        (None, Some(_)) => without_config(&named)?,
        (None, None) => {
            return Err(Failure::new(
                Exit::Usage,
                "no gate is named",
                "name a profile, or a gate with --gate",
            ));
        }
    };
    if let Some(gate) = named.gate {
        chosen.gate = gate;
    }
    if !named.address.is_empty() {
        chosen.addresses = named.address;
    }
    let key = match (named.key_file, named.key_stdin) {
        (Some(path), _) => KeySource::SharedFile(path),
        (None, true) => from_input()?,
        (None, false) => match chosen.key.take() {
            Some(key) => key,
            None => from_environment(&chosen)?,
        },
    };
    let keys = client::user_keys(&chosen.gate, &key)?;
    Ok((chosen, keys))
}

fn in_config(name: &str, config: Option<&Path>) -> Result<Profile, Failure> {
    let (mut profiles, path) = profiles(config)?;
    profiles
        .remove(name)
        .ok_or_else(|| unknown(name, &path, profiles.into_keys().collect()))
}

/// All profiles of the config, and where it lies.
pub(super) fn profiles(config: Option<&Path>) -> Result<(Profiles, PathBuf), Failure> {
    let path = match config {
        Some(path) => path.to_owned(),
        None => profile::default_path().ok_or_else(no_home)?,
    };
    Ok((client::read_config(&path)?, path))
}

/// Nobody knows where the config would be.
pub(super) fn no_home() -> Failure {
    Failure::new(
        Exit::Config,
        "no home folder is set",
        "name the config with --config or POSTERN_CONFIG",
    )
}

fn unknown(name: &str, path: &Path, known: Vec<String>) -> Failure {
    let path = path.display();
    let cure = if known.is_empty() {
        "it has none, add one".to_owned()
    } else {
        format!("it has {}", known.join(", "))
    };
    Failure::new(
        Exit::Config,
        format!("no profile {} in {path}", profile::without_secrets(name)),
        cure,
    )
}

fn without_config(named: &NamedGate) -> Result<Profile, Failure> {
    let gate = named
        .gate
        .clone()
        .ok_or_else(|| Failure::new(Exit::Usage, "no gate is named", "name it with --gate"))?;
    let addresses = match named.address.is_empty() {
        false => Vec::new(),
        true => vec![profile::address_of(&gate).map_err(|_| {
            Failure::new(
                Exit::Usage,
                format!("the gate's name {gate} is not a host"),
                "say with --address where to knock",
            )
        })?],
    };
    Ok(Profile {
        gate,
        addresses,
        key: None,
        services: Vec::new(),
        allow: AllowSetting::Auto,
        duration: None,
        target: None,
        code: None,
        time_offset: TimeOffset::None,
    })
}

fn from_input() -> Result<KeySource, Failure> {
    let text = read_input(1024)?;
    client::shared_key(&text, "standard input").map(KeySource::Shared)
}

fn from_environment(profile: &Profile) -> Result<KeySource, Failure> {
    let Some(text) = std::env::var_os(KEY_VARIABLE) else {
        let what = format!("no key for {}", profile.gate);
        return Err(Failure::new(
            Exit::Usage,
            what,
            "name it in the profile or with --key-file, or put it into POSTERN_KEY",
        ));
    };
    let text = Zeroizing::new(text.into_encoded_bytes());
    client::shared_key(std::str::from_utf8(&text).unwrap_or_default(), KEY_VARIABLE)
        .map(KeySource::Shared)
}

/// Standard input as text, at most `max` bytes of it; the buffer never grows, so that no copy stays behind.
pub(super) fn read_input(max: usize) -> Result<Zeroizing<String>, Failure> {
    let failed = |what: String| {
        Failure::new(
            Exit::Io,
            format!("standard input: {what}"),
            "give it there, or as an argument or file",
        )
    };
    let mut bytes = Zeroizing::new(vec![0; max]);
    let mut filled = 0;
    let mut input = io::stdin().lock();
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => {
                let text = bytes
                    .get(..filled)
                    .and_then(|bytes| std::str::from_utf8(bytes).ok());
                return text
                    .map(|text| Zeroizing::new(text.to_owned()))
                    .ok_or_else(|| failed("it is not text".to_owned()));
            }
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    Err(failed(format!("more than {max} bytes")))
}
