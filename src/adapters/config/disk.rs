//! Reads a config from disk: the main file, `users.d`, `services.d` and the key files that they name.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::bundle::{Bundle, BundleFile};
use super::kept_part::KeptPart;
use super::key_files::key_files;
use super::problem::Problems;
pub(crate) use super::problem::unreadable;
use super::roster;
use crate::adapters::files::{self, FileError};
use crate::model::exit::{CONFIG, ExitError};
use crate::model::settings::Settings;

const MAKE_CONFIG: &str = "make it with posternd init, or name the right one";

/// Reads and checks the whole config. The bundle holds keys: pass it on and drop it.
/// Fails with exit code 78 and all problems, or with 77 if a file may not be read.
pub fn load(path: &Path) -> Result<(Bundle, Settings), ExitError> {
    let mut bundle = read_bundle(path).map_err(unreadable)?;
    let settings = complete(&mut bundle, super::settings)?;
    Ok((bundle, settings))
}

/// As [`load`], and keeps this gate's part of the roster, so that the next load is faster.
pub(crate) fn load_and_keep(path: &Path) -> Result<(Bundle, Settings), ExitError> {
    let mut bundle = read_bundle(path).map_err(unreadable)?;
    let (settings, unkept) = complete_part(&mut bundle, super::settings)?;
    unkept.iter().for_each(|part| roster::keep(part, &bundle));
    Ok((bundle, settings))
}

/// Reads the key files that a bundle names and does not have, then loads it with `load` or `settings_and_users`. Writes nothing.
pub(crate) fn complete<T>(
    bundle: &mut Bundle,
    load: fn(&Bundle) -> Result<T, Problems>,
) -> Result<T, ExitError> {
    complete_part(bundle, load).map(|(loaded, _)| loaded)
}

/// Returns also where to keep this gate's part of the roster, if it is not kept yet.
fn complete_part<T>(
    bundle: &mut Bundle,
    load: fn(&Bundle) -> Result<T, Problems>,
) -> Result<(T, Option<KeptPart>), ExitError> {
    let unkept = roster::take_in_force(bundle)?;
    let mut errors = Vec::new();
    let mut unread = Vec::new();
    let had: HashSet<PathBuf> = bundle.keys.iter().map(|file| file.path.clone()).collect();
    for path in key_files(bundle) {
        if had.contains(&path) {
            continue;
        }
        match files::read_private(&path) {
            Ok(text) => bundle.keys.push(BundleFile { path, text }),
            Err(error) => {
                errors.push(unreadable(error));
                unread.push(path);
            }
        }
    }
    match roster::open_secrets(bundle) {
        Ok(()) => {}
        // `errors` already has the error of an unread file.
        Err(_) if !unread.is_empty() => bundle.roster = None,
        Err(problem) => {
            errors.push(ExitError::new(CONFIG, problem));
            bundle.roster = None;
        }
    }
    match load(bundle) {
        Ok(loaded) if errors.is_empty() => return Ok((loaded, unkept)),
        Ok(_) => {}
        Err(Problems(problems)) => {
            // `errors` already has the error of an unread file.
            let problems = problems.iter().filter(|one| !unread.contains(&one.file));
            errors.extend(problems.map(|problem| ExitError::new(CONFIG, problem)));
        }
    }
    let code = errors.first().map_or(CONFIG, |first| first.code);
    let messages: Vec<String> = errors.into_iter().map(|error| error.message).collect();
    Err(ExitError::new(code, messages.join("\n")))
}

/// Reads `posternd.toml`, and `users.d/*.toml` and `services.d/*.toml` beside it, in the order of their names.
/// Fails at the first file that is refused. Both folders may be missing.
pub fn read_bundle(main: &Path) -> Result<Bundle, FileError> {
    let files = |folder: &str| -> Result<Vec<BundleFile>, FileError> {
        let paths = files::files_in(&files::folder_of(main).join(folder), ".toml")?;
        paths.iter().map(|path| read_config(path)).collect()
    };
    let users = files("users.d")?;
    Ok(Bundle {
        main: Some(read_main(main)?),
        users,
        services: files("services.d")?,
        ..Bundle::default()
    })
}

/// Reads `posternd.toml` alone.
pub(crate) fn read_main(path: &Path) -> Result<BundleFile, FileError> {
    read_config(path).map_err(|error| error.if_missing(MAKE_CONFIG))
}

/// Reads one of these files. Fails if it is missing, or others than its owner may read or replace it.
fn read_config(path: &Path) -> Result<BundleFile, FileError> {
    Ok(BundleFile {
        path: path.to_owned(),
        text: files::read_config(path)?,
    })
}
