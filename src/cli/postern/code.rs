//! The one-time code of a knock, from standard input, POSTERN_CODE or the source in the profile, in this order.
//!
//! Never from the command line. Asks only on a terminal. Every buffer with a code is wiped.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use postern_proto::{Code, GateName, Malformed};
use zeroize::Zeroizing;

use super::gate;
use crate::adapters::process::user_command;
use crate::client::profile::CodeSource;
use crate::client::{self, AskProgram, Codes};
use crate::model::exit::{ExitError, FAILED, USAGE};

const VARIABLE: &str = "POSTERN_CODE";
/// The user may have to touch a device or type a passphrase.
const DEADLINE: Duration = Duration::from_secs(60);
const INPUT_MAX: usize = 256;

/// The code for a knock at this gate; `None` if none is needed.
pub(super) fn obtain(
    from_input: bool,
    source: Option<&CodeSource>,
    gate: &GateName,
) -> Result<Option<Code>, ExitError> {
    if from_input {
        let text = gate::read_input(INPUT_MAX)?;
        return read(text.as_bytes(), "standard input").map(Some);
    }
    if let Some(text) = std::env::var_os(VARIABLE) {
        let text = Zeroizing::new(text.into_encoded_bytes());
        return read(&text, VARIABLE).map(Some);
    }
    source.map(|source| from_source(source, gate)).transpose()
}

/// The code for the first knock of a wait, and how to get another.
pub(super) fn obtain_more(
    from_input: bool,
    source: Option<&CodeSource>,
    gate: &GateName,
) -> Result<Codes, ExitError> {
    let first = obtain(from_input, source, gate)?;
    let more = source.filter(|_| is_renewable(from_input, source));
    let more = more.cloned().map(|source| -> AskProgram {
        let gate = gate.clone();
        Arc::new(move || from_source(&source, &gate))
    });
    Ok(Codes { first, more })
}

/// Whether the source can give a new code for each knock, without a person.
pub(super) fn is_renewable(from_input: bool, source: Option<&CodeSource>) -> bool {
    let is_fixed = from_input || std::env::var_os(VARIABLE).is_some();
    !is_fixed && source != Some(&CodeSource::Ask)
}

pub(super) fn from_source(source: &CodeSource, gate: &GateName) -> Result<Code, ExitError> {
    let command = match source {
        CodeSource::Ask => return ask(gate),
        CodeSource::Program(command) => command,
    };
    let empty = (&String::new(), &[][..]);
    let (program, arguments) = command.split_first().unwrap_or(empty);
    let line = user_command::ask(OsStr::new(program), arguments, DEADLINE).map_err(|error| {
        let cure = "run it by hand to see what it prints";
        ExitError::new(FAILED, format!("code_command: {program} {error}; {cure}"))
    })?;
    read(&line, &format!("code_command: the output of {program}"))
}

fn ask(gate: &GateName) -> Result<Code, ExitError> {
    let failed = |what: String| {
        let cure = "set POSTERN_CODE, use --code-stdin, or name a code_command in the profile";
        ExitError::new(FAILED, format!("{what}; {cure}"))
    };
    // The system stops a background job that reads from the terminal.
    if !client::is_in_foreground() {
        let what = "needs a one-time code, and there is no terminal to ask for it";
        return Err(failed(format!("{gate} {what}")));
    }
    let text = rpassword::prompt_password(format!("one-time code for {gate}: "))
        .map(Zeroizing::new)
        .map_err(|error| failed(format!("cannot read the one-time code: {error}")))?;
    read(text.as_bytes(), "the input")
}

/// Reads the digits; authenticators show them in groups with spaces.
fn read(text: &[u8], place: &str) -> Result<Code, ExitError> {
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
    let text = str::from_utf8(&digits).map_err(|_| Malformed::CodeDigits);
    text.and_then(Code::new).map_err(|_| {
        let what = format!("{place} is no one-time code; give the 6 to 8 digits alone");
        ExitError::new(USAGE, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_and_spaces_are_a_code() {
        for text in ["123456", " 123 456\r\n", "123\t456"] {
            let found = read(text.as_bytes(), "x").unwrap();
            assert_eq!(found, Code::new("123456").unwrap());
        }
        for text in [
            &b"12345"[..],
            b"123456789",
            b"12345a",
            b"",
            b"\xff23456",
            b"123-456",
        ] {
            let error = read(text, "it").unwrap_err();
            let message = "it is no one-time code; give the 6 to 8 digits alone";
            assert_eq!((error.code, error.message.as_str()), (USAGE, message));
        }
    }
}
