//! Hooks of named services: programs that run after a grant was opened or has ended.
//!
//! A hook belongs to a grant that covers all ports of its service, whatever the knock called them, and runs once for each entry
//! of the service's `ports`. They run in a thread of their own behind a bounded queue, so that one that hangs holds up neither
//! knocks nor closings. What has no room there is said and, if it is an end, sent later. Never changes a grant.

use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel,
};
use std::time::Duration;

use tracing::{error, warn};

use crate::adapters::clock::Steady;
use crate::model::catalog::Forward;
use crate::model::command_template::CommandTemplate;
use crate::model::grant::{Grant, GrantId};
use crate::model::journal::JournalStore;
use crate::model::run::Run;
use crate::model::service::{self, Ports};
use crate::model::settings::Settings;

mod book;
#[cfg(test)]
mod tests;
mod worker;

use book::Book;
use worker::Worker;

/// How long one hook may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Openings and ends that may wait while a hook runs.
const QUEUE: usize = 256;

/// How long the monitor's own end waits for hooks.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// A service that has hooks.
#[derive(Debug, Clone)]
struct Hooked {
    name: String,
    ports: Vec<Ports>,
    forward: Option<Forward>,
    on_open: Option<CommandTemplate>,
    on_close: Option<CommandTemplate>,
}

/// What one grant asks of one entry of one service.
#[derive(Debug, Clone)]
struct Job {
    grant: Grant,
    service: String,
    ports: Ports,
    on_open: Option<CommandTemplate>,
    on_close: Option<CommandTemplate>,
}

enum Event {
    Opened(Vec<Job>),
    Closed(Grant),
}

/// What runs the thread's programs, and what keeps its debts.
pub type Means = (Box<dyn Run + Send>, Box<dyn JournalStore>);

/// The monitor's side: what it tells the thread.
pub struct Hooks {
    means: Box<dyn Fn() -> Result<Means, String> + Send>,
    clock: Steady,
    hooked: Vec<Hooked>,
    thread: Option<Thread>,
}

struct Thread {
    events: SyncSender<Event>,
    /// Ends with the thread.
    ended: Receiver<()>,
    /// Grants whose opening the thread knows, or may know from an earlier run.
    told: BTreeSet<GrantId>,
    /// Ends that found no room, in order. No more than there were grants, for openings are not taken in until it is empty.
    unsent: VecDeque<Grant>,
}

impl Hooks {
    /// Hooks of these settings; on_close programs of an earlier run whose grants are not among the live ones are made up for.
    /// `means` is asked only where there is something to run.
    ///
    /// # Errors
    /// What the earlier run left can't be read.
    pub fn start<'a>(
        settings: &Settings,
        live: impl Iterator<Item = &'a Grant>,
        is_owing: bool,
        clock: Steady,
        means: impl Fn() -> Result<Means, String> + Send + 'static,
    ) -> Result<Self, String> {
        let mut hooks = Self {
            means: Box::new(means),
            clock,
            hooked: hooked(settings),
            thread: None,
        };
        if is_owing || !hooks.hooked.is_empty() {
            hooks.start_thread(live.cloned().collect())?;
        }
        Ok(hooks)
    }

    /// A grant is open that was not before.
    pub fn opened(&mut self, grant: &Grant) {
        let jobs = jobs(&self.hooked, grant);
        let Some(thread) = self.thread.as_mut().filter(|_| !jobs.is_empty()) else {
            return;
        };
        thread.send_unsent();
        let sent = thread.unsent.is_empty() && thread.events.try_send(Event::Opened(jobs)).is_ok();
        if sent {
            thread.told.insert(grant.id);
        } else {
            warn!(
                user = grant.user,
                id = grant.id.0,
                "no hook is run for {grant}: {QUEUE} are waiting for hooks that take too long"
            );
        }
    }

    /// A grant has ended.
    pub fn closed(&mut self, grant: &Grant) {
        let Some(thread) = self
            .thread
            .as_mut()
            .filter(|thread| thread.told.contains(&grant.id))
        else {
            return;
        };
        thread.told.remove(&grant.id);
        thread.unsent.push_back(grant.clone());
        thread.send_unsent();
    }

    /// Sends what found no room before.
    pub fn go_on(&mut self) {
        if let Some(thread) = self.thread.as_mut() {
            thread.send_unsent();
        }
    }

    /// Other hooks from now on. What is owed already stays as it was.
    pub fn reload<'a>(&mut self, settings: &Settings, live: impl Iterator<Item = &'a Grant>) {
        self.hooked = hooked(settings);
        if self.thread.is_none()
            && !self.hooked.is_empty()
            && let Err(why) = self.start_thread(live.cloned().collect())
        {
            error!("hooks are not run: {why}");
        }
    }

    /// Gives the thread a little time to come to an end; what is left is kept for the next start.
    pub fn finish(&mut self) {
        let Some(Thread {
            events,
            ended,
            unsent,
            ..
        }) = self.thread.take()
        else {
            return;
        };
        drop(events);
        if ended.recv_timeout(FINISH_WITHIN) == Err(RecvTimeoutError::Timeout) || !unsent.is_empty()
        {
            warn!(
                "hooks are still running or waiting; on_close programs that are owed run after the next start"
            );
        }
    }

    fn start_thread(&mut self, live: Vec<Grant>) -> Result<(), String> {
        let (run, keep) = (self.means)()?;
        let mut book = Book::open(keep)?;
        book.compare(&live);
        let (events, received) = sync_channel(QUEUE);
        let (end, ended) = channel();
        let worker = Worker {
            book,
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
            .map_err(|error| format!("starting the hooks' thread: {error}"))?;
        let told = live.iter().map(|grant| grant.id).collect();
        self.thread = Some(Thread {
            events,
            ended,
            told,
            unsent: VecDeque::new(),
        });
        Ok(())
    }
}

impl Thread {
    fn send_unsent(&mut self) {
        while let Some(grant) = self.unsent.pop_front() {
            if let Err(TrySendError::Full(Event::Closed(grant))) =
                self.events.try_send(Event::Closed(grant))
            {
                self.unsent.push_front(grant);
                return;
            }
        }
    }
}

fn hooked(settings: &Settings) -> Vec<Hooked> {
    let with_hooks = settings
        .options
        .iter()
        .filter(|(_, options)| options.on_open.is_some() || options.on_close.is_some());
    with_hooks
        .map(|(name, options)| Hooked {
            name: name.clone(),
            ports: settings.named.get(name).cloned().unwrap_or_default(),
            forward: options.forward,
            on_open: options.on_open.clone(),
            on_close: options.on_close.clone(),
        })
        .collect()
}

fn jobs(hooked: &[Hooked], grant: &Grant) -> Vec<Job> {
    let covers = |service: &&Hooked| match &service.forward {
        Some(forward) => grant.forwards.contains(forward),
        None => service
            .ports
            .iter()
            .all(|ports| service::covered(&grant.services, *ports)),
    };
    let of_service = |service: &Hooked| -> Vec<Job> {
        let Hooked {
            name,
            ports,
            on_open,
            on_close,
            ..
        } = service;
        let job = |ports: &Ports| Job {
            grant: grant.clone(),
            service: name.clone(),
            ports: *ports,
            on_open: on_open.clone(),
            on_close: on_close.clone(),
        };
        ports.iter().map(job).collect()
    };
    hooked.iter().filter(covers).flat_map(of_service).collect()
}
