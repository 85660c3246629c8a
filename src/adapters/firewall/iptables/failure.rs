//! Judges a run of an iptables program by its exit status and standard error.
//!
//! The exit status decides (invariant 10). Text on standard error beside status 0 is a warning.

use std::path::Path;

use super::save::printable;
use crate::adapters::firewall::{FirewallError, xtables_module};
use crate::model::run::{Ran, RunError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The input was refused and nothing changed. One change of the batch may be the cause.
    Refused,
    /// Nothing changed, and no change of the batch is the cause: the lock is busy, or the program is missing.
    Unavailable,
    /// The run was cut off. The input may be in place.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunFailure {
    pub(super) effect: Effect,
    pub(super) error: FirewallError,
}

impl RunFailure {
    pub(super) fn new(effect: Effect, error: FirewallError) -> Self {
        Self { effect, error }
    }

    /// A program that ended with status 0 although its output or the kernel disagrees.
    pub(super) fn implausible(program: &Path, why: &str) -> Self {
        let line = format!(
            "{} {why}; is it the program of the package iptables? Install it again with apt-get install iptables",
            program.display()
        );
        Self::new(Effect::Unknown, FirewallError::Program(line))
    }

    pub(super) fn is_missing_family(&self) -> bool {
        let text = self.error.to_string();
        text.contains("Address family not supported")
    }
}

impl From<RunFailure> for FirewallError {
    fn from(failure: RunFailure) -> Self {
        failure.error
    }
}

pub(super) fn judge(program: &Path, outcome: Result<Ran, RunError>) -> Result<String, RunFailure> {
    let program = program.display();
    // the lock does not delay a listing
    let is_save = program.to_string().ends_with("-save");
    let (effect, kind, what, cure): (_, fn(String) -> FirewallError, _, _) = match outcome {
        Ok(ran) if ran.status == Some(0) => return Ok(ran.stdout),
        Ok(ran) => {
            if let Some(module) = xtables_module::missing(&ran.stderr) {
                let error = FirewallError::Program(format!("{program} failed: {module}"));
                return Err(RunFailure::new(Effect::Refused, error));
            }
            let reason = first_line(&ran.stderr);
            match ran.status {
                Some(4) if is_busy_lock(&reason) => (
                    Effect::Unavailable,
                    FirewallError::Locked,
                    format!("failed with exit status 4: {reason}"),
                    "another program is changing the firewall, find it with fuser -v /run/xtables.lock",
                ),
                Some(status) => (
                    Effect::Refused,
                    FirewallError::Program,
                    format!("failed with exit status {status}: {reason}"),
                    "compare with the rules that iptables-save and ip6tables-save show",
                ),
                None => (
                    Effect::Unknown,
                    FirewallError::Program,
                    format!("was killed by a signal: {reason}"),
                    "look for the reason in the kernel log",
                ),
            }
        }
        Err(error @ RunError::Start(_)) => (
            Effect::Unavailable,
            FirewallError::Program,
            error.to_string(),
            "install it again with apt-get install iptables",
        ),
        Err(error @ RunError::Deadline(_)) => (
            Effect::Unknown,
            FirewallError::Deadline,
            error.to_string(),
            if is_save {
                "this host may have too many rules to list: write backend = \"auto\" in [firewall], which reads few of them"
            } else {
                "find what delays it with fuser -v /run/xtables.lock"
            },
        ),
        Err(error) => (
            Effect::Unknown,
            FirewallError::Program,
            error.to_string(),
            "run it by hand to see why",
        ),
    };
    let error = kind(format!("{program} {what}; {cure}"));
    Err(RunFailure { effect, error })
}

/// Status 4 also means that the kernel refused a rule; only the text tells.
fn is_busy_lock(reason: &str) -> bool {
    let locks = ["xtables lock", "xtables.lock"];
    let busy = ["temporarily unavailable", "resource busy", NO_REASON];
    let mut signs = locks.iter().chain(&busy);
    signs.any(|sign| reason.contains(sign))
}

const NO_REASON: &str = "it gave no reason";

/// The first line that is not empty; iptables-nft breaks its line after a colon.
fn first_line(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().unwrap_or(NO_REASON);
    match lines.next().filter(|_| first.ends_with(':')) {
        Some(second) => printable(&format!("{first} {second}")),
        None => printable(first),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ran(status: Option<i32>, stderr: &str) -> Result<Ran, RunError> {
        Ok(Ran {
            status,
            stdout: "x".to_owned(),
            stderr: stderr.to_owned(),
        })
    }

    #[test]
    fn each_failure_names_command_cause_and_cure() {
        let nft = "iptables-restore v1.8.9 (nf_tables): \nline 4: RULE_APPEND failed (Invalid argument): rule in chain FORWARD\n";
        let lock = "Another app is currently holding the xtables lock. Stopped waiting after 3s.\n";
        let missing = RunError::Start("No such file".to_owned());
        let late = RunError::Deadline(Duration::from_secs(5));
        let refused = "iptables-restore: line 2 failed\nmore";
        let odd = "\u{1b}[31m\u{7}\u{fffd}garbage";
        let too_much = RunError::TooMuch(9);
        use Effect::{Refused, Unavailable, Unknown};
        for (outcome, effect, words) in [
            (
                ran(Some(1), refused),
                Refused,
                "exit status 1: iptables-restore: line 2 failed; compare",
            ),
            (
                ran(Some(4), nft),
                Refused,
                "(nf_tables): line 4: RULE_APPEND failed (Invalid argument)",
            ),
            (ran(Some(4), lock), Unavailable, "status 4: Another"),
            (ran(Some(4), ""), Unavailable, "4: it gave no reason"),
            (
                ran(Some(2), odd),
                Refused,
                "exit status 2: ?[31m?\u{fffd}garbage",
            ),
            (ran(None, ""), Unknown, "killed by a signal"),
            (Err(missing), Unavailable, "apt-get install iptables"),
            (Err(late), Unknown, "within 5s and was killed; find"),
            (Err(too_much), Unknown, "more than 9 bytes"),
        ] {
            let failure = judge(Path::new("/usr/sbin/iptables-restore"), outcome).unwrap_err();
            let line = failure.error.to_string();
            assert_eq!(failure.effect, effect, "{line}");
            assert!(line.starts_with("/usr/sbin/iptables-restore "), "{line}");
            assert!(line.contains(words) && !line.contains('\n'), "{line}");
        }
        let late = Err(RunError::Deadline(Duration::from_secs(5)));
        let failure = judge(Path::new("/usr/sbin/iptables-save"), late).unwrap_err();
        let line = failure.error.to_string();
        assert!(
            line.contains("too many rules to list: write backend"),
            "{line}"
        );
        let warned = ran(Some(0), "# Warning: iptables-legacy tables present\n");
        assert_eq!(judge(Path::new("/x"), warned), Ok("x".to_owned()));
    }
}
