//! The config's files while an administrator changes them: read as a whole, locked against other changes, and judged as a whole before
//! anything is written.
//!
//! Holds keys like every bundle: it is dropped, and so wiped, as soon as the change is made.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use postern_proto::PublicKey;
use zeroize::Zeroizing;

use super::keys;
use crate::adapters::config::bundle::{Bundle, BundleFile};
use crate::adapters::config::disk;
use crate::adapters::config::{self, Listed};
use crate::adapters::files;
use crate::model::exit::{CONFIG, ExitError, FAILED, SYSTEM};
use crate::model::settings::Settings;

/// How often it is tried to be the only one who changes users, and how long a pause is between.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// The config of a gate.
#[derive(Debug)]
pub(super) struct ConfigFiles {
    bundle: Bundle,
    pub(super) settings: Settings,
    pub(super) users: Vec<Listed>,
    users_d: PathBuf,
    /// Nobody else changes users while this is there.
    _lock: Option<File>,
}

impl ConfigFiles {
    /// Reads the config, which must be right as it is.
    pub(super) fn read(config: &Path) -> Result<Self, ExitError> {
        let mut bundle = disk::read_bundle(config).map_err(disk::unreadable)?;
        let (settings, users) = disk::complete(&mut bundle, config::settings_and_users)?;
        Ok(Self {
            bundle,
            settings,
            users,
            users_d: users_d(config),
            _lock: None,
        })
    }

    /// The same, to change it: it is read once nobody else is about to change it. Makes `users.d` if it is missing.
    pub(super) fn open(config: &Path) -> Result<Self, ExitError> {
        let users_d = users_d(config);
        if users_d.symlink_metadata().is_err() {
            // Nothing is made for a config that is wrong.
            Self::read(config)?;
        }
        files::make_folder(&users_d, 0o700).map_err(disk::unreadable)?;
        let lock = lock(&users_d)?;
        Ok(Self {
            _lock: Some(lock),
            ..Self::read(config)?
        })
    }

    /// This user.
    pub(super) fn user(&self, name: &str) -> Result<&Listed, ExitError> {
        let found = self.users.iter().find(|user| user.policy.user == name);
        found.ok_or_else(|| {
            ExitError::new(
                FAILED,
                format!("there is no user {name}; see who there is with: posternd user list"),
            )
        })
    }

    /// This user, who must have a file of his own, for only that is changed here; and the file.
    pub(super) fn own_file(&self, name: &str) -> Result<(&Listed, &BundleFile), ExitError> {
        let user = self.user(name)?;
        let file = self
            .bundle
            .users
            .iter()
            .find(|file| user.own_file && file.path == user.file);
        let file = file.ok_or_else(|| {
            let place = format!("{}:{}", user.file.display(), user.line);
            ExitError::new(FAILED, format!("{name} stands in {place}, a file that is not this user's own; edit it there, then: posternd reload"))
        })?;
        Ok((user, file))
    }

    /// Where a new user of this name would stand.
    pub(super) fn file_for(&self, name: &str) -> PathBuf {
        self.users_d.join(format!("{name}.toml"))
    }

    /// The text of a key file that the config names.
    pub(super) fn key_file(&self, path: &Path) -> Option<&str> {
        self.bundle.key_file(path)
    }

    /// The public half of the gate's own key pair.
    pub(super) fn gate_public_key(&self) -> Result<PublicKey, ExitError> {
        let path = config::gate_key_file(&self.bundle).ok_or_else(|| {
            let cure = "make one with posternd init, and name it in [gate]: private_key = \"gate.key\"";
            ExitError::new(CONFIG, format!("users with key pairs need a private key of the gate, and the config names none; {cure}"))
        })?;
        keys::public_of(
            &files::read_private(&path).map_err(disk::unreadable)?,
            &path,
        )
    }

    /// The config as it would be with this text in this file of `users.d`, or without that file: right in every part, or all that is
    /// wrong with it. What is files is that config from then on.
    pub(super) fn judge(&mut self, path: &Path, text: Option<&str>) -> Result<(), ExitError> {
        self.bundle.users.retain(|file| file.path != path);
        if let Some(text) = text {
            self.bundle.users.push(BundleFile {
                path: path.to_owned(),
                text: Zeroizing::new(text.to_owned()),
            });
            self.bundle
                .users
                .sort_by(|one, other| one.path.cmp(&other.path));
        }
        (self.settings, self.users) = disk::complete(&mut self.bundle, config::settings_and_users)?;
        Ok(())
    }
}

/// Puts a changed text into the place of a user's file; behind a symbolic link, of the file itself.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), ExitError> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    files::write_private(&real, text.as_bytes(), true).map_err(disk::unreadable)
}

fn users_d(config: &Path) -> PathBuf {
    files::folder_of(config).join("users.d")
}

/// The lock is a hidden file, which no config is read from.
fn lock(users_d: &Path) -> Result<File, ExitError> {
    let path = users_d.join(".lock");
    let file = files::open_lock(&path)
        .map_err(ExitError::system(format!("opening {}", path.display())))?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => {
                return Err(ExitError::new(
                    SYSTEM,
                    format!("locking {}: {error}", path.display()),
                ));
            }
        }
    }
    Err(ExitError::new(
        FAILED,
        format!(
            "somebody else is changing users ({} is locked); try again when that is done",
            path.display()
        ),
    ))
}
