//! Port sequences: which source has hit which ports in which order.
//!
//! The machine takes packets and the time, and says when a sequence is complete. It never reads a key: the caller inserts
//! the sequences of the current steps, remembers which ones are used, and removes them. It is bounded: one attempt for each
//! source, 65,536 sources, and the same work for each packet.

mod attempts;
mod definition;
mod hit;
mod machine;
#[cfg(test)]
mod tests;
mod tree;
mod watched;

pub use attempts::SOURCES_MAX;
pub use definition::{Expected, Flags, HITS_MAX, Invalid, Sequence, SequenceId};
pub use hit::{Hit, Tcp};
pub use machine::{Completion, Machine, Outcome, Progress, fits};
pub use tree::{Conflict, conflict};
