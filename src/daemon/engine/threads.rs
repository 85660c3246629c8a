//! The engine's threads. Each waits for one thing and feeds the loop's channel. None decides anything.

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use postern_fwknop::Reason;
use tracing::{info, warn};

use crate::adapters::attempts::AttemptReader;
use crate::adapters::capture::{Capture, Caught};
use crate::adapters::clock;
use crate::adapters::control::server::{Closer, Server};
use crate::adapters::control::{Client, Question};
use crate::adapters::ipc::{Link, Received};
use crate::adapters::metrics::http;
use crate::adapters::store::ReplayStore;
use crate::core::gate::{FwknopRow, HintKeys, HintTable};
use crate::core::order::{self, MESSAGE_MAX, Order, Report};
use crate::core::sequence::Hit;
use crate::daemon::engine::batch::{Batch, BatchPool};
use crate::daemon::engine::core::Commit;
use crate::daemon::engine::prefilter::Prefilter;
use crate::model::attempt::Attempt;
use crate::model::datagram::Datagram;
use crate::model::exit::ExitError;
use crate::model::mark::StoredMarks;

pub(super) enum Event {
    Datagrams(Batch<Datagram>),
    /// A packet that looks like fwknop's was tried with the users' keys.
    FwknopTried(Box<Tried>),
    /// Packets to ports of sequences.
    Hits(Batch<Hit>),
    Stored {
        tickets: Vec<u64>,
        /// Why the marks are not durable.
        failure: Option<String>,
        took: Duration,
    },
    Report(Report),
    /// The file that replaces the log file.
    LogFile(OwnedFd),
    Question(Question, Client),
    /// The firewall dropped these packets.
    Attempts(Vec<Attempt>),
    /// The capture with this number stopped listening, and why; or listens again.
    CaptureState(usize, Option<String>),
    MetricsRequest(SyncSender<String>),
    Table(HintTable),
    /// A capture has ended, as it was told to. All its datagrams came before.
    CaptureEnded,
    Failed(String),
}

/// A packet that was tried with the keys.
pub(super) struct Tried {
    pub(super) datagram: Datagram,
    pub(super) found: Result<FwknopRow, Reason>,
}

/// The deadline for the monitor's counters, and how long a reply to a metrics request is used again.
const METRICS_WITHIN: Duration = Duration::from_secs(1);

const GROUP: usize = 256;

const ATTEMPTS_WAIT: Duration = Duration::from_secs(60);
const ATTEMPTS_PAUSE: Duration = Duration::from_millis(5);

type Events = SyncSender<Event>;

pub(super) fn start(
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, ExitError> {
    thread::Builder::new()
        .spawn(work)
        .map_err(ExitError::system(
            "starting a thread (check free memory and the limit of threads)",
        ))
}

/// Passes datagrams on until `finish` is set. A capture waits at most a second, so it notices within that time.
pub(super) fn capture(
    mut capture: Box<dyn Capture>,
    number: usize,
    received: Arc<AtomicU64>,
    finish: Arc<AtomicBool>,
    events: Events,
) -> Result<(), ExitError> {
    start(move || {
        let batches = BatchPool::new();
        let mut batch = batches.take();
        let hit_batches = BatchPool::new();
        let mut hits = hit_batches.take();
        while !finish.load(Ordering::Relaxed) || capture.holds() {
            let change = match capture.next() {
                Ok(Caught::Datagram(datagram)) => {
                    received.fetch_add(1, Ordering::Relaxed);
                    batch.push(datagram);
                    None
                }
                Ok(Caught::Hit(hit)) => {
                    received.fetch_add(1, Ordering::Relaxed);
                    hits.push(hit);
                    None
                }
                Ok(Caught::Nothing) => None,
                Ok(Caught::Lost { interface, why }) => {
                    warn!(interface, "listening on {interface} is not possible now: {why}; waiting for it to come back");
                    Some(Event::CaptureState(number, Some(why)))
                }
                Ok(Caught::Back { interface }) => {
                    info!(interface, "listening on {interface}");
                    Some(Event::CaptureState(number, None))
                }
                Err(error) => Some(Event::Failed(format!("capture failed: {error}"))),
            };
            if !batch.is_empty() && (batch.is_full() || change.is_some() || capture.waits()) {
                if events.send(Event::Datagrams(batch)).is_err() {
                    return;
                }
                batch = batches.take();
            }
            if !hits.is_empty() && (hits.is_full() || change.is_some() || capture.waits()) {
                if events.send(Event::Hits(hits)).is_err() {
                    return;
                }
                hits = hit_batches.take();
            }
            let Some(event) = change else { continue };
            let over = matches!(event, Event::Failed(_));
            if events.send(event).is_err() || over {
                return;
            }
        }
        if !batch.is_empty() {
            let _ = events.send(Event::Datagrams(batch));
        }
        if !hits.is_empty() {
            let _ = events.send(Event::Hits(hits));
        }
        let _ = events.send(Event::CaptureEnded);
    })
    .map(drop)
}

pub(super) fn store(
    mut store: impl ReplayStore + 'static,
    commits: Receiver<Commit>,
    events: Events,
) -> Result<(), ExitError> {
    start(move || {
        let mut next = commits.recv().ok();
        while let Some(first) = next.take() {
            let mut failed = commit(&mut store, first, &commits, &events);
            next = commits.try_recv().ok();
            if next.is_none() && failed.is_none() {
                failed = store.settle().err().map(|error| error.to_string());
            }
            if let Some(why) = failed {
                // After a failed write the store cannot be trusted. A fresh engine opens it again.
                let _ = events.send(Event::Failed(why));
                return;
            }
            next = next.or_else(|| commits.recv().ok());
        }
    })
    .map(drop)
}

fn commit(
    store: &mut impl ReplayStore,
    first: Commit,
    commits: &Receiver<Commit>,
    events: &Events,
) -> Option<String> {
    let mut group = vec![first];
    group.extend(commits.try_iter().take(GROUP - 1));
    let mut all = StoredMarks::default();
    for commit in &mut group {
        let change = std::mem::take(&mut commit.change);
        all.times = change.times;
        all.marks.extend(change.marks);
        all.refused.extend(change.refused);
        // The latest counts.
        all.users.extend(change.users);
        all.runs.extend(change.runs);
    }
    let start = clock::instant();
    let failure = store.write(&all).err();
    let failure = failure.map(|error| error.to_string());
    let took = clock::elapsed(start);
    let tickets = group.iter().map(|commit| commit.ticket).collect();
    // If the loop has ended, the engine ends anyway.
    let _ = events.send(Event::Stored {
        tickets,
        failure: failure.clone(),
        took,
    });
    failure
}

/// Sends orders to the monitor. The loop sends each order itself, which is fastest. If the socket is full, a thread sends it and all
/// that follow, so that the loop never waits.
pub(super) struct Orders {
    link: Link,
    queue: SyncSender<Order>,
    waiting: Arc<AtomicUsize>,
}

impl Orders {
    pub(super) fn send(&self, order: &Order) -> Result<(), &'static str> {
        let is_first = self.waiting.load(Ordering::Acquire) == 0;
        if is_first && order::encode(order).is_ok_and(|bytes| self.link.try_send(&bytes).is_ok()) {
            return Ok(());
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        try_pass(&self.queue, order.clone()).map_err(|(_, why)| {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            why
        })
    }
}

pub(super) fn orders(link: Link, most: usize, events: Events) -> Result<Orders, ExitError> {
    let (queue, orders) = sync_channel::<Order>(most);
    let waiting = Arc::new(AtomicUsize::new(0));
    let own = link.try_clone();
    let own = own.map_err(ExitError::system("the link to the monitor"))?;
    let left = Arc::clone(&waiting);
    start(move || {
        for order in orders {
            let sent = order::encode(&order).map_err(|error| error.to_string());
            let sent = sent.and_then(|bytes| own.send(&bytes).map_err(|error| error.to_string()));
            left.fetch_sub(1, Ordering::AcqRel);
            if let Err(why) = sent {
                let what = format!("sending an order to the monitor: {why}");
                let _ = events.send(Event::Failed(what));
                return;
            }
        }
    })?;
    Ok(Orders {
        link,
        queue,
        waiting,
    })
}

pub(super) fn reports(link: Link, events: Events) -> Result<(), ExitError> {
    start(move || {
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let received = link.receive_descriptors(&mut buffer);
            let (received, descriptors) = match received {
                Ok((received, descriptors)) => (Ok(received), descriptors),
                Err(error) => (Err(error), Vec::new()),
            };
            for file in descriptors {
                if events.send(Event::LogFile(file)).is_err() {
                    return;
                }
            }
            let event = match received {
                Ok(Received::Message(len)) => {
                    match order::decode(buffer.get(..len).unwrap_or_default()) {
                        Ok(report) => Event::Report(report),
                        Err(error) => Event::Failed(format!("a report of the monitor: {error}")),
                    }
                }
                Ok(Received::Nothing) => continue,
                Ok(Received::Gone) => Event::Failed("the monitor is gone".to_owned()),
                Err(error) => Event::Failed(format!("receiving from the monitor: {error}")),
            };
            let over = matches!(event, Event::Failed(_));
            if events.send(event).is_err() || over {
                return;
            }
        }
    })
    .map(drop)
}

pub(super) struct ControlThread {
    thread: thread::JoinHandle<()>,
    closer: Closer,
}

impl ControlThread {
    pub(super) fn close(&self) {
        self.closer.close();
    }

    pub(super) fn end(self) {
        self.closer.close();
        let _ = self.thread.join();
    }
}

/// Starts the control thread. Without it the gate still serves, because knocks matter more than questions.
pub(super) fn control(listener: UnixListener, events: Events) -> Option<ControlThread> {
    let log_failure = |error: &dyn std::fmt::Display| {
        warn!("the control socket failed, `posternd status` will not answer: {error}")
    };
    let server = Server::new(listener);
    let server = server.map_err(|error| log_failure(&error)).ok()?;
    let closer = server.closer();
    let thread = start(move || {
        let take = |question, client| events.send(Event::Question(question, client)).is_ok();
        server
            .serve(clock::instant, take)
            .unwrap_or_else(|error| log_failure(&error));
    })
    .map_err(|stop| log_failure(&stop))
    .ok()?;
    Some(ControlThread { thread, closer })
}

pub(super) fn metrics(listener: TcpListener, events: Events) -> Result<(), ExitError> {
    start(move || {
        let mut last: Option<(Instant, String)> = None;
        loop {
            let Ok(stream) = http::accept(&listener) else {
                // Too many open files, for example. The pause keeps the thread from spinning.
                thread::sleep(METRICS_WITHIN);
                continue;
            };
            // Frequent readers cost the loop no more than one request in this time.
            last.take_if(|(told, _)| clock::elapsed(*told) > METRICS_WITHIN);
            let text = || {
                if last.is_none() {
                    let (reply, figures) = sync_channel(1);
                    events.send(Event::MetricsRequest(reply)).ok()?;
                    last = Some((clock::instant(), figures.recv_timeout(METRICS_WITHIN).ok()?));
                }
                last.as_ref().map(|(_, text)| text.clone())
            };
            // A client's error concerns that client alone.
            let _ = http::serve(stream, text);
        }
    })
    .map(drop)
}

/// Passes on which packets the firewall dropped. The pause bounds the work, whatever the rules let through; the kernel drops the rest.
/// Without this the gate still serves.
pub(super) fn attempts(mut reader: AttemptReader, events: Events) -> Result<(), ExitError> {
    start(move || {
        loop {
            match reader.next(ATTEMPTS_WAIT) {
                Ok(attempts) if attempts.is_empty() => {}
                Ok(attempts) => {
                    if events.send(Event::Attempts(attempts)).is_err() {
                        return;
                    }
                    thread::sleep(ATTEMPTS_PAUSE);
                }
                Err(error) => {
                    warn!("attempts without a grant are no longer shown: {error}");
                    return;
                }
            }
        }
    })
    .map(drop)
}

pub(super) fn tables(
    keys: HintKeys,
    wanted: Receiver<RangeInclusive<u64>>,
    mut prefilter: Option<Prefilter>,
    events: Events,
) -> Result<(), ExitError> {
    start(move || {
        for steps in wanted {
            let table = HintTable::build(&keys, steps);
            let loaded = prefilter.as_mut().map(|prefilter| prefilter.load(&table));
            let event = match loaded {
                Some(Err(stop)) => Event::Failed(stop.message),
                Some(Ok(())) | None => Event::Table(table),
            };
            if events.send(event).is_err() {
                return;
            }
        }
    })
    .map(drop)
}

pub(super) fn try_pass<T>(queue: &SyncSender<T>, item: T) -> Result<(), (T, &'static str)> {
    queue.try_send(item).map_err(|error| match error {
        TrySendError::Full(item) => (item, "the queue is full"),
        TrySendError::Disconnected(item) => (item, "its thread has ended"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::ipc;

    #[test]
    fn orders_keep_their_order() {
        const MANY: u64 = 3000;
        let (engine, monitor) = ipc::pair().unwrap();
        let (events, inbox) = sync_channel(1);
        let orders = orders(engine, 4096, events).unwrap();
        for ticket in 0..MANY {
            assert!(orders.send(&Order::List { ticket }).is_ok());
        }
        assert!(
            orders.waiting.load(Ordering::Acquire) > 0,
            "the socket must be full"
        );
        let mut buffer = vec![0; MESSAGE_MAX];
        let mut receive = || match monitor.receive(&mut buffer).unwrap() {
            Received::Message(len) => order::decode::<Order>(&buffer[..len]).unwrap().ticket(),
            other => panic!("{other:?}"),
        };
        for ticket in 0..MANY {
            assert_eq!(receive(), Some(ticket));
        }
        assert!(orders.send(&Order::List { ticket: MANY }).is_ok());
        assert_eq!(receive(), Some(MANY));
        assert!(inbox.try_recv().is_err());
    }

    #[test]
    fn missing_monitor_ends_the_engine() {
        let (engine, monitor) = ipc::pair().unwrap();
        let (events, inbox) = sync_channel(1);
        let orders = orders(engine, 1, events).unwrap();
        drop(monitor);
        assert!(orders.send(&Order::List { ticket: 1 }).is_ok());
        assert!(
            matches!(inbox.recv(), Ok(Event::Failed(why)) if why.starts_with("sending an order to the monitor: "))
        );
    }
}
