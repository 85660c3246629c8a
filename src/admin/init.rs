//! The set-up of a gate: config, keys, folders and the engine's user. What is there already is kept, whatever it says.
//!
//! Run twice, it does nothing the second time. What comes first is what the later steps rest on, so that a step that fails leaves a
//! set-up that can be gone on with.

use std::path::Path;

use postern_proto::{GateName, PrivateKey};
use zeroize::Zeroizing;

use super::engine_user::{self, EngineUser, NAME, NOBODY};
use super::keys;
use super::template::Template;
use crate::adapters::config;
use crate::adapters::config::bundle::{Bundle, BundleFile};
use crate::adapters::config::disk;
use crate::adapters::files::{self, FileErrorKind};
use crate::adapters::process::{self, Programs};
use crate::daemon::monitor::prepare;
use crate::model::endpoint::Endpoint;
use crate::model::exit::{CONFIG, ExitError, PERMISSION, USAGE};
use crate::model::run::{Call, OUTPUT, Run};
use crate::model::settings::Settings;

/// What a new config is to say.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The gate's name; none: this host's.
    pub name: Option<GateName>,
    /// Where clients send to.
    pub addresses: Vec<Endpoint>,
    /// The UDP port of knocks; none: the usual one.
    pub port: Option<u16>,
}

/// What was done.
#[derive(Debug)]
pub struct SetUp {
    /// The gate's name.
    pub gate: GateName,
    /// The engine's user, as the config has it.
    pub run_as: String,
    /// Each part of the set-up, in the order in which it was seen to.
    pub steps: Vec<Step>,
    /// What the administrator should know besides.
    pub notes: Vec<String>,
    /// How many users there are.
    pub users: usize,
}

/// One part of the set-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// True where it was made; false where it was there and is kept.
    pub is_new: bool,
    /// What it is.
    pub what: &'static str,
    /// Its path, or its name.
    pub name: String,
}

/// Sets a gate up whose config lies there.
///
/// # Errors
/// What could not be done, and what to do; exit 78 for a config that is there and wrong.
pub fn init(config: &Path, wanted: &Wanted) -> Result<SetUp, ExitError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ExitError::new(
            PERMISSION,
            "a gate is set up by root, for its files and its user are root's; run posternd init as root",
        ));
    }
    let mut steps = Vec::new();
    let mut notes = Vec::new();
    let folder = files::folder_of(config);
    make_folder("folder", &folder, 0o755, &mut steps)?;
    let before = if config.symlink_metadata().is_ok() {
        Some(there_already(config, &mut steps, &mut notes)?)
    } else {
        None
    };
    let run_as = engine_user(before.as_ref(), &mut steps, &mut notes);
    if before.is_none() {
        steps.push(gate_key(&folder.join("gate.key"))?);
        write_config(config, wanted, &run_as)?;
        steps.push(Step {
            is_new: true,
            what: "config",
            name: config.display().to_string(),
        });
    } else if wanted.name.is_some() || wanted.port.is_some() || !wanted.addresses.is_empty() {
        notes.push(
            "the config was there, so name, address and port are as it says; change them there"
                .to_owned(),
        );
    }
    make_folder("users", &folder.join("users.d"), 0o700, &mut steps)?;
    let settings = disk::load(config)?.1;
    let state_dir = &settings.gate.state_dir;
    let is_new = state_dir.symlink_metadata().is_err();
    prepare::state_dir(state_dir, &prepare::run_as(&settings.gate.run_as)?)?;
    steps.push(Step {
        is_new,
        what: "state",
        name: state_dir.display().to_string(),
    });
    let users = settings
        .policies
        .len()
        .saturating_add(settings.disabled.len());
    Ok(SetUp {
        gate: settings.gate.name,
        run_as: settings.gate.run_as,
        steps,
        notes,
        users,
    })
}

/// The user of the config that is there, or a new one of our own; made if it is missing.
fn engine_user(
    before: Option<&Settings>,
    steps: &mut Vec<Step>,
    notes: &mut Vec<String>,
) -> String {
    let name = before.map_or(NAME, |settings| settings.gate.run_as.as_str());
    let is_known = |name: &str| nix::unistd::User::from_name(name).ok().flatten().is_some();
    let outcome = engine_user::ensure(
        name,
        &mut Programs::with_deadline(engine_user::DEADLINE),
        process::find,
        is_known,
    );
    if let EngineUser::Missing(why) = outcome {
        notes.push(match before {
            None => format!("the user {name} could not be made ({why}), so packets are read as {NOBODY}; see run_as in the config"),
            Some(_) => format!("the user {name} could not be made ({why}); name another one with run_as in the config"),
        });
        return NOBODY.to_owned();
    }
    steps.push(Step {
        is_new: outcome == EngineUser::Made,
        what: "user",
        name: name.to_owned(),
    });
    name.to_owned()
}

fn make_folder(
    what: &'static str,
    path: &Path,
    mode: u32,
    steps: &mut Vec<Step>,
) -> Result<(), ExitError> {
    let is_new = files::make_folder(path, mode).map_err(disk::unreadable)?;
    steps.push(Step {
        is_new,
        what,
        name: path.display().to_string(),
    });
    Ok(())
}

/// The config that is there, which must be right, and the key that it names. One that it does not name is made beside it.
fn there_already(
    config: &Path,
    steps: &mut Vec<Step>,
    notes: &mut Vec<String>,
) -> Result<Settings, ExitError> {
    let named = config::gate_key_file(&disk::read_bundle(config).map_err(disk::unreadable)?);
    // Users with key pairs may be there before the gate's own key is.
    let key = named.as_deref().map(gate_key).transpose()?;
    let settings = disk::load(config)?.1;
    steps.push(Step {
        is_new: false,
        what: "config",
        name: config.display().to_string(),
    });
    let key = key.map_or_else(|| gate_key(&files::folder_of(config).join("gate.key")), Ok)?;
    if named.is_none() {
        notes.push(format!(
            "for users with key pairs, add to [gate] in the config: private_key = \"{}\"",
            key.name
        ));
    }
    steps.push(key);
    Ok(settings)
}

/// The gate's key, made where it is missing.
fn gate_key(path: &Path) -> Result<Step, ExitError> {
    let step = |is_new| Step {
        is_new,
        what: "key",
        name: path.display().to_string(),
    };
    match files::read_private(path) {
        Ok(text) => keys::public_of(&text, path).map(|_| step(false)),
        Err(error)
            if error.kind() == FileErrorKind::NotFound && path.symlink_metadata().is_err() =>
        {
            let text = PrivateKey::from_bytes(*keys::random_key()?).to_base64();
            let mut line = Zeroizing::new(String::with_capacity(text.len().saturating_add(1)));
            line.push_str(&text);
            line.push('\n');
            files::place_private(path, line.as_bytes()).map_err(disk::unreadable)?;
            Ok(step(true))
        }
        Err(error) => Err(disk::unreadable(error)),
    }
}

/// Writes a config that is known to load.
fn write_config(config: &Path, wanted: &Wanted, run_as: &str) -> Result<(), ExitError> {
    let port = wanted.port.unwrap_or(crate::model::endpoint::DEFAULT_PORT);
    let name = wanted.name.clone().map_or_else(host_name, Ok)?;
    let text = Template {
        name: name.as_str(),
        port,
        addresses: &wanted.addresses,
        run_as,
    }
    .text();
    let main = Some(BundleFile {
        path: config.to_owned(),
        text: Zeroizing::new(text.clone()),
    });
    config::load(&Bundle {
        main,
        ..Bundle::default()
    })
    .map_err(|problems| ExitError::new(CONFIG, problems))?;
    files::place_private(config, text.as_bytes()).map_err(disk::unreadable)
}

/// The host's name with its domain, where it has one.
fn host_name() -> Result<GateName, ExitError> {
    let whole = process::find("hostname").and_then(|program| {
        let ran = Programs::default().run(&Call {
            program: &program,
            args: &["-f"],
            stdin: b"",
            most: OUTPUT,
        });
        ran.ok()
            .filter(|ran| ran.status == Some(0))
            .map(|ran| ran.stdout)
    });
    let short = files::read_system(Path::new("/proc/sys/kernel/hostname")).ok();
    let names = [whole, short];
    // A host that does not know its own name calls itself so.
    let chosen = names
        .iter()
        .flatten()
        .map(|name| name.trim())
        .find(|name| is_host(name) && !name.starts_with("localhost"));
    let name = chosen.and_then(|name| GateName::new(name).ok());
    name.ok_or_else(|| ExitError::new(USAGE, "this host has no name that would tell it from others; say --name GATE, such as gate.example.org"))
}

fn is_host(name: &str) -> bool {
    name.parse::<crate::model::endpoint::Host>().is_ok()
}
