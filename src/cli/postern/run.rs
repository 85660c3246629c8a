//! `postern run`: knocks, runs a command, and asks the gate to close the grant.
//!
//! Messages go to standard error; the exit status is that of the command.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use postern_proto::Action;

use super::arguments::Run;
use super::code;
use super::guarded::{Guarded, renewal_interval};
use super::plan::Plan;
use crate::client::{CommandExit, CommandRunner};
use crate::model::exit::{ExitError, FAILED, NOT_FOUND, NOT_RUNNABLE};

pub(super) fn run(arguments: Run, config: Option<&Path>) -> Result<ExitCode, ExitError> {
    let code_stdin = arguments.code_stdin;
    let duration = arguments.grant.duration;
    let plan = Plan::new(Action::Open, arguments.request, duration, config)?;
    plan.check()?;
    if arguments.keep_open {
        plan.check_renewal()?;
    }
    let interval = || {
        let (duration, code) = (plan.request.duration, plan.code.as_ref());
        renewal_interval(
            "--keep-open",
            duration,
            code_stdin,
            code,
            plan.knock_pause(),
        )
    };
    let interval = arguments.keep_open.then(interval).transpose()?;
    let codes = code::obtain_more(code_stdin, plan.code.as_ref(), &plan.request.gate)?;
    // From here on, only SIGKILL prevents the closing of the grant.
    let runner = signals()?;
    let (messages, once) = (arguments.messages, arguments.wait.once);
    let mut grant = Guarded::new(plan, codes, interval, once, messages);
    let outcome = match grant.open(&runner, arguments.wait.limit) {
        Ok(None) => {
            let ran;
            (grant, ran) = grant.during(|| run_command(&runner, &arguments.command))?;
            ran
        }
        Ok(signal) => Ok(CommandExit {
            status: None,
            signal,
        }),
        Err(error) => Err(error),
    };
    grant.close("run", outcome.as_ref().ok().copied())?;
    outcome.map(|ended| ExitCode::from(ended.code()))
}

pub(super) fn signals() -> Result<CommandRunner, ExitError> {
    CommandRunner::new().map_err(|error| {
        ExitError::new(FAILED, format!("cannot handle signals: {error}; try again"))
    })
}

fn run_command(runner: &CommandRunner, command: &[OsString]) -> Result<CommandExit, ExitError> {
    runner.run(command).map_err(|error| {
        let name = command.first().map(|name| name.to_string_lossy());
        let name = name.unwrap_or_default();
        let code = match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_RUNNABLE,
        };
        let what = format!("cannot run {name}: {error}; name a program, or its path");
        ExitError::new(code, what)
    })
}
