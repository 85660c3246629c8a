//! Running tests: many side by side, then one by one those that need the machine for themselves.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

/// How many tests run side by side; most of them wait more than they work.
const AT_ONCE: usize = 8;
/// How many of the slowest tests are listed at the end.
const SLOWEST: usize = 8;

static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

/// Notes how long a test took.
pub(crate) fn note(name: &str, took: Duration) {
    TIMES.lock().unwrap().push((took, name.to_owned()));
}

/// Runs `parallel` side by side, then `alone` one by one, and lists the slowest tests.
pub fn run_tests(parallel: Vec<Trial>, alone: Vec<Trial>) -> ExitCode {
    let arguments = Arguments::from_args();
    let mut has_failed = false;
    for (trials, at_once) in [(parallel, AT_ONCE), (alone, 1)] {
        if trials.is_empty() {
            continue;
        }
        let mut arguments = arguments.clone();
        arguments.test_threads = Some(arguments.test_threads.map_or(at_once, |n| n.min(at_once)));
        has_failed |= libtest_mimic::run(&arguments, trials).has_failed();
    }
    let mut times = TIMES.lock().unwrap();
    times.sort_unstable();
    for (took, name) in times.iter().rev().take(SLOWEST) {
        say(&format!("{:6.1} s  {name}", took.as_secs_f64()));
    }
    ExitCode::from(if has_failed { 101 } else { 0 })
}

/// Prints a line of a test's own.
#[expect(clippy::print_stderr, reason = "figures and reasons of a test")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// A number that an environment variable may set.
pub fn number(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number"))
    })
}
