//! Requests to reload: by SIGHUP, or by `posternd reload` through the engine.
//!
//! An engine may be hostile, and a reload costs the monitor time. So only a few orders may wait, and the pause between two reloads
//! grows with their cost. A reload can do no other harm: it reads what root wrote, and replaces the engine that asked.

use std::time::{Duration, Instant};

use crate::adapters::clock;
use crate::core::order::{Reloaded, Report};

const WAITING_MAX: usize = 64;

/// The shortest pause between two reloads that the engine asks for.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest reason in an answer; the log has all of it. As JSON it fits into a message.
const REASON_MAX: usize = 8_000;

#[derive(Debug, Default)]
pub(in crate::daemon::monitor) struct ReloadRequests {
    is_signalled: bool,
    tickets: Vec<u64>,
    last: Option<(Instant, Duration)>,
}

impl ReloadRequests {
    pub(in crate::daemon::monitor) fn signal(&mut self) {
        self.is_signalled = true;
    }

    pub(in crate::daemon::monitor) fn is_signalled(&self) -> bool {
        self.is_signalled
    }

    /// An order to reload. `is_busy`: another reload is under way, which may have read an older config. Returns the report for an
    /// order that need not wait.
    pub(in crate::daemon::monitor) fn ask(&mut self, ticket: u64, is_busy: bool) -> Option<Report> {
        if is_busy || self.tickets.len() >= WAITING_MAX {
            let outcome = Reloaded::Busy;
            return Some(Report::Reloaded { ticket, outcome });
        }
        self.tickets.push(ticket);
        None
    }

    /// How long the orders must still wait; `None` without orders.
    pub(in crate::daemon::monitor) fn due_in(&self) -> Option<Duration> {
        let pause = self.last.map_or(Duration::ZERO, |(began, pause)| {
            pause.saturating_sub(clock::elapsed(began))
        });
        (!self.tickets.is_empty()).then_some(pause)
    }

    pub(in crate::daemon::monitor) fn is_due(&self) -> bool {
        self.is_signalled || self.due_in() == Some(Duration::ZERO)
    }

    pub(super) fn begin(&mut self) -> Vec<u64> {
        self.is_signalled = false;
        std::mem::take(&mut self.tickets)
    }

    pub(super) fn finish(&mut self, took: Duration) {
        self.last = Some((clock::instant(), took.saturating_mul(2).max(PAUSE_MIN)));
    }

    pub(super) fn forget_tickets(&mut self) {
        self.tickets.clear();
    }

    pub(in crate::daemon::monitor) fn forget_signal(&mut self) {
        self.is_signalled = false;
    }
}

/// The answer that the config was not used, with the reason cut to a bounded length.
pub(super) fn refused(why: &str) -> Reloaded {
    let mut cut = why.len().min(REASON_MAX);
    while !why.is_char_boundary(cut) {
        cut = cut.saturating_sub(1);
    }
    let more = if cut < why.len() {
        "…\nthere is more: see the log, or posternd check"
    } else {
        ""
    };
    Reloaded::Refused(format!("{}{more}", why.get(..cut).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_with_the_last_reload() {
        let mut reloads = ReloadRequests::default();
        for (took, least, most) in [(300, 500, 600), (0, 0, 1)] {
            reloads.finish(Duration::from_secs(took));
            reloads.ask(1, false);
            let due = reloads.due_in().unwrap();
            assert!(due > Duration::from_secs(least), "{due:?}");
            assert!(due <= Duration::from_secs(most), "{due:?}");
        }
    }

    #[test]
    fn long_reason_is_cut_to_fit_a_message() {
        let Reloaded::Refused(why) = refused(&"ü\u{1}".repeat(100_000)) else {
            panic!("refused")
        };
        assert!(why.len() < REASON_MAX + 100 && why.ends_with("posternd check"));
        let report = Report::Reloaded {
            ticket: u64::MAX,
            outcome: Reloaded::Refused(why),
        };
        assert!(crate::core::order::encode(&report).is_ok());
    }
}
