//! Enrolment at the client: makes a key pair whose private key stays here, and imports profiles from tokens and TOML.
//!
//! Writes only beside the client's config, and only files that nobody else can read.

use std::path::{Path, PathBuf};

use postern_proto::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::config_file::{ConfigFile, NewSection, WITH_PROFILE};
use super::file_error::{unreadable, unwritable};
use super::keys::no_random_bytes;
use crate::adapters::files::{self, folder_of};
use crate::adapters::random;
use crate::client::profile::{self, Profiles};
use crate::client::token::{EnrollRequest, LineKind, Token, TokenKey, is_profile_name, short_name};
use crate::model::exit::{CONFIG, ExitError};

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
    let file = ConfigFile::read(config)?;
    let profiles = file.profiles()?;
    let new = match LineKind::of(source) {
        Some(_) => from_token(source, config, name, &profiles, replace)?,
        None => from_toml(source, name)?,
    };
    let replaced = profiles.contains_key(&new.name);
    let section = NewSection {
        name: &new.name,
        text: &new.text,
    };
    let all = file.add(&[section], replace, WITH_PROFILE)?;
    let added = all.get(&new.name);
    let addresses = added.iter().flat_map(|added| &added.addresses);
    let services = added.iter().flat_map(|added| &added.services);
    Ok(Imported {
        gate: added.map_or(String::new(), |added| added.gate.to_string()),
        addresses: addresses.map(ToString::to_string).collect(),
        services: services.map(ToString::to_string).collect(),
        profile: new.name,
        user: new.user,
        replaced,
    })
}

struct NewProfile {
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
) -> Result<NewProfile, ExitError> {
    let token = Token::from_line(source).map_err(|error| ExitError::new(CONFIG, error))?;
    let key_file = match &token.key {
        TokenKey::Enrolled { own, .. } => private_key_file(own, &folder_of(config))?,
        TokenKey::Shared(_) | TokenKey::Pair { .. } => String::new(),
    };
    let name = name.map_or_else(
        || default_name(&token, &key_file, profiles, replace),
        str::to_owned,
    );
    Ok(NewProfile {
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

fn from_toml(source: &str, name: Option<&str>) -> Result<NewProfile, ExitError> {
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
    Ok(NewProfile { name, text, user })
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
