//! The gate and the key of a command, from the profile and the command line.
//!
//! A key goes from its file, standard input or POSTERN_KEY into its own type; every buffer in between is wiped.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use postern_proto::GateName;
use zeroize::Zeroizing;

use super::arguments::NamedGate;
use crate::adapters::files;
use crate::client::profile::{
    self, AllowSetting, KeySource, PosternKey, Profile, Profiles, SequenceSource, TimeOffset,
};
use crate::client::{self, Secrets, Sequence};
use crate::model::exit::{CONFIG, ExitError, IO, USAGE};
use crate::model::grant_to::GrantTo;
use crate::model::quota::Quota;

const KEY_VARIABLE: &str = "POSTERN_KEY";

/// Which way to knock, if a profile has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The key, or else the sequence.
    Any,
    Sequence,
    EncryptedSequence,
}

pub(super) fn choose(
    way: Way,
    profile: Option<&str>,
    named: NamedGate,
    config: Option<&Path>,
) -> Result<(Profile, Secrets), ExitError> {
    let mut chosen = match (profile, &named.gate) {
        (Some(name), _) => in_config(name, config)?,
        (None, Some(gate)) => without_config(gate, &named)?,
        (None, None) => {
            let what = "no gate is named; name a profile, or a gate with --gate";
            return Err(ExitError::new(USAGE, what));
        }
    };
    if let Some(gate) = named.gate {
        chosen.gate = gate;
    }
    if !named.address.is_empty() {
        chosen.addresses = named.address;
    }
    let has_key = chosen.key.is_some() || named.key_file.is_some() || named.key_stdin;
    if way != Way::Any || !has_key && chosen.sequence.is_some() {
        let sequence = sequence(way, chosen.sequence.take())?;
        // A sequence uses no knock port.
        for endpoint in &mut chosen.addresses {
            endpoint.port = 0;
        }
        return Ok((chosen, Secrets::Sequence(sequence)));
    }
    let has_other_keys = matches!(chosen.key, Some(KeySource::Fwknop(_)));
    if has_other_keys && (named.key_file.is_some() || named.key_stdin) {
        let what = "--key-file and --key-stdin give a key of Postern, and the profile has others";
        let cure = "leave them out, or name the gate with --gate in place of the profile";
        return Err(ExitError::new(USAGE, format!("{what}; {cure}")));
    }
    let key = match (named.key_file, named.key_stdin, chosen.key.take()) {
        (Some(path), _, _) => KeySource::Postern(PosternKey::SharedFile(path)),
        (None, true, _) => {
            let text = read_input(1024)?;
            let key = client::shared_key(&text, "standard input")?;
            KeySource::Postern(PosternKey::Shared(key))
        }
        (None, false, Some(key)) => key,
        (None, false, None) => from_environment(&chosen)?,
    };
    let secrets = Secrets::read(&chosen.gate, &key)?;
    Ok((chosen, secrets))
}

fn sequence(way: Way, source: Option<SequenceSource>) -> Result<Sequence, ExitError> {
    let Some(source) = source else {
        let what = "the profile has no sequence";
        let cure =
            "add sequence = { key = \"…\", ports = \"20000-60000\", hits = 6 } as at the gate";
        return Err(ExitError::new(USAGE, format!("{what}; {cure}")));
    };
    let is_encrypted = matches!(source, SequenceSource::Encrypted { .. });
    if way == Way::EncryptedSequence && !is_encrypted {
        let what = "the sequence of the profile is not an encrypted one";
        return Err(ExitError::new(USAGE, format!("{what}; use --sequence")));
    }
    Sequence::read(source)
}

fn in_config(name: &str, config: Option<&Path>) -> Result<Profile, ExitError> {
    let (mut profiles, path) = profiles(config)?;
    profiles.remove(name).ok_or_else(|| {
        let known: Vec<String> = profiles.into_keys().collect();
        let cure = match known.as_slice() {
            [] => "it has none, add one".to_owned(),
            known => format!("it has {}", known.join(", ")),
        };
        let (name, path) = (profile::without_secrets(name), path.display());
        ExitError::new(CONFIG, format!("no profile {name} in {path}; {cure}"))
    })
}

pub(super) fn profiles(config: Option<&Path>) -> Result<(Profiles, PathBuf), ExitError> {
    let path = match config {
        Some(path) => path.to_owned(),
        None => profile::default_path().ok_or_else(no_home)?,
    };
    Ok((client::read_config(&path)?, path))
}

pub(super) fn no_home() -> ExitError {
    let what = "no home folder is set; name the config with --config or POSTERN_CONFIG";
    ExitError::new(CONFIG, what)
}

fn without_config(gate: &GateName, named: &NamedGate) -> Result<Profile, ExitError> {
    let addresses = match profile::address_of(gate) {
        _ if !named.address.is_empty() => Vec::new(),
        Ok(address) => vec![address],
        Err(_) => {
            let what =
                format!("the gate's name {gate} is not a host; name its address with --address");
            return Err(ExitError::new(USAGE, what));
        }
    };
    Ok(Profile {
        gate: gate.clone(),
        addresses,
        key: None,
        sequence: None,
        services: Vec::new(),
        allow: AllowSetting::Auto,
        duration: None,
        target: None,
        code: None,
        time_offset: TimeOffset::default(),
        grant_to: GrantTo::default(),
        quota: Quota::default(),
    })
}

fn from_environment(profile: &Profile) -> Result<KeySource, ExitError> {
    let Some(text) = std::env::var_os(KEY_VARIABLE) else {
        let what = format!("no key for {}", profile.gate);
        let cure = "name it in the profile or with --key-file, or set POSTERN_KEY";
        return Err(ExitError::new(USAGE, format!("{what}; {cure}")));
    };
    let text = Zeroizing::new(text.into_encoded_bytes());
    let text = std::str::from_utf8(&text).unwrap_or_default();
    let key = client::shared_key(text, KEY_VARIABLE)?;
    Ok(KeySource::Postern(PosternKey::Shared(key)))
}

/// Reads standard input as text of less than `max` bytes, into a buffer that never grows.
pub(super) fn read_input(max: usize) -> Result<Zeroizing<String>, ExitError> {
    let failed = |what: &str| {
        let cure = "give the text there, or as an argument or file";
        ExitError::new(IO, format!("standard input: {what}; {cure}"))
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(max));
    let limit = u64::try_from(max).unwrap_or(u64::MAX);
    let read = io::stdin().lock().take(limit).read_to_end(&mut bytes);
    read.map_err(|error| failed(&error.to_string()))?;
    if bytes.len() >= max {
        return Err(failed(&format!("more than {max} bytes")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not text"))?;
    Ok(files::without_mark(Zeroizing::new(text.to_owned())))
}
