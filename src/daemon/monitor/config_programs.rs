//! Programs of the config that the monitor runs as root: those of the command driver and the hooks, each with its journal.

use crate::adapters::clock::Steady;
use crate::adapters::files::JournalFile;
use crate::adapters::firewall::FirewallDriver;
use crate::adapters::firewall::command::{Command, program_fault};
use crate::adapters::process::Programs;
use crate::daemon::monitor::directories;
use crate::daemon::monitor::executor::Executor;
use crate::daemon::monitor::hooks::{self, Backing, HookError, Hooks};
use crate::model::exit::{CONFIG, ExitError, FAILED, UNAVAILABLE};
use crate::model::journal::JournalStore;
use crate::model::run::{Call, Ran, Run, RunError};
use crate::model::settings::Settings;

const GRANTS: &str = "grants";
const HOOKS: &str = "hooks";

/// Runs a program of the config after checking again that only root can change it.
struct Checked(Programs);

impl Run for Checked {
    fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
        match program_fault(call.program) {
            Some(fault) => Err(RunError::Start(fault.to_string())),
            None => self.0.run(call),
        }
    }
}

pub(super) fn command_driver(settings: &Settings) -> Result<Box<dyn FirewallDriver>, ExitError> {
    let programs = settings.firewall.command.clone();
    let programs = programs.ok_or_else(|| {
        let what = "there is no [firewall.command]; add it with open and close";
        ExitError::new(CONFIG, what)
    })?;
    let run = Checked(Programs::with_deadline(programs.deadline));
    let folder = directories::prepare_monitor(&settings.gate.state_dir)?;
    let journal = JournalFile::new(folder.join(GRANTS));
    let driver = Command::open(programs, Box::new(run), Box::new(journal));
    let driver = driver.map_err(|error| ExitError::new(UNAVAILABLE, error))?;
    Ok(Box::new(driver))
}

pub(super) fn close_leftovers(settings: &Settings) -> Result<usize, ExitError> {
    let path = directories::monitor_path(&settings.gate.state_dir).join(GRANTS);
    let journal: Box<dyn JournalStore> = Box::new(JournalFile::new(path.clone()));
    let left = Command::left(journal).map_err(|error| ExitError::new(UNAVAILABLE, error))?;
    if left == 0 {
        return Ok(0);
    }
    if settings.firewall.command.is_none() {
        let count = crate::model::time::count(left, "grant");
        let what = format!(
            "{} names {count} that [firewall.command] opened",
            path.display()
        );
        let cure = "put it back and run posternd flush, or close them by hand and remove the file";
        let what = format!("{what}, and there is no such section now; {cure}");
        return Err(ExitError::new(FAILED, what));
    }
    let mut driver = command_driver(settings)?;
    driver.tick(crate::adapters::clock::wall());
    let removed = driver.remove().map(|()| left);
    removed.map_err(|error| ExitError::new(FAILED, error))
}

pub(super) fn hooks(
    settings: &Settings,
    executor: &Executor,
    clock: Steady,
) -> Result<Hooks, ExitError> {
    let state_dir = settings.gate.state_dir.clone();
    let is_pending = directories::monitor_path(&state_dir).join(HOOKS).exists();
    let backing = move || -> Result<Backing, HookError> {
        let folder = directories::prepare_monitor(&state_dir)?;
        Ok((
            Box::new(Checked(Programs::with_deadline(hooks::DEADLINE))),
            Box::new(JournalFile::new(folder.join(HOOKS))),
        ))
    };
    Hooks::start(settings, executor.grants(), is_pending, clock, backing)
        .map_err(|why| ExitError::new(UNAVAILABLE, why))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::run::OUTPUT;

    #[test]
    fn writable_program_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hook");
        fs::write(&program, "#!/bin/sh\necho ran\n").unwrap();
        let run = |mode| {
            fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
            Checked(Programs::default()).run(&Call {
                program: &program,
                args: &[],
                stdin: b"",
                most: OUTPUT,
            })
        };
        assert_eq!(run(0o755).unwrap().stdout, "ran\n");
        let why = run(0o757).unwrap_err().to_string();
        assert!(
            why.starts_with("could not be started: ")
                && why.contains("could be changed by others than root"),
            "{why}"
        );
    }
}
