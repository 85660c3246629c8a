//! Reads the files of an import, and writes its users and services beside the config: all or none.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::converted::Converted;
use super::inputs::{Input, convert};
use super::kind;
use crate::adapters::clock;
use crate::adapters::config::disk;
use crate::adapters::files::{self, FileErrorKind};
use crate::admin::config_files::{self, ConfigFiles};
use crate::admin::reload::{ReloadResult, reload};
use crate::model::exit::{CONFIG, ExitError, FAILED, NO_INPUT, SYSTEM};
use crate::model::foreign::{Findings, Place, Verdict};

const LOCALTIME: &str = "/etc/localtime";
const LOCALTIME_MAX: u64 = 1 << 20;

/// What was imported.
pub(crate) struct Imported {
    pub(crate) converted: Converted,
    /// The files that were written, users first; with a dry run those that would be.
    pub(crate) files: Vec<PathBuf>,
    /// `None` after a dry run, or if there was nothing to write.
    pub(crate) reload: Option<ReloadResult>,
}

/// Imports these files. With `dry_run` it writes nothing and needs no config.
/// Fails with exit code 1 if a user or a service exists already, 78 for a config that is invalid, or would be with the new
/// files. Then nothing is written.
pub(crate) fn import(
    config: &Path,
    paths: &[PathBuf],
    dry_run: bool,
) -> Result<Imported, ExitError> {
    let mut exposed = Findings::default();
    let inputs = paths.iter().map(|path| input(path, &mut exposed));
    let inputs: Vec<Input> = inputs.collect::<Result<_, _>>()?;
    let taken = taken(config);
    let mut converted = convert(&inputs, &time_zone()?, &include, &include_folder, taken);
    converted.findings.0.extend(exposed.0);
    let folder = files::folder_of(config);
    let path = |below: &str, name: &str| folder.join(below).join(format!("{name}.toml"));
    let users = converted.users.iter().map(|one| path("users.d", &one.name));
    let services = converted.services.iter();
    let services = services.map(|one| path(SERVICES, &one.name));
    let files: Vec<PathBuf> = users.chain(services).collect();
    let mut reloaded = None;
    if !dry_run && !files.is_empty() {
        reloaded = Some(write(config, &converted, &files)?);
    }
    Ok(Imported {
        converted,
        files,
        reload: reloaded,
    })
}

/// The ports of the services that the gate has. A config that cannot be read stops the import later, unless it is a dry run.
fn taken(config: &Path) -> BTreeSet<String> {
    let read = ConfigFiles::read(config);
    let services = read
        .iter()
        .flat_map(|files| files.settings.catalog.values());
    let ports = services.flat_map(|service| &service.ports);
    ports.map(ToString::to_string).collect()
}

const SERVICES: &str = "services.d";

fn write(
    config: &Path,
    converted: &Converted,
    paths: &[PathBuf],
) -> Result<ReloadResult, ExitError> {
    let mut config_files = ConfigFiles::open(config)?;
    let services = files::folder_of(config).join(SERVICES);
    files::make_folder(&services, 0o700).map_err(disk::unreadable)?;
    refuse_existing(&config_files, converted, paths)?;
    let texts = texts(converted);
    let new = paths.iter().zip(&texts);
    let checked = config_files.check_all(new.map(|(path, text)| (path.as_path(), text.as_str())));
    checked.map_err(|error| refused(error, converted, paths))?;
    create_all(paths, &texts)?;
    Ok(reload(&config_files.settings.gate.control_socket))
}

/// Creates all of these files. If one fails, none stays.
fn create_all(paths: &[PathBuf], texts: &[Zeroizing<String>]) -> Result<(), ExitError> {
    let mut written: Vec<&PathBuf> = Vec::new();
    for (path, text) in paths.iter().zip(texts) {
        if let Err(error) = config_files::create(path, text) {
            written
                .iter()
                .for_each(|path| drop(config_files::remove(path)));
            return Err(error);
        }
        written.push(path);
    }
    Ok(())
}

/// The problems of a config with the new files. A line about a new user says where that user comes from.
fn refused(error: ExitError, converted: &Converted, paths: &[PathBuf]) -> ExitError {
    let line = |line: &str| {
        let mut users = converted.users.iter().zip(paths);
        let user = users.find(|(_, path)| line.starts_with(&format!("{}:", path.display())));
        user.map_or(line.to_owned(), |(user, _)| {
            format!("{line}; this user comes from {}", user.place)
        })
    };
    let mut lines: Vec<String> = error.message.lines().map(line).collect();
    lines.push("nothing is written; posternd import --dry-run shows the new files".to_owned());
    ExitError::new(error.code, lines.join("\n"))
}

/// Users first, as the paths.
fn texts(converted: &Converted) -> Vec<Zeroizing<String>> {
    let now = clock::wall();
    let headed = |place: Option<&Place>, toml: &str| {
        let from = place.map_or(String::new(), |place| format!(" from {place}"));
        let head =
            format!("# Made by posternd import{from}, {now}. After a change: posternd reload\n");
        let mut text = String::with_capacity(head.len() + toml.len());
        text.push_str(&head);
        text.push_str(toml);
        Zeroizing::new(text)
    };
    let users = converted.users.iter();
    let users = users.map(|user| headed(Some(&user.place), &user.toml.full));
    let services = converted.services.iter();
    users
        .chain(services.map(|service| headed(None, &service.toml.full)))
        .collect()
}

fn refuse_existing(
    config_files: &ConfigFiles,
    converted: &Converted,
    paths: &[PathBuf],
) -> Result<(), ExitError> {
    for user in &converted.users {
        if let Ok(there) = config_files.user(&user.name) {
            let (name, file, line) = (&user.name, there.file.display(), there.line);
            let what = format!("user {name} already exists, in {file}:{line}");
            let cure = format!("remove it with posternd user remove {name}, or rename it");
            return Err(ExitError::new(FAILED, format!("{what}; {cure}")));
        }
    }
    let catalog = &config_files.settings.catalog;
    let mut services = converted.services.iter();
    if let Some(service) = services.find(|service| catalog.contains_key(&service.name)) {
        let what = format!("service {} already exists", service.name);
        let cure = "rename [service.NAME] of the config, or remove it";
        return Err(ExitError::new(FAILED, format!("{what}; {cure}")));
    }
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => {
            let what = format!("{} already exists", path.display());
            Err(ExitError::new(FAILED, format!("{what}; move it away")))
        }
        None => Ok(()),
    }
}

fn input(path: &Path, exposed: &mut Findings) -> Result<Input, ExitError> {
    let (text, private) = files::read_open(path).map_err(|error| match error.kind() {
        FileErrorKind::NotFound => ExitError::new(NO_INPUT, error),
        _ => disk::unreadable(error),
    })?;
    let has_keys = matches!(kind::of(&text), Some(kind::Kind::Access | kind::Kind::Uci));
    if private.is_err() && has_keys {
        let place = Place {
            file: path.into(),
            line: 1,
        };
        let words = (
            "more than its owner may read the keys in this file",
            "run chmod 600 on it, and give its clients new keys",
        );
        exposed.add(&place, None, Verdict::Convert, words);
    }
    Ok(Input {
        path: path.to_owned(),
        text,
    })
}

fn include(path: &Path) -> Result<Zeroizing<String>, String> {
    let read = files::read_open(path).map_err(|error| error.to_string());
    read.map(|(text, _)| text)
}

fn include_folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    files::files_in(path, ".conf").map_err(|error| error.to_string())
}

/// The zone of this host, in which ACCESS_EXPIRE ends; UTC if it names none.
fn time_zone() -> Result<TimeZone, ExitError> {
    let path = Path::new(LOCALTIME);
    let Ok(file) = files::open_input(path) else {
        return Ok(TimeZone::UTC);
    };
    let mut bytes = Vec::new();
    let read = file.take(LOCALTIME_MAX).read_to_end(&mut bytes);
    read.map_err(|error| ExitError::new(SYSTEM, format!("{LOCALTIME}: {error}")))?;
    TimeZone::tzif("local", &bytes).map_err(|error| {
        let cure = "link it to a file below /usr/share/zoneinfo";
        ExitError::new(CONFIG, format!("{LOCALTIME}: {error}; {cure}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_in_the_middle_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let texts = ["one", "two"].map(|text| Zeroizing::new(text.to_owned()));
        let paths = [path("one.toml"), path("none/two.toml")];
        assert!(create_all(&paths, &texts).is_err());
        assert!(!paths[0].exists());
        create_all(&[path("one.toml"), path("two.toml")], &texts).unwrap();
        assert!(path("two.toml").exists());
    }
}
