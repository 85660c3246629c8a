//! Running a program: what goes in, what comes out, how it can fail.
//!
//! The drivers and hooks that need a program and `adapters::process`, which runs it, share this trait. No shell (invariant 6),
//! and every failure is reported (invariant 10).

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::model::time;

/// The most bytes of standard output for a caller without a smaller limit: 1 MiB.
pub const OUTPUT: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Absolute path.
    pub program: &'a Path,
    /// Argument vector without the name of the program.
    pub args: &'a [&'a str],
    pub stdin: &'a [u8],
    /// The most bytes of standard output; more is an error, because a cut answer misleads.
    pub most: usize,
}

/// A program that ran to its end, successfully or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ran {
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// The beginning of standard error; bytes that are not UTF-8 are replaced.
    pub stderr: String,
}

/// Why a program did not run to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It never started.
    #[error("could not be started: {0}")]
    Start(String),
    /// It was killed at its deadline; what it did until then is unknown.
    #[error("did not finish within {} and was killed", time::human(*.0))]
    Deadline(Duration),
    /// It was killed because it wrote more than this many bytes.
    #[error("wrote more than {0} bytes and was killed")]
    TooMuch(usize),
    /// It was killed because the system failed while it ran.
    #[error("was killed because it could not be watched: {0}")]
    Lost(String),
}

/// Runs programs: `process::Programs`, or prepared results in tests.
pub trait Run {
    /// Runs one program to its end or to its deadline.
    ///
    /// # Errors
    /// If it does not run to its end. The caller judges an exit status other than 0.
    fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgramFailed {
    pub line: String,
    /// Whether it was killed at its deadline: the next program of this kind may hang as well.
    pub hung: bool,
}

impl fmt::Display for ProgramFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// Runs a program that must succeed and returns its standard output.
///
/// # Errors
/// If it does not run to its end or its exit status is not 0.
pub(crate) fn run_successfully(
    run: &mut dyn Run,
    program: &Path,
    arguments: &[String],
) -> Result<String, ProgramFailed> {
    let args: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let call = Call {
        program,
        args: &args,
        stdin: b"",
        most: OUTPUT,
    };
    let failed = |how: String, hung| ProgramFailed {
        line: format!("{} {how}", program.display()),
        hung,
    };
    let ran = run.run(&call).map_err(|error| {
        let hung = matches!(error, RunError::Deadline(_));
        failed(error.to_string(), hung)
    })?;
    let how = match ran.status {
        Some(0) => return Ok(ran.stdout),
        Some(status) => format!("failed with exit status {status}"),
        None => "was ended by a signal".to_owned(),
    };
    let complaint = first_line(&ran.stderr).or_else(|| first_line(&ran.stdout));
    let complaint = complaint.map_or(String::new(), |line| format!(": {line}"));
    Err(failed(how + &complaint, false))
}

/// The first line that is not blank, without control characters, at most 200 characters.
pub(crate) fn first_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let shown = line.chars().filter(|letter| !letter.is_control());
    Some(shown.take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ends(Result<Ran, RunError>);

    impl Run for Ends {
        fn run(&mut self, _: &Call<'_>) -> Result<Ran, RunError> {
            self.0.clone()
        }
    }

    #[test]
    fn failed_program_is_never_a_success() {
        let ran = |status, stdout: &str, stderr: &str| {
            Ok(Ran {
                status,
                stdout: stdout.to_owned(),
                stderr: stderr.to_owned(),
            })
        };
        let run = |outcome| run_successfully(&mut Ends(outcome), Path::new("/bin/open"), &[]);
        assert_eq!(run(ran(Some(0), "done\n", "warned")).unwrap(), "done\n");
        for (outcome, line, hung) in [
            (
                ran(Some(3), "out\n", "\n  no\u{1b}[1m set\nmore"),
                "failed with exit status 3: no[1m set",
                false,
            ),
            (
                ran(Some(1), "out\nmore", ""),
                "failed with exit status 1: out",
                false,
            ),
            (ran(None, "", ""), "was ended by a signal", false),
            (
                Err(RunError::Deadline(Duration::from_secs(5))),
                "did not finish within 5s and was killed",
                true,
            ),
        ] {
            let line = format!("/bin/open {line}");
            assert_eq!(run(outcome), Err(ProgramFailed { line, hung }));
        }
    }
}
