//! Why a firewall driver did not do what it was asked: one sentence each, with the cause and the cure.

use crate::model::run::ProgramFailed;

/// Why the firewall did not change or could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirewallError {
    /// A program failed, or printed something that the driver does not understand.
    #[error("{0}")]
    Program(String),
    /// A program did not finish in time and was killed. Its change may be in place.
    #[error("{0}")]
    Deadline(String),
    /// Another program holds the lock of the firewall. Nothing changed.
    #[error("{0}")]
    Locked(String),
    /// The kernel refused a message.
    #[error("{0}")]
    Kernel(String),
    /// The kernel's answer is lost or unreadable. The change may be in place.
    #[error("{0}")]
    Unanswered(String),
    /// This host or this driver cannot do it, or the grant has no form in this firewall.
    #[error("{0}")]
    Unsupported(String),
    /// The part of the firewall that the change belongs to is not installed.
    #[error("{0}")]
    NotInstalled(String),
    /// The host's own rules drop granted packets, and Postern cannot change that.
    #[error("{0}")]
    HostDrops(String),
    /// An entry in Postern's own chains or table is not one that Postern wrote.
    #[error("{0}")]
    Foreign(String),
    /// The journal of open grants cannot be read or written.
    #[error("{0}")]
    Journal(String),
    /// A second step failed after the first one.
    #[error("{0}; and {1}")]
    Both(Box<FirewallError>, Box<FirewallError>),
}

impl FirewallError {
    /// Both errors; the first one is the reason.
    pub fn and(self, other: Self) -> Self {
        Self::Both(Box::new(self), Box::new(other))
    }
}

impl From<ProgramFailed> for FirewallError {
    fn from(failed: ProgramFailed) -> Self {
        if failed.hung {
            Self::Deadline(failed.line)
        } else {
            Self::Program(failed.line)
        }
    }
}
