//! Hooks of named services: programs that run after a grant was opened or has ended. They never change a grant.
//!
//! A hook runs for a grant that covers all ports of its service, once for each entry of the service's `ports`. Hooks run in a thread
//! behind a bounded queue, so that a slow one delays neither knocks nor closings. If the queue is full, an opening is logged and
//! skipped, and a close waits.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel,
};
use std::time::Duration;

use tracing::{error, warn};

use crate::adapters::clock::Steady;
use crate::model::exit::ExitError;
use crate::model::grant::{Grant, GrantId};
use crate::model::journal::JournalStore;
use crate::model::run::Run;
use crate::model::settings::Settings;

mod job;
mod pending;
#[cfg(test)]
mod tests;
pub(crate) mod transient;
mod worker;

use job::{Event, HookedService, Job};
use pending::{PendingCloses, PendingError};
pub(super) use worker::DEADLINE;
use worker::Worker;

const QUEUE: usize = 256;

const FINISH_WITHIN: Duration = Duration::from_secs(5);

pub(crate) type Backing = (Box<dyn Run + Send>, Box<dyn JournalStore>);

#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The monitor's directory is not usable.
    #[error(transparent)]
    Directory(#[from] ExitError),
    /// The journal is not usable.
    #[error(transparent)]
    Pending(#[from] PendingError),
    /// The system has no room for another thread.
    #[error("starting the hooks' thread: {0}")]
    Thread(io::Error),
}

/// The monitor's side of the hooks.
pub struct Hooks {
    backing: Box<dyn Fn() -> Result<Backing, HookError> + Send>,
    clock: Steady,
    services: Vec<HookedService>,
    thread: Option<Thread>,
}

struct Thread {
    events: SyncSender<Event>,
    ended: Receiver<()>,
    known: BTreeSet<GrantId>,
    /// Closed grants that did not fit into the queue. It is bounded, because openings wait until it is empty.
    waiting: VecDeque<Grant>,
}

impl Hooks {
    /// Starts the hooks of these settings. on_close programs of an earlier run, whose grants are not live, run now. `is_pending` says
    /// that there may be some. `backing` is called only if there is something to run.
    pub fn start<'a>(
        settings: &Settings,
        live: impl Iterator<Item = &'a Grant>,
        is_pending: bool,
        clock: Steady,
        backing: impl Fn() -> Result<Backing, HookError> + Send + 'static,
    ) -> Result<Self, HookError> {
        let mut hooks = Self {
            backing: Box::new(backing),
            clock,
            services: HookedService::all(settings),
            thread: None,
        };
        if is_pending || !hooks.services.is_empty() {
            hooks.start_thread(live.cloned().collect())?;
        }
        Ok(hooks)
    }

    pub fn opened(&mut self, grant: &Grant) {
        let services = self.services.iter();
        let jobs: Vec<Job> = services.flat_map(|service| service.jobs(grant)).collect();
        let Some(thread) = self.thread.as_mut().filter(|_| !jobs.is_empty()) else {
            return;
        };
        thread.send_waiting();
        let sent = thread.waiting.is_empty() && thread.events.try_send(Event::Opened(jobs)).is_ok();
        if sent {
            thread.known.insert(grant.id);
        } else {
            warn!(
                user = grant.user,
                id = grant.id.0,
                "no hook is run for {grant}: {QUEUE} are waiting for hooks that take too long"
            );
        }
    }

    pub fn closed(&mut self, grant: &Grant) {
        if let Some(thread) = self.thread.as_mut()
            && thread.known.remove(&grant.id)
        {
            thread.waiting.push_back(grant.clone());
            thread.send_waiting();
        }
    }

    pub(crate) fn send_waiting(&mut self) {
        if let Some(thread) = self.thread.as_mut() {
            thread.send_waiting();
        }
    }

    /// Uses other settings from now on. Pending on_close programs stay as they are.
    pub fn reload<'a>(&mut self, settings: &Settings, live: impl Iterator<Item = &'a Grant>) {
        self.services = HookedService::all(settings);
        if self.thread.is_none()
            && !self.services.is_empty()
            && let Err(why) = self.start_thread(live.cloned().collect())
        {
            error!("hooks are not run: {why}");
        }
    }

    /// Gives the thread some time to end. What is left runs after the next start.
    pub fn finish(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        drop(thread.events);
        let ended = thread.ended.recv_timeout(FINISH_WITHIN);
        if ended == Err(RecvTimeoutError::Timeout) || !thread.waiting.is_empty() {
            warn!(
                "hooks are still running or waiting; pending on_close programs run after the next start"
            );
        }
    }

    fn start_thread(&mut self, live: Vec<Grant>) -> Result<(), HookError> {
        let (run, journal) = (self.backing)()?;
        let mut pending = PendingCloses::open(journal)?;
        pending.compare(&live);
        let (events, received) = sync_channel(QUEUE);
        let (end, ended) = channel();
        let worker = Worker {
            pending,
            run,
            clock: self.clock,
        };
        let work = move || {
            worker.work(&received);
            drop(end);
        };
        std::thread::Builder::new()
            .name("hooks".to_owned())
            .spawn(work)
            .map_err(HookError::Thread)?;
        let known = live.iter().map(|grant| grant.id).collect();
        self.thread = Some(Thread {
            events,
            ended,
            known,
            waiting: VecDeque::new(),
        });
        Ok(())
    }
}

impl Thread {
    fn send_waiting(&mut self) {
        while let Some(grant) = self.waiting.pop_front() {
            let sent = self.events.try_send(Event::Closed(grant));
            if let Err(TrySendError::Full(Event::Closed(grant))) = sent {
                self.waiting.push_front(grant);
                return;
            }
        }
    }
}
