//! The engine's threads: each waits for one thing and feeds the one channel. None of them decides anything.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::{info, warn};

use crate::capture::{Capture, Caught};
use crate::clock;
use crate::control::server::{Closer, Server};
use crate::control::{Asker, Question};
use crate::datagram::Datagram;
use crate::engine::core::Commit;
use crate::gate::{HintKeys, HintTable};
use crate::link::{Link, Received};
use crate::metrics::http;
use crate::order::{self, MESSAGE_MAX, Order, Report};
use crate::store::ReplayStore;

/// What the loop hears of.
#[expect(clippy::large_enum_variant, reason = "a box would allocate for every packet of a stranger (invariant 2)")]
pub(super) enum Event {
    Datagram(Datagram),
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

/// Figures that the monitor does not give within this time can't be had now.
const FIGURES_WITHIN: Duration = Duration::from_secs(1);

/// Marks in one durable commit.
const GROUP: usize = 256;

type Events = SyncSender<Event>;

/// Feeds what it catches until `finish` is set, which it sees within the second that a capture waits at most.
pub(super) fn capture(mut capture: Box<dyn Capture>, number: usize, received: Arc<AtomicU64>, finish: Arc<AtomicBool>, events: Events) {
    thread::spawn(move || {
        while !finish.load(Ordering::Relaxed) {
            let event = match capture.next() {
                Ok(Caught::Datagram(datagram)) => {
                    received.fetch_add(1, Ordering::Relaxed);
                    Event::Datagram(datagram)
                }
                Ok(Caught::Nothing) => continue,
                Ok(Caught::Lost { interface, why }) => {
                    warn!(interface, "listening on {interface} is not possible now: {why}; waiting for it to come back");
                    Event::Hears(number, Some(why))
                }
                Ok(Caught::Back { interface }) => {
                    info!(interface, "listening on {interface}");
                    Event::Hears(number, None)
                }
                Err(error) => Event::Over(format!("capture failed: {error}")),
            };
            let over = matches!(event, Event::Over(_));
            if events.send(event).is_err() || over {
                return;
            }
        }
        let _ = events.send(Event::Deaf);
    });
}

/// Commits marks as they come, and settles where none waits.
pub(super) fn store(mut store: impl ReplayStore + 'static, commits: Receiver<Commit>, events: Events) {
    thread::spawn(move || {
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
    });
}

/// Group commit: all marks that wait by now go along. Returns why it failed.
fn commit(store: &mut impl ReplayStore, first: Commit, commits: &Receiver<Commit>, events: &Events) -> Option<String> {
    let group: Vec<Commit> = std::iter::once(first).chain(commits.try_iter().take(GROUP - 1)).collect();
    let records: Vec<_> = group.iter().map(|commit| commit.record).collect();
    let tide = group.last().map(|commit| commit.tide).unwrap_or_default();
    let start = clock::instant();
    let result = store.commit(&records, tide).map_err(|error| error.to_string());
    let took = clock::elapsed(start);
    let failed = result.as_ref().err().cloned();
    let tickets = group.iter().map(|commit| commit.ticket).collect();
    // Where nobody listens any more the engine ends anyway.
    let _ = events.send(Event::Stored { tickets, result, took });
    failed
}

pub(super) fn orders(link: Link, orders: Receiver<Order>, events: Events) {
    thread::spawn(move || {
        for order in orders {
            let sent = order::encode(&order)
                .map_err(|error| error.to_string())
                .and_then(|bytes| link.send(&bytes).map_err(|error| error.to_string()));
            if let Err(why) = sent {
                let _ = events.send(Event::Over(format!("giving an order to the monitor: {why}")));
                return;
            }
        }
    });
}

pub(super) fn reports(link: Link, events: Events) {
    thread::spawn(move || {
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let event = match link.receive(&mut buffer) {
                Ok(Received::Message(len)) => match order::decode(buffer.get(..len).unwrap_or_default()) {
                    Ok(report) => Event::Report(report),
                    Err(error) => Event::Over(format!("a report of the monitor: {error}")),
                },
                Ok(Received::Nothing) => continue,
                Ok(Received::Gone) => Event::Over("the monitor is gone".to_owned()),
                Err(error) => Event::Over(format!("hearing the monitor: {error}")),
            };
            let over = matches!(event, Event::Over(_));
            if events.send(event).is_err() || over {
                return;
            }
        }
    });
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
    let out_of_order = |error| warn!("the control socket is out of order, `posternd status` will not answer: {error}");
    let server = Server::new(listener).map_err(out_of_order).ok()?;
    let closer = server.closer();
    let thread = thread::spawn(move || {
        let take = |question, asker| events.send(Event::Asked(question, asker)).is_ok();
        server.serve(clock::instant, take).unwrap_or_else(out_of_order);
    });
    Some(Askers { thread, closer })
}

/// Serves those who read the figures, one after another; the loop only hands them over.
pub(super) fn metrics(listener: TcpListener, events: Events) {
    thread::spawn(move || {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Such as too many open files: it passes, and must not keep a processor busy until it has.
                thread::sleep(FIGURES_WITHIN);
                continue;
            };
            let (reply, figures) = sync_channel(1);
            let page = || events.send(Event::Wanted(reply)).ok().and_then(|()| figures.recv_timeout(FIGURES_WITHIN).ok());
            // What a client does wrong is its own concern.
            let _ = http::serve(stream, page);
        }
    });
}

/// Builds hint tables away from the packet path.
pub(super) fn tables(keys: HintKeys, wanted: Receiver<std::ops::RangeInclusive<u64>>, events: Events) {
    thread::spawn(move || {
        for steps in wanted {
            if events.send(Event::Table(HintTable::build(&keys, steps))).is_err() {
                return;
            }
        }
    });
}

/// Hands something on without ever waiting.
pub(super) fn hand_on<T>(queue: &SyncSender<T>, item: T) -> Result<(), (T, &'static str)> {
    queue.try_send(item).map_err(|error| match error {
        TrySendError::Full(item) => (item, "the queue is full"),
        TrySendError::Disconnected(item) => (item, "its thread has ended"),
    })
}
