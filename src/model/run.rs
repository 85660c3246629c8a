//! What it means to run a program: what goes in, what comes out, how it can fail.
//!
//! Owns the seam between the adapters that need a program run and the one module that runs it (`program`), so that
//! neither imports the other. Runs nothing itself. Carries out invariants 6 and 10: no shell, and no failure goes unseen.

use std::path::Path;
use std::time::Duration;

/// Most bytes of standard output that are taken where a caller has no other need: 1 MiB.
pub const OUTPUT: usize = 1 << 20;

/// One program to run.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Absolute path.
    pub program: &'a Path,
    /// Argument vector without the name of the program.
    pub args: &'a [&'a str],
    /// What it reads from standard input.
    pub stdin: &'a [u8],
    /// Most bytes of standard output; more is an error, for half an answer is none.
    pub most: usize,
}

/// A program that ran to its end, well or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ran {
    /// Exit status; `None` where a signal ended it.
    pub status: Option<i32>,
    /// Standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// The beginning of standard error; what is not UTF-8 is replaced.
    pub stderr: String,
}

/// Why a program did not run to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It never started: it is missing, not executable, or the system is short of something.
    #[error("could not be started: {0}")]
    Start(String),
    /// It was killed because its time was up; what it had done by then is not known.
    #[error("did not finish within {} and was killed", crate::model::time::human(*.0))]
    Deadline(Duration),
    /// It was killed because it wrote more than this many bytes.
    #[error("wrote more than {0} bytes and was killed")]
    TooMuch(usize),
    /// The system failed while it ran; it was killed.
    #[error("was killed because it could not be watched: {0}")]
    Lost(String),
}

/// Runs programs: `program::Programs` in earnest, a script of outcomes in tests.
pub trait Run {
    /// Runs one program to its end, or until its time is up.
    ///
    /// # Errors
    /// It did not run to its end. An exit status other than 0 is not an error here, the caller judges it.
    fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError>;
}
