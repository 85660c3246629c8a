//! Enrolment at the client: makes a key pair whose private key stays here, and imports profiles from tokens and TOML.
//!
//! Writes only beside the client's config, and only files that nobody else can read.

use std::path::{Path, PathBuf};

use postern_proto::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::file_error::{unreadable, unwritable};
use super::keys::no_random_bytes;
use super::secrets::Secrets;
use crate::adapters::files::{self, FileErrorKind, folder_of};
use crate::adapters::random;
use crate::client::profile::{self, Profile, Profiles, SectionError};
use crate::client::token::{EnrollRequest, LineKind, Token, TokenKey, is_profile_name, short_name};
use crate::model::exit::{CONFIG, ExitError, FAILED};

/// The most key files that are searched for the key of a token.
const KEYS_MAX: usize = 1000;

#[derive(Debug)]
pub(crate) struct Enrolled {
    pub(crate) file: PathBuf,
    pub(crate) request: EnrollRequest,
}

#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) profile: String,
    pub(crate) gate: String,
    pub(crate) user: Option<String>,
    pub(crate) replaced: bool,
    pub(crate) addresses: Vec<String>,
    pub(crate) services: Vec<String>,
}

pub(crate) fn enroll(config: &Path, name: &str, profile: &str) -> Result<Enrolled, ExitError> {
    let folder = folder_of(config);
    files::make_folder(&folder, 0o700).map_err(|error| unwritable(&error))?;
    let file = folder.join(format!("{name}.key"));
    let random = Zeroizing::new(random::bytes().map_err(no_random_bytes)?);
    let private = PrivateKey::from_bytes(*random);
    let text = private.to_base64();
    let line = Zeroizing::new([text.as_bytes(), b"\n"].concat());
    files::write_private(&file, &line, false).map_err(|error| unwritable(&error))?;
    let request = EnrollRequest {
        public_key: private.public(),
        profile: Some(profile.to_owned()),
    };
    Ok(Enrolled { file, request })
}

/// Adds the profile of a token or of a TOML text to the config. With `replace`, an existing profile is replaced.
pub(crate) fn import(
    source: &str,
    config: &Path,
    name: Option<&str>,
    replace: bool,
) -> Result<Imported, ExitError> {
    let before = match files::read_private(config) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == FileErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&error)),
    };
    let old = before.as_ref().map_or("", |text| text.as_str());
    let profiles = profile::parse(old, config)?;
    let new = match LineKind::of(source) {
        Some(_) => from_token(source, config, name, &profiles, replace)?,
        None => from_toml(source, name)?,
    };
    let replaced = profiles.contains_key(&new.name);
    let text = profile::with_section(old, &new.name, &new.text, replace)
        .map_err(|error| cannot_add(error, &new.name, config))?;
    let added = check(&text, config, &new.name)?;
    write(config, &text, before.is_some())?;
    Ok(Imported {
        profile: new.name,
        gate: added.gate.to_string(),
        user: new.user,
        replaced,
        addresses: added.addresses.iter().map(ToString::to_string).collect(),
        services: added.services.iter().map(ToString::to_string).collect(),
    })
}

struct NewSection {
    name: String,
    text: Zeroizing<String>,
    user: Option<String>,
}

fn from_token(
    source: &str,
    config: &Path,
    name: Option<&str>,
    profiles: &Profiles,
    replace: bool,
) -> Result<NewSection, ExitError> {
    let token = Token::from_line(source).map_err(|error| ExitError::new(CONFIG, error))?;
    let key_file = match &token.key {
        TokenKey::Enrolled { own, .. } => private_key_file(own, &folder_of(config))?,
        TokenKey::Shared(_) | TokenKey::Pair { .. } => String::new(),
    };
    let name = name.map_or_else(
        || default_name(&token, &key_file, profiles, replace),
        str::to_owned,
    );
    Ok(NewSection {
        text: profile::section(&name, &token, &key_file),
        name,
        user: Some(token.user),
    })
}

/// The name from the request, the key file or the gate, in this order.
/// A replacement of another name takes the only profile of the gate.
fn default_name(token: &Token, key_file: &str, profiles: &Profiles, replace: bool) -> String {
    let from_file = key_file.strip_suffix(".key");
    let from_file = from_file.filter(|stem| is_profile_name(stem));
    let usual = token.profile.as_deref().or(from_file);
    let usual = usual.map_or_else(|| short_name(token.gate.as_str()), str::to_owned);
    let mut of_gate = profiles
        .iter()
        .filter(|(name, profile)| profile.gate == token.gate && is_profile_name(name));
    match (of_gate.next(), of_gate.next()) {
        (Some((only, _)), None) if replace && !profiles.contains_key(&usual) => only.clone(),
        _ => usual,
    }
}

fn from_toml(source: &str, name: Option<&str>) -> Result<NewSection, ExitError> {
    let (name, text) = profile::renamed(source, name).map_err(|_| {
        let what = "this is neither an enrolment token nor one profile in TOML; \
            give the line postern-… from the gate's administrator, or a text with one [NAME] section";
        ExitError::new(CONFIG, what)
    })?;
    if !is_profile_name(&name) {
        let what = "the profile's name cannot be the name of a section";
        let cure = "choose one of letters, digits, - and _ with --profile";
        return Err(ExitError::new(CONFIG, format!("{what}; {cure}")));
    }
    profile::parse(&text, Path::new("the profile"))?;
    if let Some(key) = profile::unexpected_key(&text) {
        let what = format!("the profile sets {key}, which no administrator's command writes");
        let cure = "if you trust it, add the profile to the config by hand";
        return Err(ExitError::new(CONFIG, format!("{what}; {cure}")));
    }
    let user = None;
    Ok(NewSection { name, text, user })
}

/// The name of the file beside the config that holds the private key of this public key.
fn private_key_file(public: &PublicKey, folder: &Path) -> Result<String, ExitError> {
    let paths = files::files_in(folder, ".key").map_err(|error| unreadable(&error))?;
    let has_key = |path: &&PathBuf| {
        let text = files::read_private(path).ok();
        text.and_then(|text| PrivateKey::from_base64(text.trim()).ok())
            .is_some_and(|key| key.public() == *public)
    };
    let found = paths.iter().take(KEYS_MAX).find(has_key);
    let name = found.and_then(|path| path.file_name()?.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        let folder = folder.display();
        let what = format!("the private key of this token is not in {folder}");
        let cure = "import it where postern enroll was run, as the same user, or enroll again";
        ExitError::new(CONFIG, format!("{what}; {cure}"))
    })
}

fn cannot_add(error: SectionError, name: &str, config: &Path) -> ExitError {
    let config = config.display();
    let (code, what, cure) = match error {
        SectionError::Exists => (
            FAILED,
            format!("there is a profile {name} in {config} already"),
            "choose another name with --profile, or replace it with --replace",
        ),
        SectionError::NotASection => (
            CONFIG,
            format!("the profile {name} in {config} is not a section [{name}] of its own"),
            "edit the file, or choose another name with --profile",
        ),
    };
    ExitError::new(code, format!("{what}; {cure}"))
}

/// Checks the config as it will be, and the key of the new profile. Returns that profile.
fn check(text: &str, config: &Path, name: &str) -> Result<Profile, ExitError> {
    let mut profiles = profile::parse(text, config)?;
    let profile = profiles.remove(name).ok_or_else(|| {
        let what = format!("cannot add profile {name}; edit the config by hand");
        ExitError::new(FAILED, what)
    })?;
    if let Some(key) = &profile.key {
        Secrets::read(&profile.gate, key)?;
    }
    Ok(profile)
}

/// Writes the config; a symbolic link stays and its target is replaced.
fn write(config: &Path, text: &str, exists: bool) -> Result<(), ExitError> {
    let written = if exists {
        let real = std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
        files::write_private(&real, text.as_bytes(), true)
    } else {
        files::make_folder(&folder_of(config), 0o700)
            .and_then(|_| files::write_private(config, text.as_bytes(), false))
    };
    written.map_err(|error| unwritable(&error))
}
