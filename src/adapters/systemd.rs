//! Notifies systemd of the service's state (sd_notify(3)). Without systemd nothing happens.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// What systemd can be notified of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice<'a> {
    Ready,
    Reloading,
    Stopping,
    Status(&'a str),
    Alive,
}

pub(crate) fn notify(notices: &[Notice<'_>]) -> io::Result<()> {
    let mut states = Vec::new();
    for notice in notices {
        match notice {
            Notice::Ready => states.push(NotifyState::Ready),
            Notice::Reloading => {
                states.extend([NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
            }
            Notice::Stopping => states.push(NotifyState::Stopping),
            Notice::Status(line) => states.push(NotifyState::Status(line)),
            Notice::Alive => states.push(NotifyState::Watchdog),
        }
    }
    if states.is_empty() {
        Ok(())
    } else {
        sd_notify::notify(&states)
    }
}

/// The time within which systemd's watchdog expects [`Notice::Alive`] again.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|within| !within.is_zero())
}
