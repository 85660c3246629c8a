//! The engine's other threads. Each waits for one thing and feeds the loop's channel. None decides anything.

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

use super::batch::BatchPool;
use super::events::{Event, Events};
use super::prefilter::Prefilter;
use super::tables;
use crate::adapters::attempts::AttemptReader;
use crate::adapters::capture::log::LogCapture;
use crate::adapters::clock;
use crate::adapters::control::server::{Closer, Server};
use crate::adapters::ipc::Link;
use crate::adapters::metrics::http;
use crate::core::gate::{HintKeys, HintTable};
use crate::core::order::{self, Order};
use crate::model::exit::ExitError;

/// The deadline for the monitor's counters, and how long a reply to a metrics request is used again.
const METRICS_WITHIN: Duration = Duration::from_secs(1);

const LOWEST_PRIORITY: i32 = 19;

const QUEUE_FULL: &str = "the queue is full";
const THREAD_ENDED: &str = "its thread has ended";

const ATTEMPTS_WAIT: Duration = Duration::from_secs(60);
const ATTEMPTS_PAUSE: Duration = Duration::from_millis(5);

pub(super) fn start(
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, ExitError> {
    thread::Builder::new()
        .spawn(work)
        .map_err(ExitError::system(
            "starting a thread (check free memory and the limit of threads)",
        ))
}

/// Passes the hits of a log sensor on until `finish` is set. It waits at most a second, so it notices within that time.
pub(super) fn sensor(
    mut log: LogCapture,
    received: Arc<AtomicU64>,
    finish: Arc<AtomicBool>,
    events: Events,
) -> Result<(), ExitError> {
    start(move || {
        let batches = BatchPool::new();
        let mut hits = batches.take();
        while !finish.load(Ordering::Relaxed) {
            match log.next_hit() {
                Ok(Some(hit)) => {
                    received.fetch_add(1, Ordering::Relaxed);
                    hits.push(hit);
                }
                Ok(None) => {}
                Err(error) => {
                    let _ = events.send(Event::Failed(format!("capture failed: {error}")));
                    return;
                }
            }
            if !hits.is_empty() && (hits.is_full() || log.waits()) {
                if events.send(Event::Hits(hits)).is_err() {
                    return;
                }
                hits = batches.take();
            }
        }
        if !hits.is_empty() {
            let _ = events.send(Event::Hits(hits));
        }
        let _ = events.send(Event::SensorEnded);
    })
    .map(drop)
}

/// Sends orders to the monitor. Who has an order sends it, which is fastest. If the socket is full, a thread sends it and all
/// that follow, so that nobody else waits.
pub(super) struct Orders {
    link: Link,
    /// It takes memory for orders that wait, and `most` bounds those that may be refused.
    queue: Sender<Order>,
    most: usize,
    waiting: Arc<AtomicUsize>,
}

impl Orders {
    /// Sends an announcement, if nothing waits. Without it the order only takes longer.
    pub(super) fn announce(&self, order: &Order) {
        let is_first = self.waiting.load(Ordering::Acquire) == 0;
        if is_first && let Ok(bytes) = order::encode(order) {
            let _ = self.link.try_send(&bytes);
        }
    }

    pub(super) fn send(&self, order: &Order) -> Result<(), &'static str> {
        let is_first = self.waiting.load(Ordering::Acquire) == 0;
        if is_first && order::encode(order).is_ok_and(|bytes| self.link.try_send(&bytes).is_ok()) {
            return Ok(());
        }
        // Nobody would send a close again. Open grants, pending knocks and clients bound how many wait.
        let is_close = matches!(order, Order::Close { .. } | Order::End { .. });
        let has_room = self.waiting.fetch_add(1, Ordering::AcqRel) < self.most || is_close;
        let sent = if has_room {
            self.queue.send(order.clone()).map_err(|_| THREAD_ENDED)
        } else {
            Err(QUEUE_FULL)
        };
        if sent.is_err() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        sent
    }
}

pub(super) fn orders(link: Link, most: usize, events: Events) -> Result<Orders, ExitError> {
    let (queue, orders) = channel::<Order>();
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
        most,
        waiting,
    })
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
    mut table: HintTable,
    wanted: Receiver<RangeInclusive<u64>>,
    mut prefilter: Option<Prefilter>,
    events: Events,
) -> Result<(), ExitError> {
    start(move || {
        // Computing a million hints must not delay a knock.
        let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
        for steps in wanted {
            table = tables::next(&keys, steps, &table);
            let loaded = prefilter.as_mut().map(|prefilter| prefilter.load(&table));
            let event = match loaded {
                Some(Err(stop)) => Event::Failed(stop.message),
                Some(Ok(())) | None => Event::Table(table.clone()),
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
        TrySendError::Full(item) => (item, QUEUE_FULL),
        TrySendError::Disconnected(item) => (item, THREAD_ENDED),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::ipc::{self, Received};
    use crate::core::order::{MESSAGE_MAX, Selection};
    use crate::daemon::engine::events::events;
    use crate::model::grant::GrantId;

    #[test]
    fn orders_keep_their_order() {
        const MANY: u64 = 3000;
        let (engine, monitor) = ipc::pair().unwrap();
        let (events, inbox) = events(1).unwrap();
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
        assert!(inbox.next().is_none());
    }

    #[test]
    fn full_queue_loses_no_close() {
        let (engine, monitor) = ipc::pair().unwrap();
        let (events, _inbox) = events(1).unwrap();
        let orders = orders(engine, 1, events).unwrap();
        let mut sent = 0;
        while orders.send(&Order::List { ticket: sent }).is_ok() {
            sent += 1;
        }
        let which = Selection::Ids([GrantId(7)].into());
        let close = Order::End {
            ticket: sent,
            which,
        };
        assert!(orders.send(&close).is_ok());
        let mut buffer = vec![0; MESSAGE_MAX];
        let mut last = None;
        for _ in 0..=sent {
            let Received::Message(len) = monitor.receive(&mut buffer).unwrap() else {
                panic!("the link has ended");
            };
            last = Some(order::decode::<Order>(&buffer[..len]).unwrap());
        }
        assert_eq!(last, Some(close));
    }

    #[test]
    fn missing_monitor_ends_the_engine() {
        let (engine, monitor) = ipc::pair().unwrap();
        let (events, inbox) = events(1).unwrap();
        let orders = orders(engine, 1, events).unwrap();
        drop(monitor);
        assert!(orders.send(&Order::List { ticket: 1 }).is_ok());
        assert!(
            matches!(inbox.queue.recv(), Ok(Event::Failed(why)) if why.starts_with("sending an order to the monitor: "))
        );
    }
}
