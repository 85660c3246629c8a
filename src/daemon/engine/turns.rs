//! Two threads take turns: one serves, while the other makes marks durable and sends the orders.
//!
//! The thread that admits a knock passes the engine to the other thread and writes the mark itself. So a knock waits for no thread, and
//! packets never wait for the disk. There is one store. Commits that come while it is in use are the next group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::commit::{self, Commit, Done, Work};
use super::event_loop::{Engine, Next};
use super::events::{Event, Events};
use super::threads::{Orders, start};
use crate::adapters::clock;
use crate::model::exit::{ExitError, FAILED};

/// What a thread needs to carry out work.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) orders: Arc<Orders>,
    pub(super) events: Events,
    /// Commits wait for the store.
    pub(super) is_wanted: Arc<AtomicBool>,
}

enum Turn {
    Serve(Box<Engine>),
    Over(Result<(), ExitError>),
}

/// Serves until the engine has finished.
pub(super) fn serve(engine: Engine, tools: Tools) -> Result<(), ExitError> {
    let (to_first, first) = sync_channel(1);
    let (to_second, second) = sync_channel(1);
    let own = tools.clone();
    start(move || {
        let _end = EndOnPanic(own.events.clone());
        drop(take_turns(&second, &to_first, &own));
    })?;
    let _ = to_second.send(Turn::Serve(Box::new(engine)));
    take_turns(&first, &to_second, &tools)
        .unwrap_or_else(|| Err(ExitError::new(FAILED, "a thread of the engine has ended")))
}

/// Ends the engine if this thread panics while the other one serves: the store is lost with it, so no knock would open.
struct EndOnPanic(Events);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "a thread of the engine has panicked".to_owned();
            let _ = self.0.send(Event::Failed(why));
        }
    }
}

/// What the engine's end is, or nothing if the other thread is gone.
fn take_turns(
    own: &Receiver<Turn>,
    other: &SyncSender<Turn>,
    tools: &Tools,
) -> Option<Result<(), ExitError>> {
    loop {
        let mut engine = match own.recv().ok()? {
            Turn::Serve(engine) => engine,
            Turn::Over(end) => return Some(end),
        };
        let end = match engine.serve() {
            Ok(Next::Store(work)) => {
                other.send(Turn::Serve(engine)).ok()?;
                let done = work.carry_out(tools);
                // If the engine has ended, nobody waits for it.
                let _ = tools.events.send(Event::Stored(Box::new(done)));
                continue;
            }
            Ok(Next::Over) => Ok(()),
            Err(stop) => Err(stop),
        };
        let _ = other.send(Turn::Over(end.clone()));
        return Some(end);
    }
}

impl Work {
    /// Step 11, then step 12: sends each order whose mark is durable.
    fn carry_out(mut self, tools: &Tools) -> Done {
        let start = clock::instant();
        let written = commit::write(&mut self.commits, self.store.as_mut());
        let took = clock::elapsed(start);
        let mut unsent = Vec::new();
        for order in self.commits.iter_mut().filter_map(Commit::take_order) {
            if let Err(why) = tools.orders.send(&order) {
                unsent.push((order, why));
            }
        }
        let settled = written.and_then(|()| {
            if tools.is_wanted.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.store.settle()
        });
        Done {
            work: self,
            failure: settled.err().map(|error| error.to_string()),
            unsent,
            took,
        }
    }
}
