//! Sets up a gate: config, keys, folders and the engine's user. Keeps everything that exists.
//!
//! A second run does nothing. After a failure, the next run continues.

use std::path::Path;

use postern_proto::{GateName, PrivateKey};
use zeroize::Zeroizing;

use super::config_files;
use super::engine_user::{self, EngineUser, NAME, NOBODY};
use super::keys;
use super::template::Template;
use crate::adapters::config;
use crate::adapters::config::bundle::Bundle;
use crate::adapters::config::disk;
use crate::adapters::files::{self, FileErrorKind};
use crate::adapters::process::{self, Programs};
use crate::daemon::monitor::{rights, state_folder};
use crate::model::endpoint::{DEFAULT_PORT, Endpoint, Host};
use crate::model::exit::{CONFIG, ExitError, PERMISSION, USAGE};
use crate::model::run::{Call, OUTPUT, Run};
use crate::model::settings::Settings;

#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) name: Option<GateName>,
    pub(crate) addresses: Vec<Endpoint>,
    pub(crate) port: Option<u16>,
}

#[derive(Debug)]
pub(crate) struct SetUp {
    pub(crate) gate: GateName,
    pub(crate) run_as: String,
    pub(crate) steps: Vec<SetUpStep>,
    pub(crate) notes: Vec<String>,
    pub(crate) users: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetUpStep {
    pub(crate) is_new: bool,
    pub(crate) what: &'static str,
    pub(crate) name: String,
}

impl SetUpStep {
    fn new(is_new: bool, what: &'static str, name: impl std::fmt::Display) -> Self {
        let name = name.to_string();
        Self { is_new, what, name }
    }
}

/// Sets up a gate with its config at this path. Exit 78 for an invalid config.
pub(crate) fn init(config: &Path, wanted: &Wanted) -> Result<SetUp, ExitError> {
    if !rustix::process::geteuid().is_root() {
        let what = "only root can set up a gate; run posternd init as root";
        return Err(ExitError::new(PERMISSION, what));
    }
    let mut steps = Vec::new();
    let mut notes = Vec::new();
    let folder = files::folder_of(config);
    make_folder("folder", &folder, 0o755, &mut steps)?;
    let before = match config.symlink_metadata() {
        Ok(_) => Some(existing_config(config, &mut steps, &mut notes)?),
        Err(_) => None,
    };
    let run_as = engine_user(before.as_ref(), &mut steps, &mut notes);
    if before.is_none() {
        steps.push(gate_key(&folder.join("gate.key"))?);
        write_config(config, wanted, &run_as)?;
        steps.push(SetUpStep::new(true, "config", config.display()));
    } else if wanted.name.is_some() || wanted.port.is_some() || !wanted.addresses.is_empty() {
        let what = "the config existed, so --name, --address and --port had no effect";
        notes.push(format!("{what}; edit the config"));
    }
    make_folder("users", &folder.join("users.d"), 0o700, &mut steps)?;
    let settings = disk::load(config)?.1;
    let state_dir = &settings.gate.state_dir;
    let is_new = state_dir.symlink_metadata().is_err();
    state_folder::prepare(state_dir, config, &rights::run_as(&settings.gate.run_as)?)?;
    steps.push(SetUpStep::new(is_new, "state", state_dir.display()));
    Ok(SetUp {
        gate: settings.gate.name,
        run_as: settings.gate.run_as,
        steps,
        notes,
        users: settings
            .policies
            .len()
            .saturating_add(settings.disabled.len()),
    })
}

fn engine_user(
    before: Option<&Settings>,
    steps: &mut Vec<SetUpStep>,
    notes: &mut Vec<String>,
) -> String {
    let name = before.map_or(NAME, |settings| settings.gate.run_as.as_str());
    let is_known = |name: &str| nix::unistd::User::from_name(name).ok().flatten().is_some();
    let run = &mut Programs::with_deadline(engine_user::DEADLINE);
    let outcome = engine_user::ensure(name, run, process::find, is_known);
    if let EngineUser::Missing(why) = outcome {
        notes.push(match before {
            None => format!("the user {name} could not be made ({why}), so the engine runs as {NOBODY}; see run_as in the config"),
            Some(_) => format!("the user {name} could not be made ({why}); name another one with run_as in the config"),
        });
        return NOBODY.to_owned();
    }
    steps.push(SetUpStep::new(outcome == EngineUser::Made, "user", name));
    name.to_owned()
}

fn make_folder(
    what: &'static str,
    path: &Path,
    mode: u32,
    steps: &mut Vec<SetUpStep>,
) -> Result<(), ExitError> {
    let is_new = files::make_folder(path, mode).map_err(disk::unreadable)?;
    steps.push(SetUpStep::new(is_new, what, path.display()));
    Ok(())
}

fn existing_config(
    config: &Path,
    steps: &mut Vec<SetUpStep>,
    notes: &mut Vec<String>,
) -> Result<Settings, ExitError> {
    let named = config::gate_key_file(&disk::read_bundle(config).map_err(disk::unreadable)?);
    // Users with key pairs may exist before the gate's own key.
    let key = named.as_deref().map(gate_key).transpose()?;
    let settings = disk::load(config)?.1;
    steps.push(SetUpStep::new(false, "config", config.display()));
    let key = key.map_or_else(|| gate_key(&files::folder_of(config).join("gate.key")), Ok)?;
    if named.is_none() {
        let line = format!("private_key = \"{}\"", key.name);
        notes.push(format!(
            "for users with key pairs, add to [gate] in the config: {line}"
        ));
    }
    steps.push(key);
    Ok(settings)
}

fn gate_key(path: &Path) -> Result<SetUpStep, ExitError> {
    let step = |is_new| SetUpStep::new(is_new, "key", path.display());
    match files::read_private(path) {
        Ok(text) => config_files::public_key_of(&text, path).map(|_| step(false)),
        Err(error)
            if error.kind() == FileErrorKind::NotFound && path.symlink_metadata().is_err() =>
        {
            let text = PrivateKey::from_bytes(*keys::random_key()?).to_base64();
            let mut line = Zeroizing::new(String::with_capacity(text.len().saturating_add(1)));
            line.push_str(&text);
            line.push('\n');
            config_files::create(path, &line)?;
            Ok(step(true))
        }
        Err(error) => Err(disk::unreadable(error)),
    }
}

fn write_config(config: &Path, wanted: &Wanted, run_as: &str) -> Result<(), ExitError> {
    let name = wanted.name.clone().map_or_else(host_name, Ok)?;
    let template = Template {
        name: name.as_str(),
        port: wanted.port.unwrap_or(DEFAULT_PORT),
        addresses: &wanted.addresses,
        run_as,
    };
    let text = template.text();
    config::load(&Bundle::of_main(config, text.clone()))
        .map_err(|problems| ExitError::new(CONFIG, problems))?;
    config_files::create(config, &text)
}

fn host_name() -> Result<GateName, ExitError> {
    let whole = process::find("hostname").and_then(|program| {
        let ran = Programs::default().run(&Call {
            program: &program,
            args: &["-f"],
            stdin: b"",
            most: OUTPUT,
        });
        let ran = ran.ok().filter(|ran| ran.status == Some(0))?;
        Some(ran.stdout)
    });
    let short = files::read_system(Path::new("/proc/sys/kernel/hostname")).ok();
    let names = [whole, short];
    let mut names = names.iter().flatten().map(|name| name.trim());
    let is_host = |name: &str| name.parse::<Host>().is_ok();
    // A host without a name of its own is called localhost.
    let chosen = names.find(|name| is_host(name) && !name.starts_with("localhost"));
    let name = chosen.and_then(|name| GateName::new(name).ok());
    name.ok_or_else(|| {
        let what = "this host has no name of its own; give --name GATE, such as gate.example.org";
        ExitError::new(USAGE, what)
    })
}
