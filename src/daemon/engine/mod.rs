//! The engine: the unprivileged process. It holds the keys, the gate, the replay store and the control socket.
//!
//! Threads feed one bounded channel, one loop owns the gate. It can open nothing by itself: it gives orders to the
//! monitor, which checks each again.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::core::order::{Order, Report};
use crate::model::exit::{ExitError, FAILED};
use crate::model::time::Timestamp;

mod batch;
pub mod core;
pub mod health;
mod prefilter;
pub mod privileges;
pub mod sample;
mod start;
mod threads;

use self::core::{Commit, Core};
use threads::{Askers, Event, Orders, hand_on};

/// Events that wait for the loop; captures wait with the next one, and the kernel drops what then comes.
const QUEUE: usize = 4096;

/// The loop looks at the clock at least this often.
const TICK: Duration = Duration::from_millis(250);

/// A loop that is about to end looks this often whether anything still comes.
const LAST_TICK: Duration = Duration::from_millis(10);

/// The loop's side of the engine.
struct Engine {
    core: Core,
    commits: SyncSender<Commit>,
    orders: Orders,
    tables: SyncSender<RangeInclusive<u64>>,
    table_under_way: bool,
    /// Captures that still feed the loop, and what tells them to end.
    captures: usize,
    finish: Arc<AtomicBool>,
    /// Those who ask at the control socket; `None` where it is out of order.
    askers: Option<Askers>,
}

/// Serves as the engine of the monitor that started this process, until another engine takes over or that monitor is gone.
///
/// # Errors
/// Why it could not begin, or could not go on.
pub fn run() -> Result<(), ExitError> {
    let link = Link::from_stdin().map_err(ExitError::system("the link to the monitor"))?;
    let Some(parts) = start::take_over(&link)? else {
        return Ok(());
    };
    let (engine, inbox) = wire_up(link, parts)?;
    engine.serve(&inbox)
}

/// Starts the threads around the core, and tells the monitor that all is ready.
fn wire_up(link: Link, parts: start::EngineParts) -> Result<(Engine, Receiver<Event>), ExitError> {
    let mut core = parts.core;
    let (events, inbox) = sync_channel(QUEUE);
    let (commits, committed) = sync_channel(QUEUE);
    let (tables, wanted) = sync_channel(1);
    threads::store(parts.store, committed, events.clone())?;
    threads::tables(
        core.gate().hint_keys(),
        wanted,
        parts.prefilter,
        events.clone(),
    )?;
    threads::reports(
        link.try_clone()
            .map_err(ExitError::system("the link to the monitor"))?,
        events.clone(),
    )?;
    let orders = threads::orders(link, QUEUE, events.clone())?;
    if let Some(listener) = parts.metrics {
        threads::metrics(listener, events.clone())?;
    }
    let (captures, finish) = (parts.captures.len(), Arc::new(AtomicBool::new(false)));
    let askers = threads::control(parts.control, events.clone());
    for (name, capture) in parts.captures {
        let (number, received) = core.health().listens(name, capture.drops());
        threads::capture(
            capture,
            number,
            received,
            Arc::clone(&finish),
            events.clone(),
        )?;
    }
    let engine = Engine {
        core,
        commits,
        orders,
        tables,
        table_under_way: false,
        captures,
        finish,
        askers,
    };
    engine
        .orders
        .give(&Order::Ready)
        .map_err(|why| ExitError::new(FAILED, why))?;
    Ok((engine, inbox))
}

impl Engine {
    fn serve(mut self, inbox: &Receiver<Event>) -> Result<(), ExitError> {
        loop {
            let event = inbox.recv_timeout(if self.captures == 0 { LAST_TICK } else { TICK });
            let now = clock::wall();
            match event {
                Ok(Event::Over(why)) => return Err(ExitError::new(FAILED, why)),
                Ok(event) => self.handle(now, event),
                Err(RecvTimeoutError::Timeout) if self.captures == 0 && self.core.is_idle() => {
                    self.askers.take().into_iter().for_each(Askers::end);
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ExitError::new(
                        FAILED,
                        "every thread of the engine has ended",
                    ));
                }
            }
            self.keep_hints_ahead(now);
        }
    }

    fn handle(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Datagrams(batch) => {
                for datagram in batch.as_slice() {
                    if let Some(commit) = self.core.datagram(now, datagram) {
                        self.commit(commit);
                    }
                }
            }
            Event::Stored {
                tickets,
                result,
                took,
            } => {
                if result.is_ok() {
                    self.core.health().stored(now, tickets.len(), took);
                }
                for ticket in tickets {
                    if let Some(order) = self
                        .core
                        .stored(ticket, result.as_ref().copied().map_err(String::as_str))
                    {
                        self.order(order);
                    }
                }
            }
            Event::Report(Report::Finish) => {
                self.finish.store(true, Ordering::Relaxed);
                // Those who ask from now on wait for the engine that follows, which knows better.
                self.askers.iter().for_each(Askers::close);
            }
            Event::Report(Report::Measure) => {
                let figures = Box::new(self.core.figures());
                self.order(Order::Measured(figures));
            }
            Event::Deaf => self.captures = self.captures.saturating_sub(1),
            Event::Report(report) => self.core.reported(report),
            Event::Hears(capture, lost) => self.core.health().hears(capture, lost),
            Event::Asked(question, stream) => {
                if let Some(order) = self.core.asked(now, question, stream) {
                    self.order(order);
                }
            }
            Event::Wanted(reply) => {
                let order = self.core.wanted(reply);
                self.order(order);
            }
            Event::Table(table) => {
                self.core.gate().install(table);
                self.table_under_way = false;
            }
            Event::Over(_) => {}
        }
    }

    fn commit(&mut self, commit: Commit) {
        if let Err((commit, why)) = hand_on(&self.commits, commit) {
            self.core.stored(commit.ticket, Err(why));
        }
    }

    fn order(&mut self, order: Order) {
        if let Err(why) = self.orders.give(&order) {
            self.core.not_ordered(&order, why);
        }
    }

    /// Asks for the next table before its step is due.
    fn keep_hints_ahead(&mut self, now: Timestamp) {
        if !self.table_under_way
            && let Some(steps) = self.core.gate().table_wanted(now)
        {
            self.table_under_way = hand_on(&self.tables, steps).is_ok();
            self.core.health().look();
        }
    }
}
