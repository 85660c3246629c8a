//! The command line of the daemon: arguments in, text or JSON and an exit code out. Decides nothing.

mod arguments;
mod asking;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing::error;

use crate::log::{self, Form};
use crate::monitor::{self, check};
use crate::stop::{FAILED, Stop};
use crate::{demo, engine};
use arguments::{Arguments, Command};

/// The command line, for those who describe it.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let form = log::start();
    match carry_out(Arguments::parse().command) {
        Ok(code) => code,
        Err(stop) => {
            for line in stop.message.lines() {
                match form {
                    Form::Journal => error!(exit = stop.code, "{line}"),
                    Form::Text | Form::Json => drop(writeln!(std::io::stderr(), "posternd: {line}")),
                }
            }
            ExitCode::from(stop.code)
        }
    }
}

fn carry_out(command: Command) -> Result<ExitCode, Stop> {
    match command {
        Command::Run(run) => monitor::run(&run.config.config, run.trial).map(|()| ExitCode::SUCCESS),
        Command::Engine => engine::run().map(|()| ExitCode::SUCCESS),
        Command::Check(report) => {
            let findings = check::check(&report.config.config);
            say(&if report.json { findings.json() } else { findings.to_string() })?;
            Ok(ExitCode::from(findings.exit_code()))
        }
        Command::Flush(config) => {
            let said = monitor::flush(&config.config)?;
            say(&said).map(|()| ExitCode::SUCCESS)
        }
        Command::Status(report) => asking::status(&report),
        Command::Grants(report) => asking::grants(&report),
        Command::Metrics(config) => asking::metrics(config),
        Command::Close(close) => asking::end(&close),
        Command::Confirm(report) => asking::confirm(&report),
        Command::Demo(options) => demo::run(&options),
        Command::AsClient { arguments } => Ok(super::postern::run_as(arguments)),
    }
}

fn say(text: &str) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Stop::system("writing to standard output"))
}

fn say_json(value: &impl serde::Serialize) -> Result<ExitCode, Stop> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Stop::new(FAILED, error))?;
    say(&format!("{text}\n")).map(|()| ExitCode::SUCCESS)
}
