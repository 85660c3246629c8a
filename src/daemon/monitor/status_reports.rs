//! What the monitor tells those who watch over it: systemd, and a node exporter. And what it asks for that: the engine, again and again.
//!
//! Decides nothing about grants or engines; an engine that does not answer is the loop's to end.

use tracing::warn;

use crate::adapters::clock::Steady;
use crate::adapters::metrics::Snapshot;
use crate::adapters::systemd::{self, Word};
use crate::daemon::monitor::child::Stage;
use crate::daemon::monitor::health::Health;
use crate::daemon::monitor::metrics_file::MetricsFile;
use crate::daemon::monitor::serve::Monitor;
use crate::model::time::count;

/// What was told last.
#[derive(Debug)]
pub(super) struct StatusReports {
    /// Never set: pauses are measured by it.
    clock: Steady,
    pub(super) health: Health,
    file: MetricsFile,
    /// Whether systemd waits to be told that the service is up, or that a reload has ended.
    is_awaited: bool,
    status: String,
    /// Whether it was said in the log that systemd does not listen.
    is_unheard: bool,
}

impl StatusReports {
    pub(super) fn new(clock: Steady) -> Self {
        let (health, file) = (
            Health::new(systemd::watchdog(), clock.now()),
            MetricsFile::default(),
        );
        Self {
            clock,
            health,
            file,
            is_awaited: true,
            status: String::new(),
            is_unheard: false,
        }
    }

    /// The config is to be read anew.
    pub(super) fn reloading(&mut self) {
        if !std::mem::replace(&mut self.is_awaited, true) {
            self.tell(&[Word::Reloading]);
        }
    }

    /// The service ends.
    pub(super) fn stopping(&mut self) {
        self.file.withdraw();
        self.tell(&[Word::Stopping, Word::Status("stopping")]);
    }

    fn tell(&mut self, words: &[Word<'_>]) {
        if let Err(error) = systemd::tell(words)
            && !std::mem::replace(&mut self.is_unheard, true)
        {
            warn!("systemd can't be told how the service does, and may take it for dead: {error}");
        }
    }
}

impl Monitor {
    /// Asks the engine and tells systemd, where it is time to.
    pub(super) fn publish(&mut self) {
        let now = self.status_reports.clock.now();
        let serves = self
            .engine
            .as_ref()
            .is_some_and(|engine| engine.stage == Stage::Ready);
        let is_due = self.status_reports.health.look(now, serves);
        if is_due {
            self.engine.iter_mut().for_each(|engine| engine.ask());
        }
        let is_up = self.served
            && !self.reload_wanted
            && self.successor.is_none()
            && self.engine.as_ref().is_none_or(|_| serves);
        if self.status_reports.is_awaited && is_up {
            self.status_reports.is_awaited = false;
            self.status_reports.status = self.status();
            let status = self.status_reports.status.clone();
            self.status_reports
                .tell(&[Word::Ready, Word::Status(&status), Word::Alive]);
        } else if is_due {
            let status = self.status();
            let alive = Some(Word::Alive).filter(|_| self.status_reports.health.is_well(now));
            let news = Some(Word::Status(&status)).filter(|_| self.status_reports.status != status);
            let words: Vec<Word<'_>> = alive.into_iter().chain(news).collect();
            self.status_reports.tell(&words);
            self.status_reports.status = status;
        }
        let figures = self
            .engine
            .as_ref()
            .filter(|_| serves)
            .map(|engine| engine.figures.as_deref());
        if let Some(None) = figures {
            // One that serves has been asked, and will answer in a moment.
            return;
        }
        let (metrics, tally) = (&self.settings.metrics, self.executor.tally());
        let captures = || {
            self.engine
                .as_ref()
                .map(|engine| engine.captures.clone())
                .unwrap_or_default()
        };
        self.status_reports.file.keep(now, metrics, || Snapshot {
            figures: figures.flatten().cloned(),
            captures: captures(),
            tally,
        });
    }

    /// The line that `systemctl status` shows. Names of users are nobody's business there.
    fn status(&self) -> String {
        let grants = count(self.executor.tally().grants, "grant");
        match &self.engine {
            Some(engine) if engine.stage == Stage::Ready => format!(
                "{}, {grants} open",
                count(self.settings.policies.len(), "user")
            ),
            _ if !self.served => "starting".to_owned(),
            _ => format!("knocks are not heard now, {grants} open; the log says why"),
        }
    }
}
