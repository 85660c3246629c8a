//! Limits of an engine's resources, so that an engine that was taken over does not use up those of the host.

use std::io;
use std::sync::Arc;

use rustix::fs::{FileType, Stat, fstat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::SIGXFSZ;

use crate::model::exit::ExitError;

/// Sockets of captures, each four times, clients of the control socket and the store are at most 250.
const FILES: u64 = 512;

/// Memory that can be written: stacks of threads, queues, and for each user keys and hints.
const MEMORY: u64 = 768 << 20;
const MEMORY_OF_USER: u64 = 1 << 10;

/// Users who knock have marks as well. Of many users, not all do so at once.
const KNOCKING_MAX: usize = 100_000;
const MEMORY_OF_MARKS: u64 = 32 << 10;

/// Length of a file: the marks.
const LENGTH: u64 = 1 << 30;
const LENGTH_OF_USER: u64 = 64 << 10;

/// Lowers the limits for good, for an engine that is not root.
pub fn lower(users: usize) -> Result<(), ExitError> {
    let knocking = users.min(KNOCKING_MAX);
    let of_all =
        |users: usize, each: u64| each.saturating_mul(users.try_into().unwrap_or(u64::MAX));
    let memory = MEMORY
        .saturating_add(of_all(users, MEMORY_OF_USER))
        .saturating_add(of_all(knocking, MEMORY_OF_MARKS));
    let length = LENGTH.saturating_add(of_all(knocking, LENGTH_OF_USER));
    // A write past the limit fails. Without a handler the signal would end the engine.
    signal_hook::flag::register(SIGXFSZ, Arc::default())
        .map_err(ExitError::system("handling SIGXFSZ"))?;
    for (resource, most) in [
        (Resource::Nofile, FILES),
        (Resource::Data, memory),
        // The kernel compares with the offset in the file, and the log may be long already.
        (Resource::Fsize, length.saturating_add(log_length())),
    ] {
        let most = getrlimit(resource)
            .maximum
            .map_or(most, |now| now.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(ExitError::system("lowering a limit"))?;
    }
    Ok(())
}

fn log_length() -> u64 {
    let length = |found: Stat| {
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        is_file.then(|| u64::try_from(found.st_size).unwrap_or_default())
    };
    let logs = [fstat(io::stdout()), fstat(io::stderr())].into_iter();
    let lengths = logs.filter_map(|found| length(found.ok()?));
    lengths.max().unwrap_or_default()
}
