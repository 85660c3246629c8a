//! The engine's state: for `posternd status`, and as counters.

use super::claiming::Claiming;
use super::core::Core;
use crate::adapters::control::status::QuotaStatus;
use crate::adapters::control::{self, Status};
use crate::adapters::metrics::Snapshot;
use crate::core::gate::QuotaLeft;
use crate::model::counters::{EngineCounters, MonitorCounters};
use crate::model::time::{Timestamp, millis};

const QUOTAS_MAX: usize = 100;

impl Core {
    pub(super) fn metrics(&mut self, tally: MonitorCounters) -> String {
        let captures = self.health.captures().into_iter();
        let snapshot = Snapshot {
            captures: captures.map(|capture| capture.name).collect(),
            figures: Some(self.figures()),
            tally,
        };
        snapshot.open_metrics()
    }

    pub fn status(&mut self, now: Timestamp) -> Status {
        let counters = self.health.with_kernel(self.gate.counters());
        let given = counters.iter().filter(|(_, count)| *count > 0);
        let (spent, more_quotas) = self.gate.quotas_left(now, QUOTAS_MAX);
        let quota = |spent: QuotaLeft| QuotaStatus {
            user: spent.user,
            quota: spent.quota.to_string(),
            left: spent.left,
            whole: spent.whole,
        };
        let uptime = now.since(self.started);
        Status {
            version: control::VERSION,
            gate: self.gate_name.clone(),
            backend: self.health.backend.clone(),
            daemon_uptime_ms: millis(self.health.daemon_uptime.saturating_add(uptime)),
            uptime_ms: millis(uptime),
            clock_ahead_ms: millis(self.gate.times().floor.since(now)),
            roster_version: self.health.roster_version,
            users: self.gate.users(),
            marks: self.gate.marks(),
            admitted: counters.admitted,
            reasons: given
                .map(|(reason, count)| (reason.to_string(), count))
                .collect(),
            hint_filter: self.health.kernel.is_some(),
            captures: self.health.captures(),
            store: self.health.store(),
            cluster: self.cluster_status(now),
            quotas: spent.into_iter().map(quota).collect(),
            more_quotas,
            nflog_group: self.health.nflog_group,
            attempts: self.attempts.sources(),
            unused: self.attempts.unused(now),
        }
    }

    /// What the engine counts.
    pub fn figures(&mut self) -> EngineCounters {
        EngineCounters {
            started: self.started,
            users: self.gate.users(),
            marks: self.gate.marks(),
            hints: self.gate.hint_rows(),
            counters: self.health.with_kernel(self.gate.counters()),
            captures: self.health.capture_counters(),
            claims: self.claiming.as_ref().map(Claiming::counters),
            fleet: self.fleet_status().map(Box::new),
        }
    }
}
