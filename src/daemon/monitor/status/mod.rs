//! Reports the monitor's status: to systemd, and to the metrics file for a node exporter.

use tracing::warn;

use crate::adapters::clock::Steady;
use crate::adapters::metrics::Snapshot;
use crate::adapters::systemd::{self, Notice};
use crate::model::counters::{EngineCounters, MonitorCounters};
use crate::model::settings::Settings;
use crate::model::time::count;

mod health;
mod metrics_file;

use health::Health;
use metrics_file::MetricsFile;

pub(super) struct MonitorStatus<'a> {
    pub(super) serves: bool,
    pub(super) has_served: bool,
    pub(super) is_settled: bool,
    pub(super) is_config_unusable: bool,
    pub(super) settings: &'a Settings,
    pub(super) tally: MonitorCounters,
    pub(super) figures: Option<&'a EngineCounters>,
}

#[derive(Debug)]
pub(super) struct StatusReporter {
    /// A copy that never follows the system's clock, to measure pauses.
    clock: Steady,
    health: Health,
    file: MetricsFile,
    is_ready_due: bool,
    line: String,
    is_failure_logged: bool,
}

impl StatusReporter {
    pub(super) fn new(clock: Steady) -> Self {
        Self {
            clock,
            health: Health::new(systemd::watchdog(), clock.now()),
            file: MetricsFile::default(),
            is_ready_due: true,
            line: String::new(),
            is_failure_logged: false,
        }
    }

    pub(super) fn beat(&self) -> std::time::Duration {
        self.health.beat()
    }

    pub(super) fn is_due(&mut self, serves: bool) -> bool {
        self.health.is_due(self.clock.now(), serves)
    }

    pub(super) fn reloading(&mut self) {
        if !std::mem::replace(&mut self.is_ready_due, true) {
            self.notify(&[Notice::Reloading]);
        }
    }

    pub(super) fn stopping(&mut self) {
        self.file.remove();
        self.notify(&[Notice::Stopping, Notice::Status("stopping")]);
    }

    pub(super) fn publish(
        &mut self,
        is_due: bool,
        status: &MonitorStatus<'_>,
        captures: impl FnOnce() -> Vec<String>,
    ) {
        let now = self.clock.now();
        if self.is_ready_due && status.has_served && status.is_settled {
            self.is_ready_due = false;
            self.line = status.line();
            let line = self.line.clone();
            self.notify(&[Notice::Ready, Notice::Status(&line), Notice::Alive]);
        } else if is_due {
            let line = status.line();
            let mut notices = Vec::new();
            if status.is_config_unusable || self.health.is_well(now) {
                notices.push(Notice::Alive);
            }
            if self.line != line {
                notices.push(Notice::Status(&line));
            }
            self.notify(&notices);
            self.line = line;
        }
        // An engine that serves has been asked, and answers in a moment.
        if status.serves && status.figures.is_none() {
            return;
        }
        self.file
            .update(now, &status.settings.metrics, || Snapshot {
                figures: status.figures.cloned(),
                captures: captures(),
                tally: status.tally,
            });
    }

    fn notify(&mut self, notices: &[Notice<'_>]) {
        if let Err(error) = systemd::notify(notices)
            && !std::mem::replace(&mut self.is_failure_logged, true)
        {
            warn!("systemd cannot be notified and may restart the service: {error}");
        }
    }
}

impl MonitorStatus<'_> {
    /// The line that `systemctl status` shows to every user, so it names none.
    fn line(&self) -> String {
        let grants = count(self.tally.grants, "grant");
        if self.serves {
            let users = count(self.settings.policies.len(), "user");
            format!("{users}, {grants} open")
        } else if !self.has_served {
            "starting".to_owned()
        } else {
            format!("knocks are not received now, {grants} open; the log says why")
        }
    }
}
