//! Why a sandbox was not entered.

/// The process must end, because it may have only a part of its sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("restricting paths by landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("building a filter for system calls: {0}")]
    Filter(#[from] seccompiler::BackendError),
}
