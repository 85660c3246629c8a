//! What a coordinator does for the gates of one name.

use std::time::Duration;

use super::claim::{Answer, Claim};
use super::message::Publish;

/// A coordinator that other gates use as well. Its methods may be called by several threads.
pub trait Coordinator: Send + Sync {
    /// Reserves the keys, and publishes in the same transaction if that is won. Asks once: a second request for the same keys could
    /// lose against the first.
    fn claim(&self, claim: &Claim, publish: Option<&Publish>, within: Duration) -> Answer;

    /// Publishes all or nothing, at most [`TOGETHER_MAX`].
    fn publish(&self, several: &[Publish], within: Duration) -> Result<(), String>;

    /// Tells all that is live, then [`Heard::Current`], then what comes. Calls about twice a second, except
    /// for up to 8 s while it connects. Returns when `hear` returns false, and with the reason when something may have been missed:
    /// also when nothing came for some seconds.
    fn watch(&self, hear: &mut dyn FnMut(Heard<'_>) -> bool) -> Result<(), String>;

    /// Checks what claims need, and gets in advance what would slow them down. Fails with the cause and the cure.
    fn prepare(&self, within: Duration) -> Result<(), String>;

    /// Whether it is time to prepare again, although nothing failed.
    fn is_due(&self) -> bool;

    /// What is under this name, which gates of other names see as well. A value may have so many bytes.
    fn read(&self, name: &str, most: usize, within: Duration) -> Result<Stored, String>;

    /// Sets the value under this name, for good.
    fn write(&self, name: &str, value: &[u8], within: Duration) -> Result<(), String>;

    /// The same, and [`Self::watch_value`] tells it.
    fn write_watched(&self, name: &str, value: &[u8], within: Duration) -> Result<(), String>;

    /// Calls `changed` when the watch has begun, and after each change of the value under this name. Asks nothing of the coordinator
    /// between changes, or three times a minute. Returns after some minutes, and with the reason when a change may have been missed.
    fn watch_value(&self, name: &str, changed: &mut dyn FnMut()) -> Result<(), String>;

    fn remove(&self, name: &str, within: Duration) -> Result<(), String>;
}

/// The most publications in one transaction.
pub const TOGETHER_MAX: usize = 32;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    Nothing,
    Value(Vec<u8>),
    TooLong,
}

/// What a watch brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    Published(&'a str),
    Current,
    /// Nothing for now.
    Silence,
}
