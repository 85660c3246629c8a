//! Standard output and standard error.

use std::io::{self, Write};

use crate::model::exit::{ExitError, IO};

/// Writes to standard output. A reader that has gone away is no failure.
pub(super) fn say(text: &str) -> Result<(), ExitError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let what = format!("cannot write to standard output: {error}; check where it goes");
            Err(ExitError::new(IO, what))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error. A failure to do so cannot be reported.
pub(super) fn hint(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a line with the name of the program to standard error.
pub(super) fn note(text: &str) {
    hint(&format!("postern: {text}"));
}
