//! Why a firewall driver did not do what it was asked.

use crate::model::run::ProgramFailed;

/// One sentence with the cause and the cure. No caller decides by the kind of the failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FirewallError(pub(crate) String);

impl FirewallError {
    pub(crate) fn and(self, other: Self) -> Self {
        Self(format!("{self}; and {other}"))
    }
}

impl From<ProgramFailed> for FirewallError {
    fn from(failed: ProgramFailed) -> Self {
        Self(failed.line)
    }
}
