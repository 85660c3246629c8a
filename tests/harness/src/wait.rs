//! Waits on conditions.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postern::model::time::Timestamp;

/// How long a condition may take on a busy machine.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Waits until the condition holds, at most [`LONGEST_WAIT`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until there is a value, at most [`LONGEST_WAIT`].
pub fn wait_for<R>(what: &str, ask: impl FnMut() -> Option<R>) -> R {
    wait_at_most(LONGEST_WAIT, what, ask)
}

/// Waits until there is a value; panics after the deadline.
pub fn wait_at_most<R>(deadline: Duration, what: &str, mut ask: impl FnMut() -> Option<R>) -> R {
    let end = Instant::now() + deadline;
    loop {
        // Read the clock first: the last question comes after the deadline, however long this thread was off the processor.
        let is_over = Instant::now() >= end;
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(!is_over, "no {what} after {deadline:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The present.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap())
}
