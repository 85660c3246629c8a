//! The one place that opens files: keys and configs, read whole into a buffer that is wiped, refused where others could read or change them.
//!
//! Checks are made on the opened file, never on its path. Must not look into what it reads; text never reaches an error (invariant 7).

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::{Zeroize, Zeroizing};

mod error;
mod fresh;
#[cfg(feature = "daemon")]
pub mod journal;
#[cfg(feature = "daemon")]
pub mod public;
pub use error::{FileError, FileErrorKind};
pub use fresh::{make_folder, place_private};

/// The largest key file or profile, in bytes.
const PRIVATE_MAX: u64 = 1 << 20;
/// The largest TOML file of a gate's config: room for the users of a whole fleet.
#[cfg(feature = "daemon")]
const CONFIG_MAX: u64 = 64 << 20;
/// Permission bits of anyone but the owner.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Reads a file of at most 1 MiB that only its owner, root or the caller, may read.
///
/// # Errors
/// When it is missing, no regular file, too large, not UTF-8, or when somebody else could read or replace it.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, FileError> {
    read(path, PRIVATE_MAX)
}

/// Reads a file of at most 1 MiB that others may read, too, for it need not hold a secret. Where they may, the refusal comes with it that
/// [`read_private`] would have given.
///
/// # Errors
/// When it is missing, no regular file, too large or not UTF-8.
pub fn read_open(path: &Path) -> Result<(Zeroizing<String>, Result<(), FileError>), FileError> {
    let failed = |error: io::Error| FileError::io(path, "read", &error);
    let file = open_to_read(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_kind(path, &metadata, PRIVATE_MAX)?;
    let private = check_mode(path, &metadata);
    let bytes = read_whole(file, metadata.len()).map_err(failed)?;
    let text = into_text(bytes)
        .ok_or_else(|| FileError::other(path, "is not UTF-8 text", "save it as UTF-8"))?;
    Ok((text, private))
}

/// The paths of files in a folder whose names end so, without the hidden ones, by name; none where there is no such folder.
///
/// # Errors
/// When the folder can't be read, or somebody else could put a file there.
pub fn files_in(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::io(folder, "read", &error)),
    };
    check_folder(folder)?;
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(|error| FileError::io(folder, "read", &error))?
            .file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(ending.as_bytes()) && !bytes.starts_with(b".") {
            paths.push(folder.join(name));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Reads a file of a gate's config, of at most 64 MiB.
///
/// # Errors
/// As [`read_private`].
#[cfg(feature = "daemon")]
pub fn read_config(path: &Path) -> Result<Zeroizing<String>, FileError> {
    read(path, CONFIG_MAX)
}

/// Writes a file that only its owner may read, and waits until it is on the disk.
///
/// An existing file is refused, or with `overwrite` replaced in one step: there is never half a key.
///
/// # Errors
/// When the file exists, cannot be written, or lies in a folder where somebody else could replace it.
pub fn write_private(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), FileError> {
    check_folder(&folder_of(path))?;
    let Some(name) = path.file_name() else {
        return Err(FileError::other(
            path,
            "is not the name of a file",
            "name a file to write to",
        ));
    };
    let mut fresh = path.to_owned();
    if overwrite {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        fresh.set_file_name(hidden);
        // Another run of this number may have died over it.
        let _ = fs::remove_file(&fresh);
    }
    let mut file = create(&fresh)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| {
        if overwrite {
            fs::rename(&fresh, path)
        } else {
            Ok(())
        }
    });
    placed
        .and_then(|()| open_to_read(&folder_of(path))?.sync_all())
        .map_err(|error| {
            // What could not be written whole is taken away again; the error that counts is the first one.
            let _ = fs::remove_file(&fresh);
            FileError::io(path, "written", &error)
        })
}

/// Reads a file of the system's own, such as those under /proc, that holds no secret.
///
/// # Errors
/// What the system said.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn read_system(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// Opens a file that holds no secret and whose owner does not matter, such as a recording of packets; also a pipe.
///
/// # Errors
/// What the system said.
#[cfg(feature = "daemon")]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn open_input(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Writes a setting of the kernel's, such as those under /proc.
///
/// # Errors
/// What the system said.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn write_system(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
}

/// Makes a file to be written to by a program that is started.
///
/// # Errors
/// What the system said.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn create_log(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Opens the terminal that this process belongs to.
///
/// # Errors
/// What the system said; there is none for a cron job, for example.
pub fn open_terminal() -> io::Result<File> {
    open_to_read(Path::new("/dev/tty"))
}

/// Opens what takes everything and keeps nothing.
///
/// # Errors
/// What the system said.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn open_nothing() -> io::Result<File> {
    OpenOptions::new().write(true).open("/dev/null")
}

/// Opens a file to lock, and makes it if it is missing.
///
/// # Errors
/// What the system said.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path)
}

fn read(path: &Path, max: u64) -> Result<Zeroizing<String>, FileError> {
    let file = open_to_read(path).map_err(|error| FileError::io(path, "read", &error))?;
    let metadata = file
        .metadata()
        .map_err(|error| FileError::io(path, "read", &error))?;
    check_file(path, &metadata, max)?;
    check_folders(path)?;
    let bytes =
        read_whole(file, metadata.len()).map_err(|error| FileError::io(path, "read", &error))?;
    into_text(bytes).ok_or_else(|| FileError::other(path, "is not UTF-8 text", "save it as UTF-8"))
}

fn check_file(path: &Path, metadata: &Metadata, max: u64) -> Result<(), FileError> {
    check_kind(path, metadata, max)?;
    check_owner(path, metadata)?;
    check_mode(path, metadata)
}

fn check_kind(path: &Path, metadata: &Metadata, max: u64) -> Result<(), FileError> {
    if !metadata.is_file() {
        let kind = if metadata.is_dir() {
            "is a folder, not a file"
        } else {
            "is not a regular file"
        };
        return Err(FileError::other(path, kind, "name a file"));
    }
    if metadata.len() > max {
        return Err(FileError::other(
            path,
            &format!("is larger than {} MiB", max >> 20),
            "name the right file, or split it",
        ));
    }
    Ok(())
}

fn check_mode(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    if metadata.mode() & OTHERS == 0 {
        return Ok(());
    }
    let mode = metadata.mode() & 0o7777;
    let what = format!("can be used by more than its owner (mode {mode:04o})");
    Err(FileError::exposed(
        path,
        &what,
        &format!("run chmod 600 {}", path.display()),
    ))
}

/// The folder that the path names and, behind a symbolic link, the folder that the file is really in.
fn check_folders(path: &Path) -> Result<(), FileError> {
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

/// Whoever may write to a folder may put another file in the place of a name, except in a sticky one such as /tmp.
fn check_folder(folder: &Path) -> Result<(), FileError> {
    let metadata = fs::metadata(folder).map_err(|error| FileError::io(folder, "read", &error))?;
    if !metadata.is_dir() {
        return Err(FileError::other(folder, "is not a folder", "move it away"));
    }
    check_owner(folder, &metadata)?;
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        let what = format!("is a folder that others may write to (mode {mode:04o})");
        return Err(FileError::exposed(
            folder,
            &what,
            &format!("run chmod go-w {}", folder.display()),
        ));
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let me = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    if owner == 0 || owner == me {
        return Ok(());
    }
    let what = format!("belongs to user {owner}, who could change it");
    Err(FileError::exposed(
        path,
        &what,
        &format!("run chown {me} {}", path.display()),
    ))
}

/// The folder that a file lies in, `.` where its path names none.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    }
}

/// One buffer of the known size: one that grew would leave copies of keys behind.
fn read_whole(mut file: File, len: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(len).map_err(io::Error::other)?]);
    file.read_exact(&mut bytes)?;
    let mut beyond = Zeroizing::new([0; 1]);
    match file.read(beyond.as_mut_slice())? {
        0 => Ok(bytes),
        _ => Err(io::Error::other("it grew while it was read")),
    }
}

fn into_text(mut bytes: Zeroizing<Vec<u8>>) -> Option<Zeroizing<String>> {
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            None
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this file is the one that opens files"
)]
fn open_to_read(path: &Path) -> io::Result<File> {
    // Without NONBLOCK, opening a named pipe would wait for a writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this file is the one that opens files"
)]
fn create(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => FileError::other(
                path,
                "is there already",
                "name another file, or move this one away",
            ),
            _ => FileError::io(path, "written", &error),
        })
}
