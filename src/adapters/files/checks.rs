//! Who can read, change or replace a file.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::FileError;

/// Permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;
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

pub(super) fn check_mode(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    if metadata.mode() & OTHERS == 0 {
        return Ok(());
    }
    let mode = metadata.mode() & 0o7777;
    Err(FileError::exposed(
        path,
        &format!("can be used by more than its owner (mode {mode:04o})"),
        &format!("run chmod 600 {}", path.display()),
    ))
}

pub(super) fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let me = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    if owner == 0 || owner == me {
        return Ok(());
    }
    Err(FileError::exposed(
        path,
        &format!("belongs to user {owner}, who could change it"),
        &format!("run chown {me} {}", path.display()),
    ))
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
            &format!("run chmod go-w {}", folder.display()),
        ));
    }
    Ok(())
}
