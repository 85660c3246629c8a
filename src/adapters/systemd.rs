//! Word to systemd, where it has started this process and listens (sd_notify(3)). Decides nothing.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// What systemd can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word<'a> {
    /// The service is up, or a reload has ended.
    Ready,
    /// The config is read anew.
    Reloading,
    /// The service is about to end.
    Stopping,
    /// One line for people.
    Status(&'a str),
    /// Still at work: the watchdog may wait on.
    Alive,
}

/// Tells it, in one go. Without systemd nothing happens.
///
/// # Errors
/// What the kernel said: nobody listens where systemd said it would.
pub fn tell(words: &[Word<'_>]) -> io::Result<()> {
    let mut states = Vec::new();
    for word in words {
        match word {
            Word::Ready => states.push(NotifyState::Ready),
            Word::Reloading => {
                states.extend([NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
            }
            Word::Stopping => states.push(NotifyState::Stopping),
            Word::Status(line) => states.push(NotifyState::Status(line)),
            Word::Alive => states.push(NotifyState::Watchdog),
        }
    }
    if states.is_empty() {
        Ok(())
    } else {
        sd_notify::notify(&states)
    }
}

/// Within which time systemd wants to hear [`Word::Alive`] again and again; `None` where it has no watchdog for this process.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|within| !within.is_zero())
}
