//! Why a sandbox was not entered.

/// The process must end, because it may have only a part of its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// Landlock failed.
    #[error("restricting paths by landlock: {0}")]
    Landlock(String),
    /// A seccomp filter could not be built.
    #[error("building a filter for system calls: {0}")]
    Filter(String),
}
