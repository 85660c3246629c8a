//! The engine's threads: each waits for one thing and feeds the one channel. None of them decides anything.

use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use postern_proto::HintKey;
use tracing::{info, warn};

use crate::capture::{Capture, Caught};
use crate::control::{self, Question};
use crate::datagram::Datagram;
use crate::engine::core::Commit;
use crate::gate::HintTable;
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
    },
    Report(Report),
    Asked(Question, UnixStream),
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
pub(super) fn capture(mut capture: Box<dyn Capture>, finish: Arc<AtomicBool>, events: Events) {
    thread::spawn(move || {
        while !finish.load(Ordering::Relaxed) {
            let event = match capture.next() {
                Ok(Caught::Datagram(datagram)) => Event::Datagram(datagram),
                Ok(Caught::Nothing) => continue,
                Ok(Caught::Lost { interface, why }) => {
                    warn!(interface, "listening on {interface} is not possible now: {why}; waiting for it to come back");
                    continue;
                }
                Ok(Caught::Back { interface }) => {
                    info!(interface, "listening on {interface}");
                    continue;
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

/// Group commit: all marks that wait while one commit runs go into the next.
pub(super) fn store(mut store: impl ReplayStore + 'static, commits: Receiver<Commit>, events: Events) {
    thread::spawn(move || {
        while let Ok(first) = commits.recv() {
            let group: Vec<Commit> = std::iter::once(first).chain(commits.try_iter().take(GROUP - 1)).collect();
            let records: Vec<_> = group.iter().map(|commit| commit.record).collect();
            let tide = group.last().map(|commit| commit.tide).unwrap_or_default();
            let result = store.commit(&records, tide).map_err(|error| error.to_string());
            let failed = result.as_ref().err().cloned();
            let tickets = group.iter().map(|commit| commit.ticket).collect();
            if events.send(Event::Stored { tickets, result }).is_err() {
                return;
            }
            if let Some(why) = failed {
                // What a store does after a failed write is not to be relied on: a fresh engine opens it anew.
                let _ = events.send(Event::Over(why));
                return;
            }
        }
    });
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

pub(super) fn control(listener: UnixListener, events: Events) {
    thread::spawn(move || {
        loop {
            match control::next(&listener) {
                Ok((question, stream)) => {
                    if events.send(Event::Asked(question, stream)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // Knocks matter more than questions: the gate goes on without them.
                    warn!("the control socket is out of order, `posternd status` will not answer: {error}");
                    return;
                }
            }
        }
    });
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
pub(super) fn tables(keys: Vec<HintKey>, wanted: Receiver<std::ops::RangeInclusive<u64>>, events: Events) {
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
