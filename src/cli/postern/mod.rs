//! The command line of the client: `postern knock`, `close`, `connect`, `run`, `profiles`, `enroll`, `import`, `keygen` and `open-packet`.
//!
//! Owns what a command prints and how it ends; what it does is the client's. One line on standard error says why it failed.

mod arguments;
mod code;
mod connect;
mod enroll;
mod gate;
pub(super) mod json;
mod keygen;
mod knock;
mod open_packet;
mod plan;
mod profiles;
mod run;
mod words;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use super::usage;
use crate::client::{Exit, Failure};
use arguments::{Arguments, Command};

/// The command line, for those who describe it.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    ending(run(std::env::args_os()))
}

/// Runs a client's command on behalf of another program of ours.
#[cfg(feature = "daemon")]
pub(crate) fn run_as(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    ending(run([OsString::from("postern")]
        .into_iter()
        .chain(arguments)))
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            return Err(Failure::said(Exit::Usage, usage::line(&error, "postern")));
        }
        // Help and version were asked for.
        Err(error) => {
            return say(&format!("{}\n", error.render().to_string().trim_end()))
                .map(|()| ExitCode::SUCCESS);
        }
    };
    let config = arguments.config.as_deref();
    let done = match arguments.command {
        Command::Run(run) => return run::run(run, config),
        Command::Knock(knock) => knock::knock(knock, config),
        Command::Close(close) => knock::close(close, config),
        Command::Connect(connect) => connect::connect(connect, config),
        Command::Profiles(profiles) => profiles::profiles(&profiles, config),
        Command::Enroll(enroll) => enroll::enroll(&enroll, config),
        Command::Import(import) => enroll::import(&import, config),
        Command::Keygen(keygen) => keygen::keygen(&keygen),
        Command::OpenPacket(packet) => open_packet::open_packet(packet, config),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn ending(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(failure) => {
            note(&failure.to_string());
            ExitCode::from(failure.exit() as u8)
        }
    }
}

/// Writes to standard output. A reader who has gone away has seen all that it wanted.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Io,
            format!("cannot write to standard output: {error}"),
            "check where the output goes",
        )),
        _ => Ok(()),
    }
}

/// What to do next, for people: on standard error, where no script takes it for the result.
fn hint(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A line on standard error. If nobody can read it there is nobody left to tell.
fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "postern: {text}");
}
