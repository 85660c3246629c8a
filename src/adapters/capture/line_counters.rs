//! Counts what is wrong with the lines of a log sensor.

use std::sync::atomic::AtomicU64;

/// What a log sensor counts.
#[derive(Debug, Default)]
pub struct LineCounters {
    /// Lines with the prefix that are no hit.
    pub malformed: AtomicU64,
    /// Lines that the kernel overwrote before they were read.
    pub lost: AtomicU64,
}
