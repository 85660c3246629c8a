//! The engine's threads: each waits for one thing and feeds the one channel. None of them decides anything.

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::adapters::capture::{Capture, Caught};
use crate::adapters::clock;
use crate::adapters::control::server::{Closer, Server};
use crate::adapters::control::{Asker, Question};
use crate::adapters::ipc::{Link, Received};
use crate::adapters::metrics::http;
use crate::adapters::store::ReplayStore;
use crate::core::gate::{HintKeys, HintTable};
use crate::core::order::{self, MESSAGE_MAX, Order, Report};
use crate::daemon::engine::batch::{Batch, Rooms};
use crate::daemon::engine::core::Commit;
use crate::daemon::engine::prefilter::Prefilter;
use crate::model::exit::ExitError;

/// What the loop hears of.
pub(super) enum Event {
    Datagrams(Batch),
    Stored {
        tickets: Vec<u64>,
        result: Result<(), String>,
        took: Duration,
    },
    Report(Report),
    Asked(Question, Asker),
    /// The capture of this number hears nothing any more, and why; or hears again.
    Hears(usize, Option<String>),
    /// Somebody wants to read the figures.
    Wanted(SyncSender<String>),
    Table(HintTable),
    /// A capture has ended, as it was told to; all that it caught came before.
    Deaf,
    /// A thread can't go on, and why; the engine ends.
    Over(String),
}

/// Figures that the monitor does not give within this time can't be had now, and those that it gave are told for as long.
const FIGURES_WITHIN: Duration = Duration::from_secs(1);

/// Marks in one durable commit.
const GROUP: usize = 256;

type Events = SyncSender<Event>;

/// Starts a thread, for which the system may have no room: that is no reason to panic.
fn start(work: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, ExitError> {
    thread::Builder::new()
        .spawn(work)
        .map_err(ExitError::system(
            "starting a thread (see that there is memory, and room for threads)",
        ))
}

/// Feeds what it catches until `finish` is set, which it sees within the second that a capture waits at most.
pub(super) fn capture(
    mut capture: Box<dyn Capture>,
    number: usize,
    received: Arc<AtomicU64>,
    finish: Arc<AtomicBool>,
    events: Events,
) -> Result<(), ExitError> {
    start(move || {
        let rooms = Rooms::new();
        let mut batch = rooms.batch();
        while !finish.load(Ordering::Relaxed) {
            let told = match capture.next() {
                Ok(Caught::Datagram(datagram)) => {
                    received.fetch_add(1, Ordering::Relaxed);
                    batch.push(datagram);
                    None
                }
                Ok(Caught::Nothing) => None,
                Ok(Caught::Lost { interface, why }) => {
                    warn!(interface, "listening on {interface} is not possible now: {why}; waiting for it to come back");
                    Some(Event::Hears(number, Some(why)))
                }
                Ok(Caught::Back { interface }) => {
                    info!(interface, "listening on {interface}");
                    Some(Event::Hears(number, None))
                }
                Err(error) => Some(Event::Over(format!("capture failed: {error}"))),
            };
            if !batch.is_empty() && (batch.is_full() || told.is_some() || capture.waits()) {
                if events.send(Event::Datagrams(batch)).is_err() {
                    return;
                }
                batch = rooms.batch();
            }
            let Some(event) = told else { continue };
            let over = matches!(event, Event::Over(_));
            if events.send(event).is_err() || over {
                return;
            }
        }
        if !batch.is_empty() {
            let _ = events.send(Event::Datagrams(batch));
        }
        let _ = events.send(Event::Deaf);
    })
    .map(drop)
}

/// Commits marks as they come, and settles where none waits.
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
                // What a store does after a failed write is not to be relied on: a fresh engine opens it anew.
                let _ = events.send(Event::Over(why));
                return;
            }
            next = next.or_else(|| commits.recv().ok());
        }
    })
    .map(drop)
}

/// Group commit: all marks that wait by now go along. Returns why it failed.
fn commit(
    store: &mut impl ReplayStore,
    first: Commit,
    commits: &Receiver<Commit>,
    events: &Events,
) -> Option<String> {
    let group: Vec<Commit> = std::iter::once(first)
        .chain(commits.try_iter().take(GROUP - 1))
        .collect();
    let records: Vec<_> = group.iter().map(|commit| commit.record).collect();
    let times = group.last().map(|commit| commit.times).unwrap_or_default();
    let start = clock::instant();
    let result = store
        .commit(&records, times)
        .map_err(|error| error.to_string());
    let took = clock::elapsed(start);
    let failed = result.as_ref().err().cloned();
    let tickets = group.iter().map(|commit| commit.ticket).collect();
    // Where nobody listens any more the engine ends anyway.
    let _ = events.send(Event::Stored {
        tickets,
        result,
        took,
    });
    failed
}

/// The way to the monitor. The loop gives each order itself, for that is quickest; where the monitor is behind, a thread waits for room
/// in the loop's place, and all that follows goes after it.
pub(super) struct Orders {
    link: Link,
    queue: SyncSender<Order>,
    /// Orders that the thread has yet to give.
    waiting: Arc<AtomicUsize>,
}

impl Orders {
    /// Gives an order without ever waiting, or says why not.
    pub(super) fn give(&self, order: &Order) -> Result<(), &'static str> {
        let is_first = self.waiting.load(Ordering::Acquire) == 0;
        if is_first && order::encode(order).is_ok_and(|bytes| self.link.try_send(&bytes).is_ok()) {
            return Ok(());
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        hand_on(&self.queue, order.clone()).map_err(|(_, why)| {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            why
        })
    }
}

/// Starts the thread that waits; it also tells why an order can't be given at all.
pub(super) fn orders(link: Link, most: usize, events: Events) -> Result<Orders, ExitError> {
    let (queue, orders) = sync_channel::<Order>(most);
    let waiting = Arc::new(AtomicUsize::new(0));
    let (own, left) = (
        link.try_clone()
            .map_err(ExitError::system("the link to the monitor"))?,
        Arc::clone(&waiting),
    );
    start(move || {
        for order in orders {
            let sent = order::encode(&order)
                .map_err(|error| error.to_string())
                .and_then(|bytes| own.send(&bytes).map_err(|error| error.to_string()));
            left.fetch_sub(1, Ordering::AcqRel);
            if let Err(why) = sent {
                let _ = events.send(Event::Over(format!(
                    "giving an order to the monitor: {why}"
                )));
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
            let event = match link.receive(&mut buffer) {
                Ok(Received::Message(len)) => {
                    match order::decode(buffer.get(..len).unwrap_or_default()) {
                        Ok(report) => Event::Report(report),
                        Err(error) => Event::Over(format!("a report of the monitor: {error}")),
                    }
                }
                Ok(Received::Nothing) => continue,
                Ok(Received::Gone) => Event::Over("the monitor is gone".to_owned()),
                Err(error) => Event::Over(format!("hearing the monitor: {error}")),
            };
            let over = matches!(event, Event::Over(_));
            if events.send(event).is_err() || over {
                return;
            }
        }
    })
    .map(drop)
}

/// The thread that serves the control socket.
pub(super) struct Askers {
    thread: thread::JoinHandle<()>,
    closer: Closer,
}

impl Askers {
    /// Takes no more questions.
    pub(super) fn close(&self) {
        self.closer.close();
    }

    /// Waits until those who have asked were answered, a second or so at most.
    pub(super) fn end(self) {
        self.closer.close();
        let _ = self.thread.join();
    }
}

/// `None` where the socket is out of order: knocks matter more than questions, so the gate goes on without them.
pub(super) fn control(listener: UnixListener, events: Events) -> Option<Askers> {
    let out_of_order = |error: &dyn std::fmt::Display| {
        warn!("the control socket is out of order, `posternd status` will not answer: {error}")
    };
    let server = Server::new(listener)
        .map_err(|error| out_of_order(&error))
        .ok()?;
    let closer = server.closer();
    let thread = start(move || {
        let take = |question, asker| events.send(Event::Asked(question, asker)).is_ok();
        server
            .serve(clock::instant, take)
            .unwrap_or_else(|error| out_of_order(&error));
    })
    .map_err(|stop| out_of_order(&stop))
    .ok()?;
    Some(Askers { thread, closer })
}

/// Serves those who read the figures, one after another; the loop only hands them over.
pub(super) fn metrics(listener: TcpListener, events: Events) -> Result<(), ExitError> {
    start(move || {
        let mut last: Option<(Instant, String)> = None;
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Such as too many open files: it passes, and must not keep a processor busy until it has.
                thread::sleep(FIGURES_WITHIN);
                continue;
            };
            // Whoever asks again and again costs the loop no more than one who asks once in that time.
            last.take_if(|(told, _)| clock::elapsed(*told) > FIGURES_WITHIN);
            let page = || {
                if last.is_none() {
                    let (reply, figures) = sync_channel(1);
                    events.send(Event::Wanted(reply)).ok()?;
                    last = Some((clock::instant(), figures.recv_timeout(FIGURES_WITHIN).ok()?));
                }
                last.as_ref().map(|(_, page)| page.clone())
            };
            // What a client does wrong is its own concern.
            let _ = http::serve(stream, page);
        }
    })
    .map(drop)
}

/// Builds hint tables away from the packet path.
pub(super) fn tables(
    keys: HintKeys,
    wanted: Receiver<RangeInclusive<u64>>,
    mut prefilter: Option<Prefilter>,
    events: Events,
) -> Result<(), ExitError> {
    start(move || {
        for steps in wanted {
            let table = HintTable::build(&keys, steps);
            let held = prefilter
                .as_mut()
                .map_or(Ok(()), |prefilter| prefilter.hold(&table));
            let event =
                held.map_or_else(|stop| Event::Over(stop.message), |()| Event::Table(table));
            if events.send(event).is_err() {
                return;
            }
        }
    })
    .map(drop)
}

/// Hands something on without ever waiting.
pub(super) fn hand_on<T>(queue: &SyncSender<T>, item: T) -> Result<(), (T, &'static str)> {
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
    fn orders_come_in_the_order_they_were_given_also_where_the_monitor_is_long_behind() {
        const MANY: u64 = 3000;
        let (engine, monitor) = ipc::pair().unwrap();
        let (events, inbox) = sync_channel(1);
        let orders = orders(engine, 4096, events).unwrap();
        for ticket in 0..MANY {
            assert!(orders.give(&Order::List { ticket }).is_ok());
        }
        assert!(
            orders.waiting.load(Ordering::Acquire) > 0,
            "the link had room for all, so this proves nothing"
        );
        let mut buffer = vec![0; MESSAGE_MAX];
        let mut receive = || match monitor.receive(&mut buffer).unwrap() {
            Received::Message(len) => order::decode::<Order>(&buffer[..len]).unwrap().ticket(),
            other => panic!("{other:?}"),
        };
        for ticket in 0..MANY {
            assert_eq!(receive(), Some(ticket));
        }
        assert!(orders.give(&Order::List { ticket: MANY }).is_ok());
        assert_eq!(receive(), Some(MANY));
        assert!(inbox.try_recv().is_err());
    }

    #[test]
    fn a_monitor_that_is_gone_is_told_by_the_thread() {
        let (engine, monitor) = ipc::pair().unwrap();
        let (events, inbox) = sync_channel(1);
        let orders = orders(engine, 1, events).unwrap();
        drop(monitor);
        assert!(orders.give(&Order::List { ticket: 1 }).is_ok());
        assert!(
            matches!(inbox.recv(), Ok(Event::Over(why)) if why.starts_with("giving an order to the monitor: "))
        );
    }
}
