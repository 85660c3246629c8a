//! Enrolment at the client: a key pair whose private half stays here, and profiles from tokens and texts.
//!
//! Writes only beside the client's config, only files that nobody else may read, and nothing over what is there unless that is asked for.

use std::path::{Path, PathBuf};

use postern_proto::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::{Exit, Failure, user_keys};
use crate::adapters::files::{self, FileErrorKind, folder_of};
use crate::adapters::random;
use crate::client::profile::{self, NoSection, Profiles};
use crate::client::token::{Kind, Request, Token, TokenKey, is_profile_name, short_name};

/// Key files that are looked through for the one that belongs to a token.
const KEYS_MAX: usize = 1000;

/// A new key pair.
#[derive(Debug)]
pub struct Enrolment {
    /// Where the private key lies.
    pub file: PathBuf,
    /// What the gate's administrator needs.
    pub request: Request,
}

/// A profile that was written.
#[derive(Debug)]
pub struct Imported {
    /// Its name.
    pub profile: String,
    /// The gate's name.
    pub gate: String,
    /// Who one is there, where the source says so.
    pub user: Option<String>,
    /// Whether it took another one's place.
    pub replaced: bool,
}

/// Makes a key pair in `NAME.key` beside the config.
///
/// # Errors
/// When that file is there or can't be written.
pub fn enroll(config: &Path, name: &str, profile: &str) -> Result<Enrolment, Failure> {
    let folder = folder_of(config);
    files::make_folder(&folder, 0o700).map_err(|error| Failure::writing(&error))?;
    let file = folder.join(format!("{name}.key"));
    let random = random::bytes().map(Zeroizing::new);
    let private = PrivateKey::from_bytes(
        *random
            .map_err(|error| Failure::new(Exit::Io, error, "try again once the system is up"))?,
    );
    let text = private.to_base64();
    let mut line = Zeroizing::new(String::with_capacity(text.len().saturating_add(1)));
    line.push_str(&text);
    line.push('\n');
    files::place_private(&file, line.as_bytes()).map_err(|error| Failure::writing(&error))?;
    Ok(Enrolment {
        file,
        request: Request {
            public_key: private.public(),
            profile: Some(profile.to_owned()),
        },
    })
}

/// Adds the profile that a token or a text in TOML holds to the config; with `replace` also in the place of one that is there.
///
/// # Errors
/// When it is neither, a key is missing, the name is taken, or a file is refused.
pub fn import(
    source: &str,
    config: &Path,
    name: Option<&str>,
    replace: bool,
) -> Result<Imported, Failure> {
    let before = match files::read_private(config) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == FileErrorKind::NotFound => None,
        Err(error) => return Err(Failure::from_file(&error)),
    };
    let known = before.as_ref().map_or("", |text| text.as_str());
    let profiles = profile::parse(known, config)?;
    let (profile, section, user) = match Kind::of(source) {
        Some(_) => from_token(source, config, name, &profiles, replace)?,
        None => from_text(source, name)?,
    };
    let replaced = profiles.contains_key(&profile);
    let text = profile::with_section(known, &profile, &section, replace)
        .map_err(|error| in_the_way(error, &profile, config))?;
    let gate = look_at(&text, config, &profile)?;
    write(config, &text, before.is_some())?;
    Ok(Imported {
        profile,
        gate,
        user,
        replaced,
    })
}

type Section = (String, Zeroizing<String>, Option<String>);

fn from_token(
    source: &str,
    config: &Path,
    name: Option<&str>,
    profiles: &Profiles,
    replace: bool,
) -> Result<Section, Failure> {
    let token = Token::from_line(source).map_err(|error| Failure::said(Exit::Config, error))?;
    let key_file = match &token.key {
        TokenKey::Enrolled { own, .. } => Some(private_key_of(own, &folder_of(config))?),
        TokenKey::Shared(_) | TokenKey::Pair { .. } => None,
    };
    let stem = key_file
        .as_deref()
        .and_then(|file| file.strip_suffix(".key"))
        .filter(|stem| is_profile_name(stem));
    let usual = token
        .profile
        .as_deref()
        .or(stem)
        .map_or_else(|| short_name(token.gate.as_str()), str::to_owned);
    let name = match name {
        Some(name) => name.to_owned(),
        None if replace && !profiles.contains_key(&usual) => {
            only_one_of(&token, profiles).unwrap_or(usual)
        }
        None => usual,
    };
    let section = profile::section(&name, &token, key_file.as_deref().unwrap_or_default());
    Ok((name, section, Some(token.user)))
}

/// What the client calls the gate, where it has exactly one profile of it.
fn only_one_of(token: &Token, profiles: &Profiles) -> Option<String> {
    let mut names = profiles
        .iter()
        .filter(|(name, profile)| profile.gate == token.gate && is_profile_name(name))
        .map(|(name, _)| name);
    names.next().filter(|_| names.next().is_none()).cloned()
}

fn from_text(source: &str, name: Option<&str>) -> Result<Section, Failure> {
    let nothing = || {
        Failure::new(
            Exit::Config,
            "this is neither an enrolment token nor one profile in TOML",
            "give the line postern-… that the gate's administrator sent, or a text with one [NAME] section",
        )
    };
    let (name, section) = profile::renamed(source, name).map_err(|_| nothing())?;
    if !is_profile_name(&name) {
        let what = "the profile's name is no name for a section";
        return Err(Failure::new(
            Exit::Config,
            what,
            "choose one of letters, digits, - and _ with --profile",
        ));
    }
    profile::parse(&section, Path::new("the profile"))?;
    Ok((name, section, None))
}

/// The name of the file beside the config that holds the private key of this public one.
fn private_key_of(public: &PublicKey, folder: &Path) -> Result<String, Failure> {
    let paths = files::files_in(folder, ".key").map_err(|error| Failure::from_file(&error))?;
    let is_it = |path: &&PathBuf| {
        let text = files::read_private(path).ok();
        text.and_then(|text| PrivateKey::from_base64(text.trim()).ok())
            .is_some_and(|key| key.public() == *public)
    };
    let found = paths
        .iter()
        .take(KEYS_MAX)
        .find(is_it)
        .and_then(|path| path.file_name()?.to_str().map(str::to_owned));
    found.ok_or_else(|| {
        let what = format!("this token is for a private key that does not lie in {}", folder.display());
        Failure::new(
            Exit::Config,
            what,
            "import it where postern enroll was run, as the same user, or enroll anew and ask for another token",
        )
    })
}

fn in_the_way(error: NoSection, name: &str, config: &Path) -> Failure {
    let config = config.display();
    match error {
        NoSection::Exists => Failure::new(
            Exit::Failed,
            format!("there is a profile {name} in {config} already"),
            "choose another name with --profile, or have this one take its place with --replace",
        ),
        NoSection::ByHand => Failure::new(
            Exit::Config,
            format!("the profile {name} in {config} is not a section [{name}] of its own"),
            "edit it there, or choose another name with --profile",
        ),
    }
}

/// The whole config as it would be: it must be right, and the new profile's key usable. Returns the gate's name.
fn look_at(text: &str, config: &Path, name: &str) -> Result<String, Failure> {
    let mut profiles = profile::parse(text, config)?;
    let profile = profiles.remove(name).ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            format!("no profile {name} came of it"),
            "edit the config by hand",
        )
    })?;
    if let Some(key) = &profile.key {
        user_keys(&profile.gate, key)?;
    }
    Ok(profile.gate.to_string())
}

/// Behind a symbolic link, the file itself is replaced.
fn write(config: &Path, text: &str, exists: bool) -> Result<(), Failure> {
    let written = if exists {
        let real = std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
        files::write_private(&real, text.as_bytes(), true)
    } else {
        files::make_folder(&folder_of(config), 0o700)
            .and_then(|_| files::place_private(config, text.as_bytes()))
    };
    written.map_err(|error| Failure::writing(&error))
}
