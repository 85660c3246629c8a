//! The thread that runs hooks, one after another. A program that hangs is killed at its deadline and delays only other hooks.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tracing::{debug, warn};

use super::job::{Event, Job};
use super::pending::{PendingClose, PendingCloses, TRIES};
use super::transient;
use crate::adapters::clock::{self, Steady};
use crate::model::grant_values::grant_values;
use crate::model::run::{ProgramFailed, Run, first_line, run_successfully};

/// For each run of a hook.
pub(in crate::daemon::monitor) const DEADLINE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
/// The rest is for systemd, so that `systemd-run` still tells how the hook ended.
const IN_UNIT: Duration = DEADLINE.saturating_sub(Duration::from_secs(1));

pub(super) struct Worker {
    pub(super) pending: PendingCloses,
    pub(super) run: Box<dyn Run + Send>,
    /// A copy that never follows the system's clock, to measure pauses.
    pub(super) clock: Steady,
}

impl Worker {
    pub(super) fn work(mut self, events: &Receiver<Event>) {
        loop {
            let now = self.clock.now();
            let pause = self.pending.next().map_or(IDLE, |next| next.since(now));
            let pause = pause.min(IDLE);
            match events.recv_timeout(pause) {
                Ok(Event::Opened(jobs)) => self.opened(jobs),
                Ok(Event::Closed(grant)) => self.pending.close(&grant),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.run_due();
        }
        let now = self.clock.now();
        while self.pending.next().is_some_and(|next| next <= now) {
            self.run_due();
        }
    }

    fn opened(&mut self, jobs: Vec<Job>) {
        let mut openings = Vec::new();
        let mut closes = Vec::new();
        for Job {
            grant,
            service,
            ports,
            on_open,
            on_close,
            unit,
        } in jobs
        {
            let hook = |template| PendingClose {
                grant: grant.clone(),
                service: service.clone(),
                ports,
                template,
                unit: unit.clone(),
                tries: 0,
                is_due: false,
            };
            openings.extend(on_open.map(hook));
            closes.extend(on_close.map(hook));
        }
        if let Err(why) = self.pending.add(closes) {
            warn!("on_close programs may be forgotten in a crash: {why}");
        }
        for hook in openings {
            if let Err(failed) = self.run_hook("on_open", &hook) {
                let (grant, service) = (&hook.grant, &hook.service);
                warn!(
                    user = grant.user,
                    id = grant.id.0,
                    "on_open of {service} failed, the grant stays open: {grant}: {failed}"
                );
            }
        }
    }

    fn run_due(&mut self) {
        let Some(close) = self.pending.due(self.clock.now()) else {
            return;
        };
        let (grant, service) = (&close.grant, &close.service);
        let saved = match self.run_hook("on_close", &close) {
            Ok(()) => self.pending.remove(&close),
            Err(failed) => self.pending.failed(&close, self.clock.now()).map(|again| {
                let (user, id) = (&grant.user, grant.id.0);
                if again {
                    debug!(user, id, "on_close of {service} failed {} of {TRIES} times: {grant}: {failed}", close.tries.saturating_add(1));
                } else {
                    warn!(user, id, "on_close of {service} failed {TRIES} times and is given up: {grant}: {failed}");
                }
            }),
        };
        if let Err(why) = saved {
            warn!("on_close programs may run twice after a crash: {why}");
        }
    }

    fn run_hook(&mut self, which: &str, hook: &PendingClose) -> Result<(), ProgramFailed> {
        let (grant, service) = (&hook.grant, &hook.service);
        let program = hook.template.program();
        let arguments = hook
            .template
            .filled(&grant_values(grant, hook.ports, clock::wall()));
        let run = self.run.as_mut();
        let said = match &hook.unit {
            None => run_successfully(run, program, &arguments)?,
            Some(unit) => transient::run(run, unit, IN_UNIT, program, &arguments)?,
        };
        let said = first_line(&said).map_or(String::new(), |line| format!(": {line}"));
        let (user, id) = (&grant.user, grant.id.0);
        debug!(user, id, "{which} of {service} ran for {grant}{said}");
        Ok(())
    }
}
