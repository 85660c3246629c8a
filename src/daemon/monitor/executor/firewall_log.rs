//! Logs what keeps grants from opening, each change once.

use tracing::{info, warn};

use crate::adapters::firewall::FirewallError;
use crate::model::self_test::{FirewallState, SelfTest};

/// What was logged last.
#[derive(Debug, Default)]
pub(super) struct FirewallLog {
    /// Why no grant opens.
    obstacle: Option<FirewallError>,
    /// Services that do not open or are not hidden.
    faults: Vec<SelfTest>,
    /// How many other warnings there were.
    warnings: usize,
}

impl FirewallLog {
    /// `is_check_failed` says that a failed check was logged.
    pub(super) fn note(
        &mut self,
        state: FirewallState,
        obstacle: Option<FirewallError>,
        is_check_failed: bool,
    ) {
        if !is_check_failed && state.warnings.len() != self.warnings {
            self.warnings = state.warnings.len();
            state.warnings.iter().for_each(|what| warn!("{what}"));
        }
        let faults = state.tests.into_iter();
        let faults: Vec<SelfTest> = faults.filter(|test| test.is_right == Some(false)).collect();
        if faults != self.faults {
            for fault in &faults {
                let (service, family) = (fault.service, fault.family);
                let (granted, stranger) = (&fault.granted, &fault.stranger);
                warn!(
                    "{service} over {family}: a granted packet is {granted}; a stranger's is {stranger}; to see why: \
                     posternd check --from ADDRESS {service}"
                );
            }
            if faults.is_empty() {
                info!("every service is hidden and opens again");
            }
            self.faults = faults;
        }
        match (&obstacle, &self.obstacle) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                warn!("no grant opens now: {now}; to see why: posternd check --from ADDRESS");
            }
            (None, Some(_)) => info!("grants open again"),
            _ => {}
        }
        self.obstacle = obstacle;
    }
}
