//! The one place that opens files.
//!
//! Keys and configs are read whole into a buffer that is wiped, and refused if others can read or change them. Checks are
//! made on the opened file, not on its path. No byte of a file reaches an error (invariant 7).

mod checks;
mod error;
#[cfg(feature = "daemon")]
mod journal;
#[cfg(feature = "daemon")]
mod lock_watch;
mod medium;
mod read;
mod system;
mod write;

pub(crate) use checks::folder_of;
pub use error::{FileError, FileErrorKind};
#[cfg(feature = "daemon")]
pub use journal::JournalFile;
#[cfg(feature = "daemon")]
pub(crate) use lock_watch::LockWatch;
#[cfg(feature = "daemon")]
pub(crate) use medium::Medium;
pub(crate) use read::{files_in, without_mark};
#[cfg(feature = "daemon")]
pub(crate) use read::{read_at_most, read_before, read_config, read_private_bytes, read_roster};
pub use read::{read_open, read_private};
#[cfg(feature = "daemon")]
pub(crate) use system::{create_log, open_input, open_lock, open_to_read, write_system};
pub(crate) use system::{open_nothing, open_terminal, read_system};
pub use write::{make_folder, write_private};
#[cfg(feature = "daemon")]
pub(crate) use write::{publish, withdraw};
