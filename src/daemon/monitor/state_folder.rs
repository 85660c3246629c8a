//! The engine's state folder: what it may be, and how it becomes the engine's.
//!
//! Its owner changes, so it must hold nothing but the store: `state_dir = "/etc"` would give root's files away.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use rustix::process::{getegid, geteuid};

use super::rights::RunAs;
use crate::adapters::files::Medium;
use crate::adapters::store::disk;
use crate::model::exit::{CONFIG, ExitError};

const LOOKING: &str = "looking at the state directory";

/// Makes the state folder if it is missing, and gives it and the store's files to the engine's user. systemd gives a StateDirectory=
/// back to root at every reload, so this runs before each start of an engine.
pub(crate) fn prepare(path: &Path, config: &Path, run_as: &RunAs) -> Result<(), ExitError> {
    check_place(path, config)?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    let doing = format!("making the directory {}", path.display());
    made.map_err(ExitError::system(doing))?;
    let failed = |what: &str| format!("{}: {what}", path.display());
    let found = fs::symlink_metadata(path).map_err(ExitError::system(failed(LOOKING)))?;
    if belongs_to(&found, run_as) {
        return Ok(());
    }
    // The monitor takes it over first, so that CAP_CHOWN is the only capability this needs.
    let give = |path: &Path, (uid, gid)| lchown(path, Some(uid), Some(gid));
    if found.uid() != own_ids().0 {
        let doing = failed("taking over the state directory");
        give(path, own_ids()).map_err(ExitError::system(doing))?;
    }
    if let Err(refused) = check_content(path) {
        let doing = failed("giving the state directory back");
        give(path, (found.uid(), found.gid())).map_err(ExitError::system(doing))?;
        return Err(refused);
    }
    let stuck = |doing: &str| {
        let doing = failed(doing);
        move |error| match Medium::of(path).obstacle() {
            Some(why) => refused(path, why),
            None => ExitError::system(doing)(error),
        }
    };
    let closed = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    closed.map_err(stuck("closing the state directory to others"))?;
    let engine = run_as.ids.unwrap_or_else(own_ids);
    for name in disk::FILES {
        let file = path.join(name);
        // A hostile engine may have left links to files of others.
        let found = file.symlink_metadata();
        if found.is_ok_and(|found| found.is_file() && found.nlink() == 1) {
            let doing = failed("giving the state to the engine's user");
            give(&file, engine).map_err(ExitError::system(doing))?;
        }
    }
    give(path, engine).map_err(stuck("giving the state directory to the engine's user"))
}

/// Refuses what [`prepare`] refuses, and changes nothing.
pub(crate) fn check(path: &Path, config: &Path, run_as: &RunAs) -> Result<(), ExitError> {
    check_place(path, config)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !belongs_to(&found, run_as) => check_content(path),
        _ => Ok(()),
    }
}

/// Whether the folder is the engine's alone already, so that nothing in it changes hands.
fn belongs_to(found: &fs::Metadata, run_as: &RunAs) -> bool {
    let (uid, gid) = run_as.ids.unwrap_or_else(own_ids);
    (found.uid(), found.gid(), found.mode() & 0o7777) == (uid, gid, 0o700)
}

fn own_ids() -> (u32, u32) {
    (geteuid().as_raw(), getegid().as_raw())
}

/// Refuses links and folders that hold the config.
fn check_place(path: &Path, config: &Path) -> Result<(), ExitError> {
    let failed = |error| ExitError::system(format!("{}: {LOOKING}", path.display()))(error);
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    if found.is_symlink() {
        return Err(refused(path, "it is a link"));
    }
    if !found.is_dir() {
        return Err(refused(path, "it is not a directory"));
    }
    let folder = fs::canonicalize(path).map_err(failed)?;
    let config = fs::canonicalize(config).map_err(failed)?;
    if config.starts_with(&folder) {
        let what = format!("it contains the config {}", config.display());
        return Err(refused(path, &what));
    }
    Ok(())
}

/// Refuses a folder that holds anything but the store's files.
fn check_content(path: &Path) -> Result<(), ExitError> {
    let failed = |error| ExitError::system(format!("{}: {LOOKING}", path.display()))(error);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !disk::FILES.iter().any(|known| name == **known) {
            let name = name.to_string_lossy().escape_debug().to_string();
            let what = format!("it contains {name}, which is not Postern's");
            return Err(refused(path, &what));
        }
    }
    Ok(())
}

fn refused(path: &Path, what: &str) -> ExitError {
    let cure = "set state_dir to a folder of its own";
    let what = format!("state_dir {}: {what}; {cure}", path.display());
    ExitError::new(CONFIG, what)
}

/// Whether no engine has stored anything in the state directory yet.
pub(super) fn is_empty(state_dir: &Path) -> bool {
    fs::read_dir(state_dir).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests make files of others")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What is wrong with `state` in a folder that also holds the config.
    fn fault(make: impl FnOnce(&Path)) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("etc/postern/posternd.toml");
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        fs::write(&config, "").unwrap();
        let state = folder.path().join("state");
        make(&state);
        let run_as = RunAs {
            ids: None,
            note: None,
        };
        let checked = check(&state, &config, &run_as).err();
        let refused = prepare(&state, &config, &run_as).err();
        assert_eq!(refused, checked);
        refused.map(|stop| stop.to_string())
    }

    #[test]
    fn store_alone_is_accepted() {
        assert_eq!(fault(|_| ()), None);
        let filled = |state: &Path| {
            fs::create_dir(state).unwrap();
            fs::write(state.join(disk::FILE), "").unwrap();
        };
        assert_eq!(fault(filled), None);
    }

    #[test]
    fn folders_of_others_are_refused() {
        let beside = |state: &Path| state.with_file_name("etc");
        type Make<'a> = &'a dyn Fn(&Path);
        let cases: [(&str, Make<'_>); 5] = [
            ("contains passwd,", &|state| {
                fs::create_dir(state).unwrap();
                fs::write(state.join("passwd"), "").unwrap();
            }),
            ("is a link", &|state| symlink(beside(state), state).unwrap()),
            ("is a link", &|state| symlink("/missing", state).unwrap()),
            ("not a directory", &|state| fs::write(state, "").unwrap()),
            ("contains the config", &|state| {
                fs::rename(beside(state), state).unwrap();
                symlink(state, beside(state)).unwrap();
            }),
        ];
        for (expected, make) in cases {
            let found = fault(make).unwrap();
            assert!(found.contains(expected), "{found}");
        }
    }
}
