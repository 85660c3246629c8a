//! Reloads that the administrator asks for over the control socket, and so through the engine: who waits, and when the next may begin.
//!
//! An engine may be hostile, and a reload costs the monitor time. So few may wait, the rest is told to ask again, and between two
//! reloads there is a pause that grows with what the last one cost. More harm is not in it: a reload reads what root wrote, and the
//! engine that asked is followed by a fresh one. Starts nothing itself: that is `succession`'s.

use std::time::{Duration, Instant};

use crate::adapters::clock;
use crate::core::order::{Reloaded, Report};

/// Orders that may wait for the next reload.
const WAITING_MAX: usize = 64;

/// The shortest pause between two reloads that the engine asks for. One that took long is followed by a pause twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest reason that is told; the log has all of it. Written as JSON it still fits into a message.
const REASON_MAX: usize = 8_000;

/// Who waits for the next reload.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    waiting: Vec<u64>,
    /// When the last one began and how long a pause follows its end.
    last: Option<(Instant, Duration)>,
}

impl Reloads {
    /// One more order to reload. `is_busy` says that another reload is under way, which may have read the config before it was
    /// changed. Returns the report where there is nothing to wait for.
    pub(super) fn ask(&mut self, ticket: u64, is_busy: bool) -> Option<Report> {
        if is_busy || self.waiting.len() >= WAITING_MAX {
            return Some(Report::Reloaded {
                ticket,
                outcome: Reloaded::Busy,
            });
        }
        self.waiting.push(ticket);
        None
    }

    /// How long until a reload that somebody waits for may begin.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let pause = self.last.map_or(Duration::ZERO, |(end, pause)| {
            pause.saturating_sub(clock::elapsed(end))
        });
        (!self.waiting.is_empty()).then_some(pause)
    }

    /// A reload begins: it is the one that all who wait have waited for.
    pub(super) fn begin(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.waiting)
    }

    /// The monitor has done its part, which took so long.
    pub(super) fn began(&mut self, took: Duration) {
        self.last = Some((clock::instant(), took.saturating_mul(2).max(PAUSE_MIN)));
    }

    /// Those who waited went with their engine.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }
}

/// What everyone who waited for a reload is told.
pub(super) fn reports(tickets: Vec<u64>, outcome: &Reloaded) -> impl Iterator<Item = Report> + '_ {
    tickets.into_iter().map(|ticket| Report::Reloaded {
        ticket,
        outcome: outcome.clone(),
    })
}

/// That the config was not used, and why, in a bounded length.
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
    fn those_who_wait_are_bounded_and_answered_together() {
        let mut reloads = Reloads::default();
        assert_eq!(reloads.due_in(), None);
        let told: Vec<Report> = (0..100)
            .filter_map(|ticket| reloads.ask(ticket, false))
            .collect();
        assert_eq!(told.len(), 100 - WAITING_MAX);
        assert!(told.iter().all(|report| matches!(
            report,
            Report::Reloaded {
                outcome: Reloaded::Busy,
                ..
            }
        )));
        assert_eq!(reloads.due_in(), Some(Duration::ZERO));
        assert_eq!(reloads.begin().len(), WAITING_MAX);
        assert_eq!(reloads.due_in(), None);
        assert!(
            reloads.ask(7, true).is_some(),
            "what is under way may have read the config before it was changed"
        );
    }

    #[test]
    fn the_pause_before_the_next_is_twice_as_long_as_the_last_took() {
        let mut reloads = Reloads::default();
        reloads.began(Duration::from_secs(300));
        assert_eq!(reloads.ask(1, false), None);
        let due = reloads.due_in().unwrap();
        assert!(
            due > Duration::from_secs(500) && due <= Duration::from_secs(600),
            "{due:?}"
        );
        reloads.began(Duration::ZERO);
        let due = reloads.due_in().unwrap();
        assert!(due > Duration::ZERO && due <= PAUSE_MIN, "{due:?}");
    }

    #[test]
    fn a_long_reason_is_cut_and_fits_into_a_message() {
        let Reloaded::Refused(why) = refused(&"ü\u{1}".repeat(100_000)) else {
            panic!("refused")
        };
        assert!(
            why.len() < REASON_MAX + 100 && why.ends_with("posternd check"),
            "{}",
            why.len()
        );
        let report = Report::Reloaded {
            ticket: u64::MAX,
            outcome: Reloaded::Refused(why),
        };
        assert!(crate::core::order::encode(&report).is_ok());
        assert_eq!(refused("short"), Reloaded::Refused("short".to_owned()));
    }
}
