//! Two threads take turns: one serves, while the other makes marks durable and sends the orders.
//!
//! The thread that admits a knock leaves the engine, writes the mark itself, and takes the engine back. So a knock waits for no thread.
//! While the disk works, the other thread announces the order to the monitor. If the disk takes longer than [`PATIENCE`], that thread
//! takes the engine: packets do not wait for a slow disk. There is one store. Commits that come while it is in use are the next group.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::commit::{self, Commit, Done, Work};
use super::event_loop::{Engine, Next};
use super::events::{Event, Events};
use super::threads::{Orders, start};
use crate::adapters::clock;
use crate::core::order::Order;
use crate::model::exit::{ExitError, FAILED};

/// How long packets wait for a mark to become durable. A knock among them would wait for the disk anyway.
const PATIENCE: Duration = Duration::from_millis(1);

/// What a thread needs to carry out work.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) orders: Arc<Orders>,
    pub(super) events: Events,
    pub(super) turns: Arc<Turns>,
}

/// Where one thread leaves the engine to the other.
#[derive(Default)]
pub(super) struct Turns {
    left: Mutex<Left>,
    changed: Condvar,
}

#[derive(Default)]
struct Left {
    next: Option<Turn>,
    /// The other thread takes `next` no earlier than this.
    from: Option<Instant>,
    /// What the other thread tells the monitor at once.
    announcement: Option<Order>,
}

enum Turn {
    Serve(Box<Engine>),
    Over(Result<(), ExitError>),
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other thread takes the engine after [`PATIENCE`], and announces the order now.
    fn leave(&self, engine: Box<Engine>, announcement: Option<Order>) {
        let from = clock::instant().checked_add(PATIENCE);
        self.set(Turn::Serve(engine), from, announcement);
    }

    /// Nothing comes after the end.
    fn end(&self, end: Result<(), ExitError>) {
        self.set(Turn::Over(end), None, None);
    }

    fn set(&self, turn: Turn, from: Option<Instant>, announcement: Option<Order>) {
        let mut left = self.lock();
        if !matches!(left.next, Some(Turn::Over(_))) {
            *left = Left {
                next: Some(turn),
                from,
                announcement,
            };
        }
        drop(left);
        self.changed.notify_one();
    }

    /// From now on the other thread announces nothing.
    fn recall_announcement(&self) {
        self.lock().announcement = None;
    }

    /// Takes the engine back, if the other thread has not taken it yet.
    fn take_back(&self) -> Option<Box<Engine>> {
        let mut left = self.lock();
        match left.next.take() {
            Some(Turn::Serve(engine)) => Some(engine),
            other => {
                left.next = other;
                None
            }
        }
    }

    /// Waits until the other thread has left its turn.
    fn take(&self, orders: &Orders) -> Turn {
        let mut left = self.lock();
        loop {
            if let Some(order) = left.announcement.take() {
                // Under the lock, so that it comes before the order.
                orders.announce(&order);
            }
            let wait = left
                .from
                .map(|from| from.saturating_duration_since(clock::instant()));
            let wait = wait.filter(|wait| !wait.is_zero());
            left = match (left.next.take(), wait) {
                (Some(Turn::Over(end)), _) => {
                    left.next = Some(Turn::Over(end.clone()));
                    return Turn::Over(end);
                }
                (Some(turn), None) => return turn,
                (next @ Some(_), Some(wait)) => {
                    left.next = next;
                    let waited = self.changed.wait_timeout(left, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                // It was taken back.
                (None, _) => {
                    let waited = self.changed.wait(left);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

/// Serves until the engine has finished.
pub(super) fn serve(engine: Engine, tools: Tools) -> Result<(), ExitError> {
    let own = tools.clone();
    start(move || {
        let _end = EndOnPanic(own.clone());
        drop(take_turns(&own));
    })?;
    tools.turns.set(Turn::Serve(Box::new(engine)), None, None);
    take_turns(&tools)
}

/// Ends the engine if this thread panics: the store may be lost with it, so no knock would open.
struct EndOnPanic(Tools);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            let why = "a thread of the engine has panicked";
            let _ = self.0.events.send(Event::Failed(why.to_owned()));
            let end = Err(ExitError::new(FAILED, why));
            self.0.turns.end(end);
        }
    }
}

fn take_turns(tools: &Tools) -> Result<(), ExitError> {
    loop {
        let engine = match tools.turns.take(&tools.orders) {
            Turn::Serve(engine) => engine,
            Turn::Over(end) => return end,
        };
        let end = match serve_until_left(engine, tools) {
            Ok(Serving::Left) => continue,
            Ok(Serving::Over) => Ok(()),
            Err(stop) => Err(stop),
        };
        tools.turns.end(end.clone());
        return end;
    }
}

enum Serving {
    /// The other thread has taken the engine.
    Left,
    Over,
}

fn serve_until_left(mut engine: Box<Engine>, tools: &Tools) -> Result<Serving, ExitError> {
    loop {
        let Next::Store(work) = engine.serve()? else {
            return Ok(Serving::Over);
        };
        tools.turns.leave(engine, work.announcement());
        let done = work.carry_out(tools);
        match tools.turns.take_back() {
            Some(back) => engine = back,
            None => {
                // If the engine has ended, nobody waits for it.
                let _ = tools.events.send(Event::Stored(Box::new(done)));
                return Ok(Serving::Left);
            }
        }
        engine.stored(clock::wall(), done)?;
    }
}

impl Work {
    /// A group is not announced: the monitor carries it out in one step.
    fn announcement(&self) -> Option<Order> {
        match &*self.commits {
            [commit] => commit.announcement(),
            _ => None,
        }
    }

    /// Step 11, then step 12: sends each order whose mark is durable. Without commits, settles the store.
    fn carry_out(mut self, tools: &Tools) -> Done {
        let start = clock::instant();
        let written = if self.commits.is_empty() {
            self.store.settle()
        } else {
            commit::write(&mut self.commits, self.store.as_mut())
        };
        let took = clock::elapsed(start);
        tools.turns.recall_announcement();
        let (mut is_sent, mut unsent) = (false, Vec::new());
        for order in self.commits.iter_mut().filter_map(Commit::take_order) {
            match tools.orders.send(&order) {
                Ok(()) => is_sent = true,
                Err(why) => unsent.push((order, why)),
            }
        }
        if is_sent {
            // The kernel may have put the monitor behind this thread, on the same processor. What is left to do can wait for it.
            thread::yield_now();
        }
        Done {
            work: self,
            failure: written.err().map(|error| error.to_string()),
            unsent,
            took,
        }
    }
}
