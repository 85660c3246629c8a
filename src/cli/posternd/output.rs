//! Standard output and standard error.

use std::io::{BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use serde_json::Value;

use super::shared_arguments::Report;
use crate::adapters::control;
use crate::model::exit::{ExitError, FAILED};

const BUFFER: usize = 64 << 10;

pub(super) fn print(text: &str) -> Result<ExitCode, ExitError> {
    let done = write(text).map(|()| ExitCode::SUCCESS);
    done.map_err(ExitError::system("writing to standard output"))
}

/// Prints a text, or with `--json` an object after adding the version.
pub(super) fn answer(report: &Report, mut json: Value, text: &str) -> Result<ExitCode, ExitError> {
    if !report.json {
        return print(text);
    }
    if let Some(fields) = json.as_object_mut() {
        fields.insert("version".to_owned(), control::VERSION.into());
    }
    print_json(&json)
}

/// Writes text; false if the reader has closed the pipe, as `head` does. That is no failure.
pub(super) fn print_while_read(text: &str) -> Result<bool, ExitError> {
    match write(text) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(ExitError::system("writing to standard output")(error)),
    }
}

/// Writes while it makes the text, which can be long.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<ExitCode, ExitError> {
    let failed = ExitError::system("writing to standard output");
    let mut out = BufWriter::with_capacity(BUFFER, std::io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from);
    written
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map(|()| ExitCode::SUCCESS)
        .map_err(failed)
}

pub(super) fn json_line(value: &impl serde::Serialize) -> Result<String, ExitError> {
    serde_json::to_string(value)
        .map(|text| text + "\n")
        .map_err(|error| ExitError::new(FAILED, error))
}

pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "posternd: {text}");
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}
