//! Reads a config: the texts in a bundle become settings, policies and keys, or a list of all problems.

use std::path::{Path, PathBuf};

use postern_proto::{CodeKey, FleetKey, KeyMaterial};

use super::config_text::ConfigText;
use super::fields::Fields;
use super::gate::{self, CONTROL_SOCKET};
use super::how::{How, STACK};
use super::key::KeyFiles;
use super::listed::Listed;
use super::main_file::MainFile;
use super::parts::{PART, Parts, Source};
use super::problem::{FileProblems, Problem, Problems};
use super::read_parts;
use super::sequence_check;
use super::user_entry::EntryReader;
use super::user_table::{OldKey, UserTable};
use crate::adapters::config::bundle::{Bundle, BundleFile};
use crate::core::gate::{FwknopUser, SequenceUser};
use crate::model::policy::Policy;
use crate::model::settings::Settings;

/// A config without problems.
#[derive(Debug)]
pub struct Loaded {
    /// What monitor and engine know.
    pub settings: Settings,
    /// For the engine only: those of the first of `settings.policies`, in their order. Users of other kinds follow.
    pub keys: Vec<KeyMaterial>,
    /// For the engine only: the secrets for one-time codes, each with its user's place in `settings.policies`.
    pub codes: Vec<(usize, CodeKey)>,
    /// For the engine only: previous keys that are still valid for a time.
    pub old_keys: Vec<OldKey>,
    /// For the engine only: the keys of users who knock with fwknop's clients.
    pub fwknop: Vec<FwknopUser>,
    /// For the engine only: users who knock with a sequence.
    pub sequences: Vec<SequenceUser>,
    /// For the engine only: the keys of `cluster.fleet_key_file`. The first one seals.
    pub fleet_keys: Vec<FleetKey>,
    /// Those of the first of `settings.disabled`, in their order: `explain` names the user by them.
    pub disabled_keys: Vec<KeyMaterial>,
    /// Those of the disabled users of fwknop. Each names its user in `settings.disabled`.
    pub disabled_fwknop: Vec<FwknopUser>,
}

/// Reads a config, or returns all problems in the order of files and lines. A file that is not TOML has only its first one.
pub fn load(bundle: &Bundle) -> Result<Loaded, Problems> {
    read_and_wipe(bundle, How::DEFAULT).map(|(loaded, _)| loaded)
}

/// The settings of a config. Its keys are checked and not kept, which takes less memory.
pub(crate) fn settings(bundle: &Bundle) -> Result<Settings, Problems> {
    let how = How {
        keeps_keys: false,
        ..How::DEFAULT
    };
    read_and_wipe(bundle, how).map(|(loaded, _)| loaded.settings)
}

/// Reads a config that was loaded before, by the monitor: names and keys differ.
pub(crate) fn load_again(bundle: &Bundle) -> Result<Loaded, Problems> {
    let how = How {
        compares: false,
        ..How::DEFAULT
    };
    read_and_wipe(bundle, how).map(|(loaded, _)| loaded)
}

/// The settings of a config and all its users, including disabled ones.
pub(crate) fn settings_and_users(bundle: &Bundle) -> Result<(Settings, Vec<Listed>), Problems> {
    let how = How {
        listing: true,
        keeps_keys: false,
        ..How::DEFAULT
    };
    read_and_wipe(bundle, how).map(|(loaded, listed)| (loaded.settings, listed))
}

/// The control socket that `posternd.toml` names, or the default. Other problems in the file do not matter.
/// Fails if the file is not TOML, or the path of the socket is wrong.
pub(crate) fn control_socket(main: &BundleFile) -> Result<PathBuf, Problems> {
    let parts = Parts::of(main, PART);
    let file = parts.rest();
    let named = file.values().and_then(|values| {
        let top = Fields::new(&file, "posternd.toml", &values, 0);
        gate::control_socket(&top.table("gate", "[gate]")?)
    });
    zeroize::zeroize_stack::<STACK>();
    match file.into_problems() {
        problems if problems.is_empty() => Ok(named.unwrap_or_else(|| CONTROL_SOCKET.into())),
        problems => Err(Problems(problems)),
    }
}

/// A key that moves leaves a copy on the stack, which is wiped here.
pub(super) fn read_and_wipe(bundle: &Bundle, how: How) -> Result<(Loaded, Vec<Listed>), Problems> {
    let read = read(bundle, how);
    zeroize::zeroize_stack::<STACK>();
    read
}

// Inlined, its part of the stack would be outside of what is wiped.
#[inline(never)]
fn read(bundle: &Bundle, how: How) -> Result<(Loaded, Vec<Listed>), Problems> {
    let Some(main) = &bundle.main else {
        let file = Path::new("posternd.toml");
        let problem = Problem::of_file(file, "was not read", "name the config with --config");
        return Err(Problems(vec![problem]));
    };
    let key_files = KeyFiles::of(bundle);
    let mut found = FileProblems::default();
    let parts = Parts::of(main, how.part);
    let file = parts.rest();
    let values = file.values();
    let main = values.as_ref();
    let mut main = main.map(|values| MainFile::read(&file, values, &key_files));
    for (number, services) in (1..).zip(&bundle.services) {
        let file = ConfigText::of(services);
        if let Some((main, values)) = main.as_mut().zip(file.values()) {
            main.read_services_file(&file, &values);
        }
        found.add(number, file.into_problems());
    }
    let reader = EntryReader::new(main.as_ref(), &key_files, how);
    let mut table = UserTable::new(main.as_ref(), how);
    // The values of the main file have no users if it is divided.
    if let (Some(whole), Some(values)) = (parts.undivided(), &values) {
        let text = whole.text();
        table.take(0, reader.read_list(&text, values));
        found.add(0, text.into_problems());
    }
    drop(values);
    found.add(0, file.into_problems());
    let first = bundle.services.len().saturating_add(1);
    let users = bundle
        .users
        .iter()
        .map(|file| Parts::of_users(file, how.part));
    let users: Vec<Parts<'_>> = users.collect();
    let last = first.saturating_add(users.len());
    let of_roster = bundle.roster.as_ref();
    let of_roster = of_roster.map(|part| Parts::of(part, how.part));
    let mut sources = Vec::new();
    for (number, parts) in [(0, &parts)].into_iter().chain((first..).zip(&users)) {
        sources.extend(parts.sources(number));
    }
    let divided = of_roster.iter().filter(|parts| parts.undivided().is_none());
    sources.extend(divided.flat_map(|parts| parts.sources(last)));
    table.expect(sources.iter().map(Source::users).sum());
    read_parts::read(&reader, &sources, |read| {
        if read.is_toml {
            found.add(read.file, read.problems);
        } else {
            found.add_only(read.file, read.problems);
        }
        table.take(read.file, read.entries);
    });
    if let Some(parts) = &of_roster {
        let file = parts.rest();
        if let Some(values) = file.values() {
            table.take(last, reader.read_list(&file, &values));
            table.take_kept_closed(&file, &values);
        }
        found.add(last, file.into_problems());
    }
    let (mut users, problems) = table.into_users();
    for (number, problem) in problems {
        found.add(number, vec![problem]);
    }
    let problems = found.in_order();
    let policies = std::mem::take(&mut users.policies);
    let disabled = std::mem::take(&mut users.disabled);
    let mut main = main;
    let fleet_keys = main
        .as_mut()
        .map(|main| std::mem::take(&mut main.fleet_keys));
    match main.and_then(|main| main.settings(policies, disabled)) {
        Some(mut settings) if problems.is_empty() => {
            settings.fwknop_users = users.fwknop.len();
            settings.kept_closed = std::mem::take(&mut users.kept_closed);
            settings.without_hmac = without_hmac(&users.fwknop, &settings.policies);
            settings.sequences = sequence_check::ports(&users.sequences, &settings.policies);
            let sequences = users.placed_sequences();
            let problems = sequence_check::problems(&sequences, &settings);
            if !problems.is_empty() {
                return Err(Problems(problems));
            }
            let loaded = Loaded {
                settings,
                keys: users.keys,
                codes: users.codes,
                old_keys: users.old_keys,
                fwknop: users.fwknop,
                sequences: users.sequences,
                fleet_keys: fleet_keys.unwrap_or_default(),
                disabled_keys: users.disabled_keys,
                disabled_fwknop: users.disabled_fwknop,
            };
            Ok((loaded, users.listed.unwrap_or_default()))
        }
        _ => Err(Problems(problems)),
    }
}

/// The users whose packets of fwknop have no HMAC.
fn without_hmac(users: &[FwknopUser], policies: &[Policy]) -> Vec<String> {
    let users = users.iter().filter(|user| !user.key.has_mac());
    let policies = users.filter_map(|user| policies.get(user.user));
    policies.map(|policy| policy.user.to_string()).collect()
}
