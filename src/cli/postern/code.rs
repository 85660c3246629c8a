//! Where the one-time code of a knock comes from: standard input, POSTERN_CODE, or what the profile says, in this order.
//!
//! Never from the command line, and the secret is never here. Nobody is asked who is not at a terminal. What holds a code is wiped.

use std::ffi::OsStr;
use std::time::Duration;

use postern_proto::{Code, GateName, Malformed};
use zeroize::Zeroizing;

use super::gate;
use crate::adapters::process::own;
use crate::client::profile::CodeSource;
use crate::client::{self, Exit, Failure};

const VARIABLE: &str = "POSTERN_CODE";
/// A person may have to touch something, or to type a passphrase.
const DEADLINE: Duration = Duration::from_secs(60);
/// More than any line has that is a code.
const INPUT_MAX: usize = 256;

/// The code for a knock at this gate; none where nobody says that one is needed.
pub(super) fn obtain(
    from_input: bool,
    source: Option<&CodeSource>,
    gate: &GateName,
) -> Result<Option<Code>, Failure> {
    if from_input {
        let text = gate::read_input(INPUT_MAX)?;
        return read(text.as_bytes(), "standard input").map(Some);
    }
    if let Some(text) = std::env::var_os(VARIABLE) {
        let text = Zeroizing::new(text.into_encoded_bytes());
        return read(&text, VARIABLE).map(Some);
    }
    source.map(|source| of(source, gate)).transpose()
}

/// Whether a code comes from a place that has another one later.
pub(super) fn comes_again(from_input: bool, source: Option<&CodeSource>) -> bool {
    match source {
        _ if from_input || std::env::var_os(VARIABLE).is_some() => false,
        Some(CodeSource::Ask) => false,
        Some(CodeSource::Program(_)) | None => true,
    }
}

/// The code that the profile's own source gives.
pub(super) fn of(source: &CodeSource, gate: &GateName) -> Result<Code, Failure> {
    match source {
        CodeSource::Ask => ask(gate),
        CodeSource::Program(command) => {
            let (program, arguments) = command
                .split_first()
                .map_or(("", &[][..]), |(program, rest)| (program.as_str(), rest));
            let line = own::ask(OsStr::new(program), arguments, DEADLINE).map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("code_command: {program} {error}"),
                    "run it by hand to see what it says",
                )
            })?;
            read(&line, &format!("code_command: what {program} printed"))
        }
    }
}

/// Somebody who types is in front of the terminal: a job in the background would be stopped, and one without a terminal fails.
fn ask(gate: &GateName) -> Result<Code, Failure> {
    let cure = "put it into POSTERN_CODE, pipe it in with --code-stdin, or name a code_command in the profile";
    if !client::in_front_of_terminal() {
        return Err(Failure::new(
            Exit::Failed,
            format!("{gate} needs a one-time code, and there is no terminal to ask for it"),
            cure,
        ));
    }
    let text =
        rpassword::prompt_password(format!("one-time code for {gate}: ")).map(Zeroizing::new);
    let text = text.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("no one-time code was typed: {error}"),
            cure,
        )
    })?;
    read(text.as_bytes(), "what was typed")
}

/// Authenticators show the digits in groups: spaces between them are no part of the code.
fn read(text: &[u8], place: &str) -> Result<Code, Failure> {
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
    let code = str::from_utf8(&digits)
        .map_err(|_| Malformed::CodeDigits)
        .and_then(Code::new);
    code.map_err(|_| {
        Failure::new(
            Exit::Usage,
            format!("{place} is no one-time code"),
            "give the 6 to 8 digits alone",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_whatever_stands_between_their_groups_and_nothing_else_is() {
        for text in ["123456", " 123 456\r\n", "123\t456"] {
            assert_eq!(
                read(text.as_bytes(), "x").unwrap(),
                Code::new("123456").unwrap()
            );
        }
        for text in [
            &b"12345"[..],
            b"123456789",
            b"12345a",
            b"",
            b"\xff23456",
            b"123-456",
        ] {
            let failure = read(text, "it").unwrap_err();
            assert_eq!(
                (failure.exit(), failure.to_string().as_str()),
                (
                    Exit::Usage,
                    "it is no one-time code; give the 6 to 8 digits alone"
                )
            );
        }
    }
}
