//! Two threads take turns: one serves, while the other makes marks durable and sends the orders.
//!
//! The thread that admits a knock leaves the engine, writes the mark itself, and takes the engine back. So a knock waits for no thread.
//! If the disk takes longer than [`PATIENCE`], a timer wakes the other thread, which takes the engine: packets do not wait for a slow
//! disk. There is one store. Commits that come while it is in use are the next group.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::commit::{self, Commit, Done, Work};
use super::event_loop::{Engine, Next};
use super::events::{Event, Events};
use super::threads::{Orders, start};
use crate::adapters::clock::{self, Alarm};
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
pub(super) struct Turns {
    next: Mutex<Option<Turn>>,
    alarm: Alarm,
}

enum Turn {
    Serve(Box<Engine>),
    Over(Result<(), ExitError>),
}

impl Turns {
    pub(super) fn new(alarm: Alarm) -> Self {
        Self {
            next: Mutex::default(),
            alarm,
        }
    }

    /// The other thread takes it after this time. Nothing comes after the end.
    fn leave(&self, turn: Turn, after: Duration) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*next, Some(Turn::Over(_))) {
            *next = Some(turn);
        }
        drop(next);
        self.alarm.ring_after(after);
    }

    /// Takes the engine back, if the other thread has not taken it yet.
    fn take_back(&self) -> Option<Box<Engine>> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        match next.take() {
            Some(Turn::Serve(engine)) => {
                self.alarm.silence();
                Some(engine)
            }
            other => {
                *next = other;
                None
            }
        }
    }

    /// Waits until the other thread has left its turn.
    fn take(&self) -> Turn {
        loop {
            self.alarm.wait();
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            match next.take() {
                Some(Turn::Over(end)) => {
                    *next = Some(Turn::Over(end.clone()));
                    return Turn::Over(end);
                }
                Some(turn) => return turn,
                // It was taken back.
                None => {}
            }
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
    let first = Turn::Serve(Box::new(engine));
    tools.turns.leave(first, Duration::ZERO);
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
            self.0.turns.leave(Turn::Over(end), Duration::ZERO);
        }
    }
}

fn take_turns(tools: &Tools) -> Result<(), ExitError> {
    loop {
        let engine = match tools.turns.take() {
            Turn::Serve(engine) => engine,
            Turn::Over(end) => return end,
        };
        let end = match serve_until_left(engine, tools) {
            Ok(Serving::Left) => continue,
            Ok(Serving::Over) => Ok(()),
            Err(stop) => Err(stop),
        };
        tools.turns.leave(Turn::Over(end.clone()), Duration::ZERO);
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
        tools.turns.leave(Turn::Serve(engine), PATIENCE);
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
    /// Step 11, then step 12: sends each order whose mark is durable. Without commits, settles the store.
    fn carry_out(mut self, tools: &Tools) -> Done {
        let start = clock::instant();
        let written = if self.commits.is_empty() {
            self.store.settle()
        } else {
            commit::write(&mut self.commits, self.store.as_mut())
        };
        let took = clock::elapsed(start);
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
