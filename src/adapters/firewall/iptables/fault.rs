//! What went wrong with a run of an iptables program, as one line for people and as a kind for the driver.
//!
//! Owns the judgement of exit status and standard error. The exit status decides (invariant 10): what stands on
//! standard error beside status 0 is a warning. Pure.

use std::path::Path;

use super::list::said;
use crate::adapters::firewall::FirewallError;
use crate::model::run::{Ran, RunError};

/// What the driver does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The firewall refused the input; nothing of it is in place. It may be one change's fault.
    Refused,
    /// No change's fault, and nothing is in place: the lock is held, or the program is missing.
    Unavailable,
    /// It was ended from outside: whether the input is in place is not known.
    Doubt,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// Which command, what it said, what to do.
    pub(super) line: String,
}

impl Fault {
    pub(super) fn error(&self) -> FirewallError {
        let line = self.line.clone();
        match self.kind {
            Kind::Refused => FirewallError::Program(line),
            Kind::Unavailable => FirewallError::Locked(line),
            Kind::Doubt => FirewallError::Deadline(line),
        }
    }

    /// The kernel or the program says that there is no such address family.
    pub(super) fn says_no_family(&self) -> bool {
        self.line.contains("Address family not supported")
    }
}

/// Standard output of a run that ended well.
pub(super) fn judge(program: &Path, outcome: Result<Ran, RunError>) -> Result<String, Fault> {
    let name = program.display();
    let fault = |kind, line| Err(Fault { kind, line });
    let ran = match outcome {
        Ok(ran) => ran,
        Err(error @ RunError::Start(_)) => {
            return fault(
                Kind::Unavailable,
                format!("{name} {error}; install it again with apt-get install iptables"),
            );
        }
        Err(error @ RunError::Deadline(_)) => {
            return fault(
                Kind::Doubt,
                format!(
                    "{name} {error}; look for what holds it up with fuser -v /run/xtables.lock"
                ),
            );
        }
        Err(error) => {
            return fault(
                Kind::Doubt,
                format!("{name} {error}; run it by hand to see why"),
            );
        }
    };
    let complaint = first_line(&ran.stderr);
    match ran.status {
        Some(0) => Ok(ran.stdout),
        Some(4) if is_about_the_lock(&complaint) => fault(
            Kind::Unavailable,
            format!(
                "{name} failed with exit status 4: {complaint}; another program is changing the firewall, find it with fuser -v /run/xtables.lock"
            ),
        ),
        Some(status) => fault(
            Kind::Refused,
            format!(
                "{name} failed with exit status {status}: {complaint}; compare with the rules that iptables-save and ip6tables-save show"
            ),
        ),
        None => fault(
            Kind::Doubt,
            format!(
                "{name} was killed by a signal: {complaint}; look into the kernel's log for the reason"
            ),
        ),
    }
}

/// A run that ended with status 0 and is not believed: nobody knows what it has done.
pub(super) fn unbelieved(program: &Path, why: &str) -> Fault {
    let line = format!(
        "{} {why}; is it the program of the package iptables? Install it again with apt-get install iptables",
        program.display()
    );
    Fault {
        kind: Kind::Doubt,
        line,
    }
}

/// Status 4 also stands for a kernel that refuses a rule; only the text tells.
fn is_about_the_lock(complaint: &str) -> bool {
    let signs = [
        "xtables lock",
        "xtables.lock",
        "temporarily unavailable",
        "resource busy",
        NOTHING,
    ];
    signs.iter().any(|sign| complaint.contains(sign))
}

const NOTHING: &str = "it gave no reason";

/// The first line that says something; iptables-nft breaks its own after a colon.
fn first_line(stderr: &str) -> String {
    let mut lines = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(first), Some(second)) if first.ends_with(':') => said(&format!("{first} {second}")),
        (Some(first), _) => said(first),
        (None, _) => NOTHING.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn judged(outcome: Result<Ran, RunError>) -> (Kind, String) {
        let fault = judge(Path::new("/usr/sbin/iptables-restore"), outcome).unwrap_err();
        (fault.kind, fault.line)
    }

    fn ran(status: Option<i32>, stderr: &str) -> Result<Ran, RunError> {
        Ok(Ran {
            status,
            stdout: String::new(),
            stderr: stderr.to_owned(),
        })
    }

    #[test]
    fn each_way_to_fail_says_the_command_its_words_and_what_to_do() {
        let nft = "iptables-restore v1.8.9 (nf_tables): \nline 4: RULE_APPEND failed (Invalid argument): rule in chain FORWARD\n";
        let lock = "Another app is currently holding the xtables lock. Stopped waiting after 3s.\n";
        for (outcome, kind, words) in [
            (
                ran(Some(1), "iptables-restore: line 2 failed\nmore"),
                Kind::Refused,
                "exit status 1: iptables-restore: line 2 failed; compare",
            ),
            (
                ran(Some(4), nft),
                Kind::Refused,
                "(nf_tables): line 4: RULE_APPEND failed (Invalid argument)",
            ),
            (
                ran(Some(4), lock),
                Kind::Unavailable,
                "exit status 4: Another app",
            ),
            (
                ran(Some(4), ""),
                Kind::Unavailable,
                "exit status 4: it gave no reason",
            ),
            (
                ran(Some(2), "\u{1b}[31m\u{7}\u{fffd}garbage"),
                Kind::Refused,
                "exit status 2: ?[31m?\u{fffd}garbage",
            ),
            (ran(None, ""), Kind::Doubt, "killed by a signal"),
            (
                Err(RunError::Start("No such file".to_owned())),
                Kind::Unavailable,
                "apt-get install iptables",
            ),
            (
                Err(RunError::Deadline(Duration::from_secs(5))),
                Kind::Doubt,
                "did not finish within 5s and was killed; look",
            ),
            (
                Err(RunError::TooMuch(9)),
                Kind::Doubt,
                "wrote more than 9 bytes",
            ),
        ] {
            let (was, line) = judged(outcome);
            assert_eq!(was, kind, "{line}");
            assert!(
                line.starts_with("/usr/sbin/iptables-restore ")
                    && line.contains(words)
                    && !line.contains('\n'),
                "{line}"
            );
        }
    }

    #[test]
    fn a_warning_beside_status_0_is_no_failure() {
        let warned = Ran {
            status: Some(0),
            stdout: "x".to_owned(),
            stderr: "# Warning: iptables-legacy tables present\n".to_owned(),
        };
        assert_eq!(judge(Path::new("/x"), Ok(warned)), Ok("x".to_owned()));
    }
}
