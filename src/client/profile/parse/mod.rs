//! From the text of a config to profiles.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_proto::{GateName, PresharedKey, PrivateKey, PublicKey, SharedKey};
use serde::Deserialize;
use toml::Spanned;

use super::allow::AllowSetting;
use super::code::{Ask, CodeSource};
use super::error::{ProfileError, without_secrets};
use super::fwknop::{FwknopError, RawFwknop};
use super::key::{KeySource, PosternKey, PrivateSource, in_toml};
use super::offset::TimeOffset;
use super::one_or_many::OneOrMany;
use super::sequence::SequenceSource;
use crate::model::endpoint::{DEFAULT_PORT, Endpoint, EndpointError, Host};
use crate::model::grant_to::GrantTo;
use crate::model::quota::Quota;
use crate::model::service::Wanted;
use crate::model::time::parse_duration;

pub(crate) type Profiles = BTreeMap<String, Profile>;

/// Which gate to knock at, with which key, and what to ask for.
#[derive(Debug)]
pub struct Profile {
    /// The gate's name, to which the keys are bound.
    pub gate: GateName,
    /// Where knocks go; never empty.
    pub addresses: Vec<Endpoint>,
    /// The key, or keys; `None` if each command brings it.
    pub key: Option<KeySource>,
    /// The ports to hit in place of a packet.
    pub sequence: Option<SequenceSource>,
    /// What to open.
    pub services: Vec<Wanted>,
    /// Which address to allow.
    pub allow: AllowSetting,
    /// For how long; `None` for the gate's default.
    pub duration: Option<Duration>,
    /// The host to reach; `None` for the gate itself.
    pub target: Option<Host>,
    /// The source of the one-time codes, if knocks need them.
    pub code: Option<CodeSource>,
    /// The correction of this machine's clock.
    pub time_offset: TimeOffset,
    /// Which address the gate allows, as far as its administrator has said.
    pub grant_to: GrantTo,
    /// How many knocks the gate admits in a time.
    pub quota: Quota,
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a profile; write every key below the name of a profile, such as [home]"
)]
struct RawProfile {
    gate: Spanned<String>,
    address: Option<Addresses>,
    #[serde(default, deserialize_with = "in_toml")]
    key: Option<SharedKey>,
    key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "in_toml")]
    private_key: Option<PrivateKey>,
    private_key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "in_toml")]
    gate_public_key: Option<PublicKey>,
    #[serde(default, deserialize_with = "in_toml")]
    psk: Option<PresharedKey>,
    fwknop: Option<RawFwknop>,
    sequence: Option<SequenceSource>,
    #[serde(default)]
    services: Vec<Wanted>,
    allow: Option<AllowSetting>,
    duration: Option<GrantLength>,
    target: Option<Host>,
    code: Option<Ask>,
    code_command: Option<Vec<String>>,
    #[serde(default)]
    time_offset: TimeOffset,
    #[serde(default)]
    grant_to: GrantTo,
    #[serde(default)]
    quota: Quota,
}

#[derive(Debug, thiserror::Error)]
enum RuleError {
    #[error("{0} and {1} are both there; keep one")]
    Both(&'static str, &'static str),
    #[error("a shared key and parts of a key pair are both there; keep one kind")]
    MixedKeys,
    #[error("fwknop and a key of Postern are both there; keep one kind")]
    MixedFormats,
    #[error(transparent)]
    Fwknop(#[from] FwknopError),
    #[error("gate_public_key is missing; a key pair needs it, ask the gate's administrator for it")]
    NoGateKey,
    #[error("private_key is missing; make a pair with postern keygen --pair")]
    NoPrivateKey,
    #[error("psk requires private_key and gate_public_key; add them, or remove psk")]
    LonePsk,
    #[error("code_command names no program; write it like [\"/usr/bin/oathtool\", \"--totp\", …]")]
    NoProgram,
    #[error("{0}; write the gate's own name")]
    GateName(String),
    #[error("the gate's name is not a host; add address = \"HOST:PORT\"")]
    NotAHost,
    #[error("address is an empty list; name one, or leave it out")]
    NoAddress,
}

/// Reads the text of a config. Errors name `path`; relative key files are in its folder.
pub fn parse(text: &str, path: &Path) -> Result<Profiles, ProfileError> {
    let raw: BTreeMap<String, Spanned<RawProfile>> =
        toml::from_str(text).map_err(|error| ProfileError::from_toml(path, text, &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut profiles = Profiles::new();
    for (name, raw) in raw {
        let span = raw.span();
        let profile = raw.into_inner().check(span, folder);
        let profile = profile.map_err(|(span, error)| {
            let what = without_secrets(&error.to_string());
            ProfileError::new(path, text, Some(span), format!("profile {name}: {what}"))
        })?;
        profiles.insert(name, profile);
    }
    Ok(profiles)
}

impl RawProfile {
    fn check(
        mut self,
        span: Range<usize>,
        folder: &Path,
    ) -> Result<Profile, (Range<usize>, RuleError)> {
        let at_gate = |error| (self.gate.span(), error);
        let gate = GateName::new(self.gate.get_ref())
            .map_err(|error| at_gate(RuleError::GateName(error.to_string())))?;
        let addresses = match self.address.take() {
            Some(Addresses(addresses)) if addresses.is_empty() => {
                return Err((span, RuleError::NoAddress));
            }
            Some(Addresses(addresses)) => addresses,
            None => vec![address_of(&gate).map_err(|_| at_gate(RuleError::NotAHost))?],
        };
        let key = self.key_source(folder);
        let key = key.map_err(|error| (span.clone(), error))?;
        let code = self.code_source().map_err(|error| (span, error))?;
        Ok(Profile {
            gate,
            addresses,
            key,
            sequence: self.sequence.map(|sequence| sequence.beside(folder)),
            services: self.services,
            allow: self.allow.unwrap_or(AllowSetting::Auto),
            duration: self.duration.map(|GrantLength(length)| length),
            target: self.target,
            code,
            time_offset: self.time_offset,
            grant_to: self.grant_to,
            quota: self.quota,
        })
    }

    fn key_source(&mut self, folder: &Path) -> Result<Option<KeySource>, RuleError> {
        let key = self.postern_key(folder)?;
        match self.fwknop.take() {
            None => Ok(key.map(KeySource::Postern)),
            Some(_) if key.is_some() => Err(RuleError::MixedFormats),
            Some(_) if self.code.is_some() => Err(RuleError::Both("fwknop", "code")),
            Some(_) if self.code_command.is_some() => {
                Err(RuleError::Both("fwknop", "code_command"))
            }
            Some(_) if self.target.is_some() => Err(RuleError::Both("fwknop", "target")),
            Some(fwknop) => Ok(Some(KeySource::Fwknop(fwknop.check(folder)?))),
        }
    }

    fn postern_key(&mut self, folder: &Path) -> Result<Option<PosternKey>, RuleError> {
        let own = match (self.private_key.take(), self.private_key_file.take()) {
            (Some(_), Some(_)) => return Err(RuleError::Both("private_key", "private_key_file")),
            (Some(key), None) => Some(PrivateSource::Key(key)),
            (None, file) => file.map(|file| PrivateSource::File(folder.join(file))),
        };
        let shared = match (self.key.take(), self.key_file.take()) {
            (Some(_), Some(_)) => return Err(RuleError::Both("key", "key_file")),
            (Some(key), None) => Some(PosternKey::Shared(key)),
            (None, file) => file.map(|file| PosternKey::SharedFile(folder.join(file))),
        };
        match (shared, own, self.gate_public_key.take(), self.psk.take()) {
            (shared, None, None, None) => Ok(shared),
            (Some(_), _, _, _) => Err(RuleError::MixedKeys),
            (None, Some(own), Some(gate), psk) => Ok(Some(PosternKey::Pair { own, gate, psk })),
            (None, Some(_), None, _) => Err(RuleError::NoGateKey),
            (None, None, Some(_), _) => Err(RuleError::NoPrivateKey),
            (None, None, None, Some(_)) => Err(RuleError::LonePsk),
        }
    }

    fn code_source(&mut self) -> Result<Option<CodeSource>, RuleError> {
        match (self.code.take(), self.code_command.take()) {
            (None, None) => Ok(None),
            (Some(Ask), None) => Ok(Some(CodeSource::Ask)),
            (Some(Ask), Some(_)) => Err(RuleError::Both("code", "code_command")),
            (None, Some(program)) if program.first().is_none_or(String::is_empty) => {
                Err(RuleError::NoProgram)
            }
            (None, Some(program)) => Ok(Some(CodeSource::Program(program))),
        }
    }
}

/// The default config: `$XDG_CONFIG_HOME/postern/config.toml`; `None` without a home.
pub(crate) fn default_path() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    let folders = etcetera::base_strategy::Xdg::new().ok()?;
    Some(folders.config_dir().join("postern").join("config.toml"))
}

/// A gate's name as its address, with the default port.
pub(crate) fn address_of(gate: &GateName) -> Result<Endpoint, EndpointError> {
    Ok(Endpoint {
        host: gate.as_str().parse()?,
        port: DEFAULT_PORT,
    })
}

/// Why a text is not the length of a grant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrantLengthError {
    #[error("{0}")]
    NotALength(String),
    #[error("\"{0}\" cannot be granted; write 1s or more, or leave it out for the gate's default")]
    OutOfRange(String),
}

/// A length of time that a knock can carry: one second or more, rounded up to whole seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, GrantLengthError> {
    let length =
        parse_duration(text).map_err(|error| GrantLengthError::NotALength(error.to_string()))?;
    let fraction = u64::from(length.subsec_nanos() > 0);
    let seconds = length.as_secs().saturating_add(fraction);
    match u32::try_from(seconds) {
        Ok(1..) => Ok(Duration::from_secs(seconds)),
        _ => Err(GrantLengthError::OutOfRange(text.to_owned())),
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct GrantLength(Duration);

impl TryFrom<String> for GrantLength {
    type Error = GrantLengthError;

    fn try_from(text: String) -> Result<Self, GrantLengthError> {
        duration(&text).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "OneOrMany<Endpoint>")]
struct Addresses(Vec<Endpoint>);

impl TryFrom<OneOrMany<Endpoint>> for Addresses {
    type Error = EndpointError;

    fn try_from(addresses: OneOrMany<Endpoint>) -> Result<Self, EndpointError> {
        match addresses {
            OneOrMany::One(text) => Ok(Self(vec![text.parse()?])),
            OneOrMany::Many(list) => Ok(Self(list)),
        }
    }
}

#[cfg(test)]
mod tests;
