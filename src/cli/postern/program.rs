//! Runs the command of one process.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::arguments::{Arguments, CONFIG_VARIABLE, Command};
use super::output::{note, say};
use super::{connect, enroll, keep, keygen, knock, open_packet, plain, profiles, run};
use crate::cli::deferred::{Deferred, whole};
use crate::cli::usage;
use crate::model::exit::{ExitError, USAGE};

/// The definition of the command line.
pub fn command() -> clap::Command {
    whole::<Arguments>()
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    run_as(std::env::args_os().skip(1))
}

/// Runs a command with these arguments.
pub(crate) fn run_as(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Core files of this process would show its keys. A command of `postern run` is dumpable again, because exec resets it.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        note(&format!("a core file may show keys: {error}"));
    }
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    dispatch(arguments).unwrap_or_else(|error| {
        note(&error.message);
        ExitCode::from(error.code)
    })
}

fn dispatch(arguments: Vec<OsString>) -> Result<ExitCode, ExitError> {
    let parsed = match plain::knock(&arguments, std::env::var_os(CONFIG_VARIABLE)) {
        Some(arguments) => Ok(arguments),
        None => Arguments::try_parse_from([OsString::from("postern")].into_iter().chain(arguments)),
    };
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            return Err(ExitError::new(USAGE, usage::line(&error, "postern")));
        }
        // Help or version.
        Err(error) => {
            let text = error.render().to_string();
            return say(&format!("{}\n", text.trim_end())).map(|()| ExitCode::SUCCESS);
        }
    };
    let config = arguments.config.as_deref();
    let done = match arguments.command {
        Command::Run(Deferred(run)) => return run::run(run, config),
        Command::Keep(Deferred(keep)) => return keep::keep(keep, config),
        Command::Knock(Deferred(knock)) => knock::knock(knock, config),
        Command::Close(Deferred(close)) => knock::close(close, config),
        Command::Connect(Deferred(connect)) => connect::connect(connect, config),
        Command::Profiles(Deferred(profiles)) => profiles::profiles(&profiles, config),
        Command::Enroll(Deferred(enroll)) => enroll::enroll(&enroll, config),
        Command::Import(Deferred(import)) => enroll::import(&import, config),
        Command::Keygen(Deferred(keygen)) => keygen::keygen(&keygen),
        Command::OpenPacket(Deferred(packet)) => open_packet::open_packet(packet, config),
    };
    done.map(|()| ExitCode::SUCCESS)
}
