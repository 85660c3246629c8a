//! Runs a hook in a transient unit of systemd, outside the limits of posternd's own unit.

use std::path::Path;
use std::time::Duration;

use crate::adapters::clock;
use crate::adapters::firewall::command::program_fault;
use crate::adapters::process;
use crate::model::hook_unit::HookUnit;
use crate::model::run::{ProgramFailed, Run, run_successfully};
use crate::model::time::human;

/// Runs this program with these arguments, and returns what it printed. systemd ends it after this time.
pub(super) fn run(
    run: &mut dyn Run,
    unit: &HookUnit,
    limit: Duration,
    program: &Path,
    arguments: &[String],
) -> Result<String, ProgramFailed> {
    let failed = |how: &str, hung| ProgramFailed {
        line: format!("{} in a transient unit {how}", program.display()),
        hung,
    };
    // Only systemd-run itself is checked where it is run.
    if let Some(fault) = program_fault(program) {
        return Err(failed(&format!("could not be started: {fault}"), false));
    }
    let Some(starter) = process::find("systemd-run") else {
        let how = "could not be started: there is no systemd-run; install systemd";
        return Err(failed(how, false));
    };
    let start = clock::instant();
    let arguments = unit.arguments(limit, program, arguments);
    run_successfully(run, &starter, &arguments).map_err(|error| {
        let how = error.line.strip_prefix(&*starter.to_string_lossy());
        match how.map(str::trim_start) {
            // systemd-run has no exit status for this.
            Some(_) if clock::elapsed(start) >= limit => {
                let how = format!("did not finish within {} and was killed", human(limit));
                failed(&how, true)
            }
            how => failed(how.unwrap_or(&error.line), error.hung),
        }
    })
}

/// Why no hook can run in such a unit on this host, found out with a program that does nothing.
pub(crate) fn fault(programs: &mut dyn Run, unit: &HookUnit) -> Option<String> {
    let Some(nothing) = process::find("true") else {
        return Some("the program true is missing; install coreutils".to_owned());
    };
    let tried = run(programs, unit, Duration::from_secs(3), &nothing, &[]);
    tried.err().map(|failed| failed.line)
}
