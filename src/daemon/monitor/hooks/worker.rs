//! The thread that runs hooks, one after another. A program that hangs is killed at its deadline and delays only other hooks.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tracing::{debug, warn};

use super::job::{Event, Job};
use super::pending::{PendingClose, PendingCloses, TRIES};
use crate::adapters::clock::{self, Steady};
use crate::model::command_template::CommandTemplate;
use crate::model::grant::Grant;
use crate::model::grant_values::grant_values;
use crate::model::run::{ProgramFailed, Run, first_line, run_successfully};
use crate::model::service::Ports;

const IDLE: Duration = Duration::from_secs(60);

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
        } in jobs
        {
            openings
                .extend(on_open.map(|template| (grant.clone(), service.clone(), ports, template)));
            closes.extend(on_close.map(|template| PendingClose {
                grant,
                service,
                ports,
                template,
                tries: 0,
                is_due: false,
            }));
        }
        if let Err(why) = self.pending.add(closes) {
            warn!("on_close programs may be forgotten in a crash: {why}");
        }
        for (grant, service, ports, template) in openings {
            if let Err(failed) = self.run_hook("on_open", &service, &template, &grant, ports) {
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
        let (grant, service, template) = (&close.grant, &close.service, &close.template);
        let saved = match self.run_hook("on_close", service, template, grant, close.ports) {
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

    fn run_hook(
        &mut self,
        which: &str,
        service: &str,
        template: &CommandTemplate,
        grant: &Grant,
        ports: Ports,
    ) -> Result<(), ProgramFailed> {
        let arguments = template.filled(&grant_values(grant, ports, clock::wall()));
        let said = run_successfully(self.run.as_mut(), template.program(), &arguments)?;
        let said = first_line(&said).map_or(String::new(), |line| format!(": {line}"));
        let (user, id) = (&grant.user, grant.id.0);
        debug!(user, id, "{which} of {service} ran for {grant}{said}");
        Ok(())
    }
}
