//! Who can read, change or replace a file.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::FileError;
use super::medium::Medium;

/// Permission bits of everyone but the owner.
pub(super) const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The folder of a file, `.` if its path names none.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    }
}

pub(super) fn check_kind(path: &Path, metadata: &Metadata, max: u64) -> Result<(), FileError> {
    if !metadata.is_file() {
        let kind = if metadata.is_dir() {
            "is a folder, not a file"
        } else {
            "is not a regular file"
        };
        return Err(FileError::other(path, kind, "name a file"));
    }
    if metadata.len() > max {
        let what = format!("is larger than {} MiB", max >> 20);
        let cure = "name the right file, or split it";
        return Err(FileError::other(path, &what, cure));
    }
    Ok(())
}

/// Others may read a file that root mounted read-only in memory: a container's secret, whose permissions its user cannot
/// change.
pub(super) fn check_mode(path: &Path, file: &File, metadata: &Metadata) -> Result<(), FileError> {
    if metadata.mode() & OTHERS == 0 {
        return Ok(());
    }
    let (mode, medium) = (metadata.mode() & 0o7777, Medium::of_file(file));
    if medium == Medium::ReadOnlyMemory && metadata.uid() == 0 && mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let what = format!("can be used by more than its owner (mode {mode:04o})");
    let cure = if may_change(metadata) {
        cure(path, medium, &format!("chmod 600 {}", path.display()))
    } else {
        copy(path)
    };
    Err(FileError::exposed(path, &what, &cure))
}

/// Whether the caller may change the permissions, and can still read the file after that.
fn may_change(metadata: &Metadata) -> bool {
    let me = rustix::process::geteuid();
    me.is_root() || metadata.uid() == me.as_raw()
}

/// The command that makes a file private, or a copy where it would change nothing.
fn cure(path: &Path, medium: Medium, command: &str) -> String {
    match medium.obstacle() {
        None => format!("run {command}"),
        Some(why) => format!("{why}: {}", copy(path)),
    }
}

/// The unit of posternd hides the home folder of root.
fn copy(path: &Path) -> String {
    let place = if rustix::process::geteuid().is_root() {
        "/etc/postern/"
    } else {
        "~/"
    };
    let path = path.display();
    format!("run install -m 600 {path} {place} and name the copy")
}

pub(super) fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let me = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    if owner == 0 || owner == me {
        return Ok(());
    }
    let command = format!("chown {me} {}", path.display());
    let cure = match Medium::of(path) {
        medium if metadata.is_file() => cure(path, medium, &command),
        medium => folder_cure(medium, &command),
    };
    let what = format!("belongs to user {owner}, who could change it");
    Err(FileError::exposed(path, &what, &cure))
}

fn folder_cure(medium: Medium, command: &str) -> String {
    match medium.obstacle() {
        None => format!("run {command}"),
        Some(why) => format!("{why}: use a folder on another file system"),
    }
}

pub(super) fn check_folders(path: &Path) -> Result<(), FileError> {
    let named = folder_of(path);
    check_folder(&named)?;
    let real = fs::canonicalize(path).map_err(|error| FileError::io(path, "read", &error))?;
    let real = folder_of(&real);
    if real == named {
        Ok(())
    } else {
        check_folder(&real)
    }
}

/// Who can write to a folder can replace its files, except in a sticky one such as /tmp.
pub(super) fn check_folder(folder: &Path) -> Result<(), FileError> {
    let metadata = fs::metadata(folder).map_err(|error| FileError::io(folder, "read", &error))?;
    if !metadata.is_dir() {
        return Err(FileError::other(folder, "is not a folder", "move it away"));
    }
    check_owner(folder, &metadata)?;
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return Err(FileError::exposed(
            folder,
            &format!("is a folder that others may write to (mode {mode:04o})"),
            &folder_cure(
                Medium::of(folder),
                &format!("chmod go-w {}", folder.display()),
            ),
        ));
    }
    Ok(())
}
