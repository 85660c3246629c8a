//! Writes whole files and folders. A file appears under its name in one step, whole or not at all.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::checks::{OTHERS, check_folder, folder_of};
use super::error::FileError;
use super::system::{create, open_to_read};

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// Only its owner. The file survives a crash of the system.
    Owner,
    /// Everyone. The file is written again soon, so nothing waits for the disk.
    #[cfg_attr(
        not(feature = "daemon"),
        expect(dead_code, reason = "only the daemon publishes files")
    )]
    Everyone,
}

/// Writes a file that only its owner can read, and waits until it is on the disk. With `overwrite` it replaces an existing
/// file, otherwise that is an error.
/// Fails if the file exists or cannot be written, or if others could replace it in its folder.
pub fn write_private(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), FileError> {
    let folder = folder_of(path);
    check_folder(&folder)?;
    write_whole(path, bytes, Readers::Owner, overwrite)
        .and_then(|()| open_to_read(&folder)?.sync_all())
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => {
                FileError::other(path, "is not the name of a file", "name a file to write to")
            }
            ErrorKind::Unsupported => {
                let what = "would not be private: its file system keeps no permissions";
                FileError::exposed(path, what, "name a file on another file system")
            }
            ErrorKind::AlreadyExists => {
                let cure = "name another file, or move this one away";
                FileError::other(path, "is there already", cure)
            }
            _ => FileError::io(path, "written", &error),
        })
}

/// Replaces a text that everyone may read. It does not survive a crash of the system.
#[cfg(feature = "daemon")]
pub(crate) fn publish(path: &Path, text: &str) -> io::Result<()> {
    write_whole(path, text.as_bytes(), Readers::Everyone, true)
}

/// Removes a text of [`publish`], if there is one.
#[cfg(feature = "daemon")]
pub(crate) fn withdraw(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_whole(path: &Path, bytes: &[u8], readers: Readers, overwrite: bool) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    // The name ends differently, so that a search for files of this kind does not find it.
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let hidden = path.with_file_name(hidden);
    // A killed process with the same number may have left it.
    let _ = fs::remove_file(&hidden);
    let mut file = create(&hidden, OpenOptions::new().write(true))?;
    let written = check_private(&file, readers);
    let written = written
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| match readers {
            Readers::Owner => file.sync_all(),
            // Here, because the umask may narrow the mode at creation.
            Readers::Everyone => file.set_permissions(Permissions::from_mode(0o644)),
        });
    let placed = written.and_then(|()| {
        if overwrite {
            fs::rename(&hidden, path)
        } else {
            place_new(&hidden, path)
        }
    });
    // Gone after a rename; a second name after a link; a leftover after an error.
    let _ = fs::remove_file(&hidden);
    placed
}

/// Fails, before anything is written, where a new file is not its owner's alone.
fn check_private(file: &File, readers: Readers) -> io::Result<()> {
    if readers == Readers::Owner && file.metadata()?.mode() & OTHERS != 0 {
        return Err(ErrorKind::Unsupported.into());
    }
    Ok(())
}

fn place_new(hidden: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(hidden, path) {
        // Some file systems, such as FAT, have no hard links, and others, such as NFS, not this kind of rename.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            match renameat_with(CWD, hidden, CWD, path, RenameFlags::NOREPLACE) {
                // Drives of Windows in WSL, and those of FUSE, have neither.
                Err(Errno::INVAL) => {
                    drop(create(path, OpenOptions::new().write(true))?);
                    fs::rename(hidden, path)
                }
                placed => Ok(placed?),
            }
        }
        result => result,
    }
}

/// Makes a folder and its missing parents with these permissions. Returns whether it is new. Others must not be able to
/// write to an existing one.
pub fn make_folder(path: &Path, mode: u32) -> Result<bool, FileError> {
    let is_new = match fs::metadata(path) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(mode).create(path);
            made.map_err(|error| FileError::io(path, "made", &error))?;
            true
        }
        Err(error) => return Err(FileError::io(path, "read", &error)),
    };
    check_folder(path)?;
    Ok(is_new)
}

#[cfg(test)]
#[cfg(feature = "daemon")]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn published_text_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let path = file("postern.prom");
        // A leftover of a killed process, and a link that somebody made.
        let other = file("other");
        fs::write(&other, "untouched").unwrap();
        symlink(&other, &path).unwrap();
        symlink(
            &other,
            file(&format!(".postern.prom.{}", std::process::id())),
        )
        .unwrap();
        let mut readers = Vec::new();
        for text in ["one\n", "the other\n", ""] {
            publish(&path, text).unwrap();
            let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode, 0o100_644);
            readers.push((fs::File::open(&path).unwrap(), text));
        }
        for (reader, text) in readers {
            let read = io::read_to_string(reader).unwrap();
            assert_eq!(read, text, "an open file keeps its text");
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        withdraw(&path).unwrap();
        withdraw(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(publish(&path, "text").is_err());
        assert!(publish(&file("none/postern.prom"), "text").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
