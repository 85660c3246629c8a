//! The engine: the unprivileged process. It holds the keys, the gate, the replay store and the control socket.
//!
//! Threads feed one bounded channel, and one loop owns the gate. The engine opens nothing itself: it sends orders to the monitor, which
//! checks each again.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::debug;

use crate::adapters::capture::log::NextFile;
use crate::adapters::capture::packet::CapturedInterface;
use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::core::order::{Order, Report};
use crate::model::datagram::Datagram;
use crate::model::exit::{ExitError, FAILED};
use crate::model::time::Timestamp;

mod batch;
pub mod core;
mod fwknop;
mod health;
pub mod limits;
mod prefilter;
pub mod privileges;
mod sample;
mod shares;
mod start;
mod threads;

use self::core::{Commit, Core};
use fwknop::FwknopThread;
use threads::{ControlThread, Event, Orders, Tried, try_pass};

/// Events that may wait for the loop. If it is full, captures wait, and the kernel drops what its buffers cannot hold.
const QUEUE: usize = 4096;

const TICK: Duration = Duration::from_millis(250);

const LAST_TICK: Duration = Duration::from_millis(10);

struct Engine {
    core: Core,
    commits: SyncSender<Commit>,
    orders: Orders,
    tables: SyncSender<RangeInclusive<u64>>,
    is_table_being_built: bool,
    captures: usize,
    interfaces: Vec<CapturedInterface>,
    next_file: NextFile,
    finish: Arc<AtomicBool>,
    control: Option<ControlThread>,
    /// `None` if nobody knocks with a client of fwknop.
    fwknop: Option<FwknopThread>,
}

/// Serves as the engine of the monitor that started this process, until another engine takes over or the monitor ends.
pub fn run() -> Result<(), ExitError> {
    let link = Link::from_stdin().map_err(ExitError::system("the link to the monitor"))?;
    let Some(parts) = start::take_over(&link)? else {
        return Ok(());
    };
    let (engine, inbox) = start_threads(link, parts)?;
    engine.serve(&inbox)
}

fn start_threads(
    link: Link,
    parts: start::EngineParts,
) -> Result<(Engine, Receiver<Event>), ExitError> {
    let mut core = parts.core;
    let (events, inbox) = sync_channel(QUEUE);
    let (commits, committed) = sync_channel(QUEUE);
    let (tables, wanted) = sync_channel(1);
    threads::store(parts.store, committed, events.clone())?;
    let keys = core.gate().hint_keys();
    threads::tables(keys, wanted, parts.prefilter, events.clone())?;
    let second = link.try_clone();
    let second = second.map_err(ExitError::system("the link to the monitor"))?;
    threads::reports(second, events.clone())?;
    let orders = threads::orders(link, QUEUE, events.clone())?;
    if let Some(listener) = parts.metrics {
        threads::metrics(listener, events.clone())?;
    }
    if let Some(reader) = parts.attempts {
        threads::attempts(reader, events.clone())?;
    }
    let (captures, finish) = (parts.captures.len(), Arc::new(AtomicBool::new(false)));
    let control = threads::control(parts.control, events.clone());
    for (name, capture) in parts.captures {
        let (number, received) = core.health().add_capture(name, capture.as_ref());
        let finish = Arc::clone(&finish);
        threads::capture(capture, number, received, finish, events.clone())?;
    }
    let users = Some(core.gate().fwknop_users());
    let users = users.filter(|users| !users.is_empty());
    let fwknop = users.map(|users| FwknopThread::start(users, events.clone()));
    let fwknop = fwknop.transpose()?;
    let engine = Engine {
        core,
        commits,
        orders,
        tables,
        is_table_being_built: false,
        captures,
        interfaces: parts.interfaces,
        next_file: parts.next_file,
        finish,
        control,
        fwknop,
    };
    let ready = engine.orders.send(&Order::Ready);
    ready.map_err(|why| ExitError::new(FAILED, why))?;
    Ok((engine, inbox))
}

impl Engine {
    fn serve(mut self, inbox: &Receiver<Event>) -> Result<(), ExitError> {
        let mut steady = clock::Steady::new();
        loop {
            let event = inbox.recv_timeout(if self.captures == 0 { LAST_TICK } else { TICK });
            let now = clock::wall();
            match event {
                Ok(Event::Failed(why)) => return Err(ExitError::new(FAILED, why)),
                Ok(event) => self.handle(now, event),
                Err(RecvTimeoutError::Timeout) if self.captures == 0 && self.is_idle() => {
                    self.control.take().into_iter().for_each(ControlThread::end);
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let what = "every thread of the engine has ended";
                    return Err(ExitError::new(FAILED, what));
                }
            }
            if let Some(step) = steady.follow() {
                self.core.clock_was_set(step);
            }
            self.core.watch_clock(now);
            if let Some(commit) = self.core.refused(now) {
                self.commit(commit);
            }
            while let Some(commit) = self.core.next_commit() {
                self.commit(commit);
            }
            self.request_next_table(now);
        }
    }

    fn handle(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Datagrams(batch) => {
                for datagram in batch.as_slice() {
                    self.datagram(now, datagram);
                }
            }
            Event::FwknopTried(tried) => {
                let Tried { datagram, found } = *tried;
                self.fwknop.iter().for_each(FwknopThread::taken);
                if let Some(commit) = self.core.fwknop(now, &datagram, found) {
                    self.commit(commit);
                }
            }
            Event::Hits(batch) => {
                for hit in batch.as_slice() {
                    if let Some(commit) = self.core.hit(now, hit) {
                        self.commit(commit);
                    }
                }
            }
            Event::Stored {
                tickets,
                failure,
                took,
            } => {
                if failure.is_none() {
                    self.core.health().stored(now, tickets.len(), took);
                }
                for ticket in tickets {
                    let result = failure.as_deref().map_or(Ok(()), Err);
                    if let Some(order) = self.core.stored(ticket, result) {
                        self.send_order(order);
                    }
                }
            }
            Event::Report(Report::Finish) => {
                self.finish.store(true, Ordering::Relaxed);
                // Leave new connections to the successor.
                self.control.iter().for_each(ControlThread::close);
            }
            Event::Report(Report::Measure) => {
                let figures = Box::new(self.core.figures());
                self.send_order(Order::Measured(figures));
            }
            Event::Report(Report::Interface { name, index }) => {
                for interface in self.interfaces.iter().filter(|one| one.name == name) {
                    interface.index.store(index, Ordering::Relaxed);
                }
            }
            Event::Report(Report::LogSensor { lost, restarts }) => {
                self.core.health().follow_log(lost, restarts);
            }
            Event::LogFile(file) => {
                let next = self.next_file.lock();
                let mut next = next.unwrap_or_else(PoisonError::into_inner);
                next.replace(file);
            }
            Event::CaptureEnded => self.captures = self.captures.saturating_sub(1),
            Event::Report(report) => {
                if let Report::Opened { grant, .. } = &report {
                    self.core.attempts.opened(now, grant);
                }
                self.core.reported(report);
            }
            Event::Attempts(attempts) => {
                for attempt in attempts {
                    let (source, service) = (attempt.source, attempt.service);
                    debug!(%source, %service, "an attempt without a grant");
                    self.core.attempts.attempt(now, attempt);
                }
            }
            Event::CaptureState(capture, lost) => self.core.health().set_lost(capture, lost),
            Event::Question(question, client) => {
                if let Some(order) = self.core.question(now, question, client) {
                    self.send_order(order);
                }
            }
            Event::MetricsRequest(reply) => {
                let order = self.core.metrics_requested(reply);
                self.send_order(order);
            }
            Event::Table(table) => {
                self.core.gate().install(table);
                self.is_table_being_built = false;
            }
            Event::Failed(_) => {}
        }
    }

    /// A packet that looks like fwknop's waits for its turn, all others go at once.
    fn datagram(&mut self, now: Timestamp, datagram: &Datagram) {
        let fwknop = self.fwknop.as_ref();
        match fwknop.filter(|_| self.core.gate().may_be_fwknop(datagram)) {
            Some(fwknop) => {
                if !self.core.fwknop_copy(now, datagram) && !fwknop.push(now, datagram) {
                    self.core.drop_fwknop(now, datagram);
                }
            }
            None => {
                if let Some(commit) = self.core.datagram(now, datagram) {
                    self.commit(commit);
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.core.is_idle() && self.fwknop.as_ref().is_none_or(FwknopThread::is_idle)
    }

    fn commit(&mut self, commit: Commit) {
        if let Err((commit, why)) = try_pass(&self.commits, commit) {
            self.core.not_taken(commit, why);
        }
    }

    fn send_order(&mut self, order: Order) {
        if let Err(why) = self.orders.send(&order) {
            self.core.order_failed(&order, why);
        }
    }

    fn request_next_table(&mut self, now: Timestamp) {
        if !self.is_table_being_built
            && let Some(steps) = self.core.gate().table_wanted(now)
        {
            self.is_table_being_built = try_pass(&self.tables, steps).is_ok();
            self.core.health().read_drops();
        }
    }
}
