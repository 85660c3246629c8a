//! The command line of the client: `postern knock`, `close`, `enroll`, `import`, `keygen` and `open-packet`.
//!
//! Owns what a command prints and how it ends; what it does is the client's. One line on standard error says why it failed.

mod arguments;
mod enroll;
mod gate;
pub(super) mod json;
mod keygen;
mod knock;
mod open_packet;
mod words;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::client::{Exit, Failure};
use crate::profile::without_secrets;
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
    ending(run([OsString::from("postern")].into_iter().chain(arguments)))
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => return Err(usage(&error)),
        // Help and version were asked for.
        Err(error) => return say(&format!("{}\n", error.render().to_string().trim_end())),
    };
    let config = arguments.config.as_deref();
    match arguments.command {
        Command::Knock(knock) => knock::knock(knock, config),
        Command::Close(close) => knock::close(close, config),
        Command::Enroll(enroll) => enroll::enroll(&enroll, config),
        Command::Import(import) => enroll::import(&import, config),
        Command::Keygen(keygen) => keygen::keygen(&keygen),
        Command::OpenPacket(packet) => open_packet::open_packet(packet, config),
    }
}

fn ending(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            note(&failure.to_string());
            ExitCode::from(failure.exit() as u8)
        }
    }
}

/// What clap says in its first paragraph, on one line and without what could be a key.
fn usage(error: &clap::Error) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(Exit::Usage, "no command", "try postern --help");
    }
    let said = error.render().to_string();
    let first = said.split("\n\n").next().unwrap_or_default();
    let what = without_secrets(first.strip_prefix("error: ").unwrap_or(first));
    if what.contains("; ") {
        Failure::said(Exit::Usage, what)
    } else {
        Failure::new(Exit::Usage, what, "see postern --help, or --help behind the command")
    }
}

/// Writes to standard output. A reader who has gone away has seen all that it wanted.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Io, format!("cannot write to standard output: {error}"), "check where the output goes"))
        }
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
