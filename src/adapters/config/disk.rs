//! Loads a gate's config from disk: the main file, `users.d` and the key files that they name.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::Problems;
use super::bundle::{Bundle, BundleFile};
use crate::adapters::files::{self, FileError, FileErrorKind};
use crate::model::exit::{CONFIG, ExitError, PERMISSION};
use crate::model::settings::Settings;

/// Reads and checks the whole config. The bundle holds keys: hand it on and drop it.
///
/// # Errors
/// Exit 78 with every problem found, 77 for a file that may not be read.
pub fn load(path: &Path) -> Result<(Bundle, Settings), ExitError> {
    let mut bundle = read_bundle(path).map_err(unreadable)?;
    // The keys in what was loaded are wiped here at once.
    let settings = complete(&mut bundle, super::load)?.settings;
    Ok((bundle, settings))
}

/// Reads the key files that a bundle names and that are not in it yet, then the whole, in one of the ways that the config has.
///
/// # Errors
/// As [`load`].
pub fn complete<T>(
    bundle: &mut Bundle,
    read: fn(&Bundle) -> Result<T, Problems>,
) -> Result<T, ExitError> {
    let mut wrong = Vec::new();
    let mut unread = Vec::new();
    let known: HashSet<PathBuf> = bundle.keys.iter().map(|file| file.path.clone()).collect();
    for path in super::key_files(bundle)
        .into_iter()
        .filter(|path| !known.contains(path))
    {
        if let Err(error) = add_key_file(bundle, &path) {
            wrong.push(unreadable(error));
            unread.push(path);
        }
    }
    match read(bundle) {
        Ok(read) if wrong.is_empty() => return Ok(read),
        Ok(_) => {}
        // Why a file was not read was said already.
        Err(problems) => {
            wrong.extend(
                problems
                    .0
                    .iter()
                    .filter(|problem| !unread.contains(&problem.file))
                    .map(|problem| ExitError::new(CONFIG, problem)),
            );
        }
    }
    let code = wrong.first().map_or(CONFIG, |first| first.code);
    Err(ExitError::new(
        code,
        wrong
            .iter()
            .map(|stop| stop.message.as_str())
            .collect::<Vec<_>>()
            .join("\n"),
    ))
}

/// A file of the config that can't be read.
pub fn unreadable(error: FileError) -> ExitError {
    let code = match error.kind() {
        FileErrorKind::Permission => PERMISSION,
        FileErrorKind::NotFound | FileErrorKind::Exposed | FileErrorKind::Other => CONFIG,
    };
    ExitError::new(code, error)
}

/// Reads `posternd.toml` and, in the folder beside it, `users.d/*.toml` in the order of their names.
///
/// # Errors
/// The first file that cannot be read or is refused. A missing `users.d` is no error.
pub fn read_bundle(main: &Path) -> Result<Bundle, FileError> {
    let mut bundle = Bundle {
        main: Some(read_config(main)?),
        ..Bundle::default()
    };
    for path in files::files_in(&files::folder_of(main).join("users.d"), ".toml")? {
        bundle.users.push(read_config(&path)?);
    }
    Ok(bundle)
}

/// Reads one of these files.
///
/// # Errors
/// As [`read_bundle`].
pub fn read_config(path: &Path) -> Result<BundleFile, FileError> {
    Ok(BundleFile {
        path: path.to_owned(),
        text: files::read_config(path)?,
    })
}

/// Adds a key file that a config names to its bundle.
fn add_key_file(bundle: &mut Bundle, path: &Path) -> Result<(), FileError> {
    let text = files::read_private(path)?;
    bundle.keys.push(BundleFile {
        path: path.to_owned(),
        text,
    });
    Ok(())
}
