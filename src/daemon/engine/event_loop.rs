//! The engine's loop: packets, reports and events, one after the other. It owns the gate and waits neither for the disk nor for the monitor.

use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tracing::debug;

use super::commit::{Commit, Done, Work};
use super::core::Core;
use super::events::{Event, Inbox, Tried};
use super::fwknop::FwknopThread;
use super::threads::{ControlThread, Orders, try_pass};
use crate::adapters::capture::Capture;
use crate::adapters::capture::log::NextFile;
use crate::adapters::capture::packet::CapturedInterface;
use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::adapters::store::ReplayStore;
use crate::core::gate::FwknopRow;
use crate::core::order::{Order, Report};
use crate::model::datagram::Datagram;
use crate::model::exit::{ExitError, FAILED};
use crate::model::reason::Drop;
use crate::model::time::Timestamp;

/// So many packets at once are a flood. Then a pause saves time, because waking a thread costs more than a packet. The system makes the
/// pause about twice as long.
const FLOOD: usize = 4;
const FLOOD_PAUSE: Duration = Duration::from_micros(100);

/// So long nothing comes before an engine ends.
pub(super) const LAST_TICK: Duration = Duration::from_millis(10);

pub(super) struct Engine {
    pub(super) core: Core,
    pub(super) link: Link,
    /// For one message of the monitor or of the cluster process.
    pub(super) buffer: Vec<u8>,
    pub(super) inbox: Inbox,
    pub(super) captures: Vec<OpenCapture>,
    pub(super) interfaces: Vec<CapturedInterface>,
    pub(super) has_sensor: bool,
    pub(super) next_file: NextFile,
    pub(super) finish: Arc<AtomicBool>,
    /// `None` while it is in use.
    pub(super) store: Option<Box<dyn ReplayStore>>,
    /// What waits for the store.
    pub(super) commits: Vec<Commit>,
    /// No commit was stored since the store was settled.
    pub(super) is_settled: bool,
    /// The last commits left reports, events and claims waiting.
    pub(super) is_hasty: bool,
    /// When the last report or event was handled, attempts apart.
    pub(super) busy_at: Instant,
    pub(super) orders: Arc<Orders>,
    pub(super) tables: SyncSender<RangeInclusive<u64>>,
    pub(super) is_table_being_built: bool,
    pub(super) control: Option<ControlThread>,
    /// `None` before the first cluster process, and after its end.
    pub(super) cluster: Option<Link>,
    /// `None` if nobody knocks with a client of fwknop.
    pub(super) fwknop: Option<FwknopThread>,
    pub(super) steady: clock::Steady,
    /// `None` if the kernel does not tell of a clock that is set.
    pub(super) clock_events: Option<clock::ClockEvents>,
}

pub(super) struct OpenCapture {
    pub(super) number: usize,
    pub(super) capture: Box<dyn Capture>,
    pub(super) received: Arc<AtomicU64>,
}

/// What the thread that runs the loop does next.
pub(super) enum Next {
    Store(Work),
    Over,
}

impl Engine {
    /// Runs until commits can be stored, or the engine has finished.
    pub(super) fn serve(&mut self) -> Result<Next, ExitError> {
        loop {
            self.core.health().tell_kernel();
            let ready = self.wait()?;
            let now = clock::wall();
            let packets = self.receive(now, ready)?;
            // At once: nothing else is on the way of a knock. But not twice in a row, or a flood of knocks would keep all else waiting.
            if !self.is_hasty
                && let Some(work) = self.work()
            {
                self.is_hasty = true;
                return Ok(Next::Store(work));
            }
            self.is_hasty = false;
            if ready.has_reports() {
                self.take_reports(now)?;
            }
            // Neither strangers' attempts nor a coordinator that tells something without end delay a successor.
            let mut is_quiet = !ready.has_reports();
            if ready.has_events() {
                self.inbox.silence();
                while let Some(event) = self.inbox.next() {
                    is_quiet &= matches!(event, Event::Attempts(_));
                    self.handle(now, event)?;
                }
            }
            if !is_quiet {
                self.busy_at = clock::instant();
            }
            if ready.has_told() {
                self.take_told();
            }
            if ready.has_clock() {
                self.clock_events.iter().for_each(clock::ClockEvents::take);
            }
            if let Some(step) = self.steady.follow() {
                self.core.clock_was_set(step);
            }
            self.core.watch_clock(now);
            while let Some(order) = self.core.next_shared(now) {
                self.send_order(order);
            }
            let refused = self.core.commit_refused(now);
            self.commits.extend(refused);
            self.commits.extend(self.core.commit_closed());
            while let Some(commit) = self.core.next_commit() {
                self.commits.push(commit);
            }
            self.send_asks(now);
            self.request_next_table(now);
            if let Some(work) = self.work().or_else(|| self.settling()) {
                return Ok(Next::Store(work));
            }
            // A client that has just connected gets its answer.
            if self.has_finished() && clock::elapsed(self.busy_at) >= LAST_TICK {
                self.control.take().into_iter().for_each(ControlThread::end);
                return Ok(Next::Over);
            }
            if packets >= FLOOD {
                sleep(FLOOD_PAUSE);
            }
        }
    }

    /// What waits for the store, if that is free.
    fn work(&mut self) -> Option<Work> {
        let store = self.store.take_if(|_| !self.commits.is_empty())?;
        self.is_settled = false;
        let commits = std::mem::take(&mut self.commits);
        Some(Work { store, commits })
    }

    /// The store was changed since it was settled, and nobody uses it.
    pub(super) fn must_settle(&self) -> bool {
        self.store.is_some() && !self.is_settled
    }

    /// The store is settled while it has nothing else to do.
    fn settling(&mut self) -> Option<Work> {
        let store = self.store.take_if(|_| !self.is_settled)?;
        self.is_settled = true;
        let commits = Vec::new();
        Some(Work { store, commits })
    }

    fn handle(&mut self, now: Timestamp, event: Event) -> Result<(), ExitError> {
        match event {
            Event::FwknopTried(tried) => {
                self.fwknop
                    .iter()
                    .for_each(|fwknop| fwknop.taken(tried.len()));
                for one in tried {
                    match one {
                        Tried::Found(datagram, row) => self.fwknop_found(now, &datagram, row),
                        Tried::Wrong(source, reason) => {
                            let reason = Drop::Fwknop(reason);
                            self.core.drop_fwknop(now, source, reason);
                        }
                    }
                }
            }
            Event::Hits(batch) => {
                for hit in batch.as_slice() {
                    let commit = self.core.hit(now, hit);
                    self.commits.extend(commit);
                }
            }
            Event::Stored(done) => self.stored(now, *done)?,
            Event::SensorEnded => self.has_sensor = false,
            Event::Attempts(attempts) => {
                for attempt in attempts {
                    let (source, service) = (attempt.source, attempt.service);
                    debug!(%source, %service, "an attempt without a grant");
                    self.core.attempts.attempt(now, attempt);
                }
            }
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
            Event::Failed(why) => return Err(ExitError::new(FAILED, why)),
        }
        Ok(())
    }

    pub(super) fn stored(&mut self, now: Timestamp, done: Done) -> Result<(), ExitError> {
        let Work { store, mut commits } = done.work;
        self.store = Some(store);
        let failure = done.failure.as_deref();
        if !commits.is_empty() && commits.iter().all(Commit::is_durable) {
            self.core.health().stored(now, commits.len(), done.took);
        }
        for commit in commits.drain(..) {
            let lost = failure.filter(|_| !commit.is_durable());
            let result = lost.map_or(Ok(()), Err);
            self.core.stored(now, commit.ticket, result);
        }
        if self.commits.is_empty() {
            // Its memory is used again.
            self.commits = commits;
        }
        for (order, why) in done.unsent {
            self.core.order_failed(&order, why);
        }
        // After a failed write the store cannot be trusted. A fresh engine opens it again.
        done.failure
            .map_or(Ok(()), |why| Err(ExitError::new(FAILED, why)))
    }

    pub(super) fn report(&mut self, now: Timestamp, report: Report) -> Result<(), ExitError> {
        match report {
            Report::Finish => {
                self.finish.store(true, Ordering::Relaxed);
                self.captures.clear();
                // Leave new connections to the successor.
                self.control.iter().for_each(ControlThread::close);
            }
            Report::Measure => {
                let figures = Box::new(self.core.figures());
                self.send_order(Order::Measured(figures));
            }
            Report::Interface { name, index } => {
                for interface in self.interfaces.iter().filter(|one| one.name == name) {
                    interface.index.store(index, Ordering::Relaxed);
                }
                self.look_at_captures(now)?;
            }
            Report::LogSensor { lost, restarts } => self.core.health().follow_log(lost, restarts),
            Report::Cluster { .. } => {}
            Report::Ended { grants } => self.core.grants_ended(now, &grants),
            report => {
                if let Report::Opened { grant, .. } = &report {
                    self.core.attempts.opened(now, grant);
                }
                self.core.reported(report);
            }
        }
        Ok(())
    }

    pub(super) fn replace_log(&mut self, file: OwnedFd) {
        let next = self.next_file.lock();
        let mut next = next.unwrap_or_else(PoisonError::into_inner);
        next.replace(file);
    }

    /// A packet that looks like fwknop's waits for its turn if many keys must be tried, all others go at once.
    pub(super) fn datagram(&mut self, now: Timestamp, datagram: &Datagram) {
        let fwknop = self.fwknop.as_ref();
        let Some(fwknop) = fwknop.filter(|_| self.core.gate().may_be_fwknop(datagram)) else {
            let commit = self.core.datagram(now, datagram);
            self.commits.extend(commit);
            return;
        };
        if self.core.fwknop_copy(now, datagram) {
            return;
        }
        let source = datagram.source();
        match fwknop.find_quickly(datagram) {
            Some(Ok(row)) => self.fwknop_found(now, datagram, row),
            Some(Err(reason)) => self.core.drop_fwknop(now, source, Drop::Fwknop(reason)),
            None if fwknop.push(now, datagram) => {}
            None => self.core.drop_fwknop(now, source, Drop::FwknopBusy),
        }
    }

    fn fwknop_found(&mut self, now: Timestamp, datagram: &Datagram, row: FwknopRow) {
        let commit = self.core.fwknop(now, datagram, row);
        if commit.is_some()
            && let Some(fwknop) = &mut self.fwknop
        {
            fwknop.admitted(datagram.source(), row);
        }
        self.commits.extend(commit);
    }

    fn has_finished(&self) -> bool {
        let receives = !self.captures.is_empty() || self.has_sensor;
        let is_stored = self.store.is_some() && self.commits.is_empty();
        let is_tried = self.fwknop.as_ref().is_none_or(FwknopThread::is_idle);
        !receives && is_stored && is_tried && self.core.is_idle()
    }

    pub(super) fn send_order(&mut self, order: Order) {
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
