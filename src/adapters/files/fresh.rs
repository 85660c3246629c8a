//! New files and folders: whole or not at all, never over what is there, and closed to others from their first moment.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{FileError, check_folder, create, folder_of, open_to_read};

/// Writes a new file that only its owner may read and that appears under its name when it is whole and on the disk.
///
/// # Errors
/// When there is a file of this name, it can't be written, or it lies in a folder where somebody else could replace it.
pub fn place_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let folder = folder_of(path);
    check_folder(&folder)?;
    let Some(name) = path.file_name() else {
        return Err(FileError::other(
            path,
            "is not the name of a file",
            "name a file to write to",
        ));
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let hidden = folder.join(hidden);
    // Another run of this number may have died over it.
    let _ = fs::remove_file(&hidden);
    let mut file = create(&hidden)?;
    // A second name for the same file is given only where that name is free.
    let placed = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&hidden, path));
    let _ = fs::remove_file(&hidden);
    placed
        .and_then(|()| open_to_read(&folder)?.sync_all())
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => FileError::other(
                path,
                "is there already",
                "name another file, or move this one away",
            ),
            _ => FileError::io(path, "written", &error),
        })
}

/// Makes a folder, and those above it that are missing, with these permissions. Returns whether it had to be made; one that is there
/// must be a folder that nobody else can write to.
///
/// # Errors
/// When it can't be made or used.
pub fn make_folder(path: &Path, mode: u32) -> Result<bool, FileError> {
    let is_new = match fs::metadata(path) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(path)
                .map_err(|error| FileError::io(path, "made", &error))?;
            true
        }
        Err(error) => return Err(FileError::io(path, "read", &error)),
    };
    check_folder(path)?;
    Ok(is_new)
}
