//! The command line of `posternd`: arguments in, text or JSON and an exit code out.

mod arguments;
mod ask;
mod attempts;
mod check;
mod explain;
mod flush;
mod grants;
mod handout;
mod import;
mod init;
mod output;
mod qr;
mod reload;
mod requests;
mod reset_clock;
mod roster;
mod roster_arguments;
mod shared_arguments;

mod status;
mod user;
mod user_arguments;
mod user_text;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tracing::error;

use super::usage;
use crate::adapters::log::{self, Form};
use crate::admin::demo;
use crate::cli::deferred::{Deferred, whole};
use crate::daemon::cluster;
use crate::daemon::engine;
use crate::daemon::monitor;
use crate::daemon::roster::taker;
use crate::model::exit::{ExitError, USAGE};
use arguments::{Arguments, Command};

/// The command line, for help pages and completions.
pub fn command() -> clap::Command {
    whole::<Arguments>()
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let form = log::start();
    match parsed().and_then(dispatch) {
        Ok(code) => code,
        Err(stop) => {
            for line in stop.message.lines() {
                match form {
                    Form::Journal => error!(exit = stop.code, "{line}"),
                    Form::Text | Form::Json => {
                        drop(writeln!(std::io::stderr(), "posternd: {line}"))
                    }
                }
            }
            ExitCode::from(stop.code)
        }
    }
}

fn parsed() -> Result<Command, ExitError> {
    // The most frequent start needs no parser, which would take half a megabyte.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "engine") && arguments.next().is_none() {
        return Ok(Command::Engine);
    }
    match Arguments::try_parse() {
        Ok(arguments) => Ok(arguments.command),
        Err(error) if error.use_stderr() => {
            Err(ExitError::new(USAGE, usage::line(&error, "posternd")))
        }
        // Help or version.
        Err(error) => error.exit(),
    }
}

fn dispatch(command: Command) -> Result<ExitCode, ExitError> {
    match command {
        Command::Init(Deferred(init)) => init::carry_out(&init),
        Command::Import(Deferred(import)) => import::carry_out(&import),
        Command::User(Deferred(user)) => user::carry_out(user.command),
        Command::Roster(Deferred(roster)) => roster::carry_out(roster.command),
        Command::Run(Deferred(run)) => {
            monitor::run(&run.config.config, run.trial).map(|()| ExitCode::SUCCESS)
        }
        Command::Protect => protect(),
        Command::Cluster => cluster::run().map(|()| ExitCode::SUCCESS),
        Command::TakeRoster(Deferred(take)) => taker::run(&take.config.config, take.loaded),
        Command::Engine => engine::run().map(|()| ExitCode::SUCCESS),
        Command::Check(Deferred(check)) => check::carry_out(&check),
        Command::Flush(Deferred(report)) => flush::carry_out(&report),
        Command::ResetClock(Deferred(report)) => reset_clock::carry_out(&report),
        Command::Status(Deferred(arguments)) => status::status(&arguments),
        Command::Grants(Deferred(arguments)) => grants::grants(&arguments),
        Command::Metrics(Deferred(config)) => requests::metrics(config),
        Command::Close(Deferred(close)) => requests::close(&close),
        Command::Confirm(Deferred(report)) => requests::confirm(&report),
        Command::Reload(Deferred(report)) => reload::carry_out(&report),
        Command::Explain(Deferred(arguments)) => explain::explain(&arguments),
        Command::Demo(Deferred(options)) => demo::run(&options),
        Command::AsClient { arguments } => Ok(super::postern::run_as(arguments)),
    }
}

fn protect() -> Result<ExitCode, ExitError> {
    let text = match monitor::protect()? {
        Some(closed) => format!("closed for everyone without a grant: {closed}\n"),
        None => "no protection is kept for the boot\n".to_owned(),
    };
    drop(std::io::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}
