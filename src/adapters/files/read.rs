//! Reads keys and configs.

use std::fs::{self, File};
use std::io::{self, Read};
#[cfg(feature = "daemon")]
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use super::checks::{check_folder, check_folders, check_kind, check_mode, check_owner};
use super::error::FileError;
use super::system::open_to_read;

const PRIVATE_MAX: u64 = 1 << 20;
#[cfg(feature = "daemon")]
const CONFIG_MAX: u64 = 1 << 30;

/// Reads a file of at most 1 MiB that only its owner, root or the caller, can read.
/// Fails if it is missing, not a regular file, too large or not UTF-8, or if others can read or replace it.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, FileError> {
    read(path, PRIVATE_MAX)
}

/// Reads a file of a gate's config, of at most 1 GiB: a user takes about 130 bytes.
#[cfg(feature = "daemon")]
pub(crate) fn read_config(path: &Path) -> Result<Zeroizing<String>, FileError> {
    read(path, CONFIG_MAX)
}

/// Reads a private file that need not be text, of at most 1 GiB.
#[cfg(feature = "daemon")]
pub(crate) fn read_private_bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_checked(path, CONFIG_MAX)
}

/// Reads the roster in force: the longest one, its signatures, and what the gate notes of it.
#[cfg(feature = "daemon")]
pub(crate) fn read_roster(path: &Path) -> Result<Zeroizing<String>, FileError> {
    read(path, CONFIG_MAX)
}

/// Reads the lines of a private file that come before the line `end`.
#[cfg(feature = "daemon")]
pub(crate) fn read_before(path: &Path, end: &str) -> Result<String, FileError> {
    let (file, _) = open_checked(path, CONFIG_MAX)?;
    let lines = BufReader::new(file).lines();
    let lines = lines.take_while(|line| line.as_ref().map_or(true, |line| line != end));
    let lines = lines.collect::<io::Result<Vec<String>>>();
    let lines = lines.map_err(|error| FileError::io(path, "read", &error))?;
    Ok(lines.join("\n"))
}

/// Reads a file of at most 1 MiB that may hold no secret. The second value is the error of [`read_private`] if others can
/// read the file. Fails if it is missing, not a regular file, too large or not UTF-8.
pub fn read_open(path: &Path) -> Result<(Zeroizing<String>, Result<(), FileError>), FileError> {
    let failed = |error: io::Error| FileError::io(path, "read", &error);
    let file = open_to_read(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_kind(path, &metadata, PRIVATE_MAX)?;
    let private = check_mode(path, &file, &metadata);
    let text = as_text(path, read_whole(path, file, metadata.len())?)?;
    Ok((text, private))
}

pub(super) fn read(path: &Path, max: u64) -> Result<Zeroizing<String>, FileError> {
    as_text(path, read_checked(path, max)?)
}

fn read_checked(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let (file, len) = open_checked(path, max)?;
    read_whole(path, file, len)
}

/// Opens a file that only its owner, root or the caller, can read or replace. Returns its length, too.
fn open_checked(path: &Path, max: u64) -> Result<(File, u64), FileError> {
    let failed = |error: io::Error| FileError::io(path, "read", &error);
    let file = open_to_read(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_kind(path, &metadata, max)?;
    check_owner(path, &metadata)?;
    check_mode(path, &file, &metadata)?;
    check_folders(path)?;
    Ok((file, metadata.len()))
}

/// Reads at most so many bytes of a file that holds no secret.
#[cfg(feature = "daemon")]
pub(crate) fn read_at_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = open_to_read(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file; name a file"));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files in a folder whose names end with `ending`, sorted, without hidden ones; none if there is no such folder.
/// Fails if the folder cannot be read, or others can put a file there.
pub(crate) fn files_in(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, FileError> {
    let failed = |error: io::Error| FileError::io(folder, "read", &error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    check_folder(folder)?;
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(ending.as_bytes()) && !bytes.starts_with(b".") {
            paths.push(folder.join(name));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// One buffer of the known size: a buffer that grows leaves copies of keys behind.
fn read_whole(path: &Path, mut file: File, len: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |error: io::Error| FileError::io(path, "read", &error);
    let len = usize::try_from(len).map_err(|error| failed(io::Error::other(error)))?;
    let mut bytes = Zeroizing::new(vec![0; len]);
    file.read_exact(&mut bytes).map_err(failed)?;
    let mut beyond = Zeroizing::new([0; 1]);
    if file.read(beyond.as_mut_slice()).map_err(failed)? > 0 {
        return Err(failed(io::Error::other("it grew while it was read")));
    }
    Ok(bytes)
}

fn as_text(path: &Path, mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, FileError> {
    String::from_utf8(std::mem::take(&mut *bytes))
        .map(|text| without_mark(Zeroizing::new(text)))
        .map_err(|error| {
            error.into_bytes().zeroize();
            FileError::other(path, "is not UTF-8 text", "save it as UTF-8")
        })
}

/// The text without the byte order mark that editors of Windows put before it. It stays in its buffer.
pub(crate) fn without_mark(mut text: Zeroizing<String>) -> Zeroizing<String> {
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    text
}
