//! What a process gives up for good once it has what it needs: paths by landlock, system calls by seccomp.
//!
//! Owns the rules and how they are put into force. Best effort: a kernel that lacks a part gets all others, and every gap is a
//! line for the log and for `posternd check`. Must be called before the process has threads.

mod calls;
mod paths;

pub use calls::engine_calls;
pub use paths::{Paths, enclose};
