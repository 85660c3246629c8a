//! The one reader and writer of config files for commands that change them.
//!
//! Locks them against other changes, and checks the whole config before it writes. The bundle holds keys and wipes them on drop.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use postern_proto::{PrivateKey, PublicKey};

use crate::adapters::config::bundle::{Bundle, BundleFile};
use crate::adapters::config::disk;
use crate::adapters::config::{self, Listed};
use crate::adapters::files;
use crate::model::exit::{CONFIG, ExitError, FAILED, SYSTEM};
use crate::model::settings::Settings;

const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn users(config: &Path) -> Result<Vec<Listed>, ExitError> {
    ConfigFiles::read(config).map(|files| files.users)
}

pub(crate) fn user(config: &Path, name: &str) -> Result<Listed, ExitError> {
    ConfigFiles::read(config)?.user(name).cloned()
}

#[derive(Debug)]
pub(super) struct ConfigFiles {
    bundle: Bundle,
    pub(super) settings: Settings,
    pub(super) users: Vec<Listed>,
    users_d: PathBuf,
    _lock: Option<File>,
}

impl ConfigFiles {
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

    pub(super) fn open(config: &Path) -> Result<Self, ExitError> {
        let users_d = users_d(config);
        if users_d.symlink_metadata().is_err() {
            // Make nothing for an invalid config.
            Self::read(config)?;
        }
        files::make_folder(&users_d, 0o700).map_err(disk::unreadable)?;
        let lock = lock(&users_d)?;
        Ok(Self {
            _lock: Some(lock),
            ..Self::read(config)?
        })
    }

    pub(super) fn user(&self, name: &str) -> Result<&Listed, ExitError> {
        let found = self.users.iter().find(|user| user.policy.user == name);
        found.ok_or_else(|| {
            let what = format!("there is no user {name}; list users with: posternd user list");
            ExitError::new(FAILED, what)
        })
    }

    pub(super) fn own_file(&self, name: &str) -> Result<(&Listed, &BundleFile), ExitError> {
        let user = self.user(name)?;
        let mut files = self.bundle.users.iter();
        let file = files.find(|file| user.own_file && file.path == user.file);
        let file = file.ok_or_else(|| {
            let roster = self.bundle.roster.as_ref();
            if roster.is_some_and(|part| part.path == user.file) {
                let cure = "change it there, with posternd roster, then sign and apply it";
                return ExitError::new(FAILED, format!("{name} is in the roster; {cure}"));
            }
            let place = format!("{}:{}", user.file.display(), user.line);
            let cure = "edit that file, then: posternd reload";
            let what = format!("{name} is in {place}, beside other settings; {cure}");
            ExitError::new(FAILED, what)
        })?;
        Ok((user, file))
    }

    pub(super) fn file_for(&self, name: &str) -> PathBuf {
        self.users_d.join(format!("{name}.toml"))
    }

    pub(super) fn key_file(&self, path: &Path) -> Option<&str> {
        self.bundle.key_file(path)
    }

    pub(super) fn gate_public_key(&self) -> Result<PublicKey, ExitError> {
        let path = config::gate_key_file(&self.bundle).ok_or_else(|| {
            let cure = "make one with posternd init, and name it in [gate]: private_key = \"gate.key\"";
            ExitError::new(CONFIG, format!("the config names no private key of the gate, which users with key pairs need; {cure}"))
        })?;
        let text = files::read_private(&path).map_err(disk::unreadable)?;
        public_key_of(&text, &path)
    }

    pub(super) fn check(&mut self, path: &Path, text: Option<&str>) -> Result<(), ExitError> {
        self.bundle.users.retain(|file| file.path != path);
        if let Some(text) = text {
            let users = &mut self.bundle.users;
            users.push(BundleFile::new(path, text));
            users.sort_by(|one, other| one.path.cmp(&other.path));
        }
        (self.settings, self.users) = disk::complete(&mut self.bundle, config::settings_and_users)?;
        Ok(())
    }

    /// Checks the whole config with these new files of users and services.
    pub(super) fn check_all<'f>(
        &mut self,
        new: impl Iterator<Item = (&'f Path, &'f str)>,
    ) -> Result<(), ExitError> {
        for (path, text) in new {
            let is_user = path.starts_with(&self.users_d);
            let files = if is_user {
                &mut self.bundle.users
            } else {
                &mut self.bundle.services
            };
            files.push(BundleFile::new(path, text));
        }
        (self.settings, self.users) = disk::complete(&mut self.bundle, config::settings_and_users)?;
        Ok(())
    }
}

pub(super) fn public_key_of(text: &str, path: &Path) -> Result<PublicKey, ExitError> {
    let key = PrivateKey::from_base64(config::line_of(text));
    key.map(|key| key.public()).map_err(|error| {
        let cure = "move it away and make another with posternd init; users with key pairs then need new tokens";
        ExitError::new(CONFIG, format!("{}: {error}; {cure}", path.display()))
    })
}

pub(super) fn create(path: &Path, text: &str) -> Result<(), ExitError> {
    files::write_private(path, text.as_bytes(), false).map_err(disk::unreadable)
}

pub(super) fn remove(path: &Path) -> Result<(), ExitError> {
    fs::remove_file(path).map_err(|error| {
        let what = format!("{} cannot be removed: {error}", path.display());
        ExitError::new(FAILED, what)
    })
}

pub(super) fn replace(path: &Path, text: &str) -> Result<(), ExitError> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    files::write_private(&real, text.as_bytes(), true).map_err(disk::unreadable)
}

fn users_d(config: &Path) -> PathBuf {
    files::folder_of(config).join("users.d")
}

/// Locks a hidden file. No config is read from hidden files.
fn lock(users_d: &Path) -> Result<File, ExitError> {
    let path = users_d.join(".lock");
    let file = files::open_lock(&path)
        .map_err(ExitError::system(format!("opening {}", path.display())))?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => {
                let what = format!("locking {}: {error}", path.display());
                return Err(ExitError::new(SYSTEM, what));
            }
        }
    }
    let what = format!(
        "another command is changing users ({} is locked)",
        path.display()
    );
    Err(ExitError::new(FAILED, format!("{what}; try again later")))
}
