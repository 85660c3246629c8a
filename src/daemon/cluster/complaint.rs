//! Limits the log lines about what fails again and again: a server may give another reason each time.

use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(10);

/// What was logged about one thing that fails.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    /// The reason that was logged last. `None`: it worked since.
    said: Option<String>,
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaint {
    /// The end of the line, if one is to be logged: the reason, and how many failures were not logged since the last line.
    pub(super) fn line(&mut self, now: Instant, why: &str) -> Option<String> {
        if self.said.as_deref() == Some(why) {
            return None;
        }
        let is_early = |last: Instant| now.saturating_duration_since(last) < LINE_EVERY;
        if self.last.is_some_and(is_early) {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        (self.said, self.last) = (Some(why.to_owned()), Some(now));
        Some(match std::mem::take(&mut self.unsaid) {
            0 => why.to_owned(),
            unsaid => format!("{why} ({unsaid} failures before it were not logged)"),
        })
    }

    /// It worked.
    pub(super) fn is_over(&mut self) {
        self.said = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock;

    #[test]
    fn other_reasons_make_few_lines() {
        let (start, mut complaint) = (clock::instant(), Complaint::default());
        let mut lines = Vec::new();
        for tenth in 0..250 {
            let now = start + Duration::from_millis(100 * tenth);
            lines.extend(complaint.line(now, &format!("reason {tenth}")));
            // It works now and then.
            if tenth % 7 == 0 {
                complaint.is_over();
            }
        }
        let unsaid = " (99 failures before it were not logged)";
        let wanted = ["reason 0".to_owned(), format!("reason 100{unsaid}")];
        assert_eq!(lines[..2], wanted);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn reason_that_stays_is_logged_once() {
        let (start, mut complaint) = (clock::instant(), Complaint::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(complaint.line(at(0), "away").is_some());
        assert!((1..60).all(|second| complaint.line(at(second), "away").is_none()));
        // It is back for a moment: the next failure is a new one.
        complaint.is_over();
        assert_eq!(complaint.line(at(60), "away").as_deref(), Some("away"));
    }
}
