//! Interrupts a wait for connections: for the answer of a resolver or a code, and for a signal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::model::exit::{ExitError, FAILED};

/// The side that waits.
#[derive(Debug)]
pub(crate) struct Alarm(Waker);

#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Counts wake-ups.
    event: OwnedFd,
    stopped: AtomicBool,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let stopped = AtomicBool::new(false);
        Ok(Self(Waker(Arc::new(Shared { event, stopped }))))
    }

    pub(crate) fn waker(&self) -> Waker {
        self.0.clone()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.0.stopped.load(Ordering::Acquire)
    }

    /// Readable after a wake-up.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.event.as_fd()
    }

    pub(super) fn clear(&self) {
        // It fails if nothing woke.
        let _ = rustix::io::read(&self.0.0.event, &mut [0; 8]);
    }
}

impl Waker {
    pub(super) fn wake(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
    }

    /// Ends the wait.
    pub(crate) fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.wake();
    }
}

pub(crate) fn no_alarm(error: io::Error) -> ExitError {
    ExitError::new(
        FAILED,
        format!("cannot make an event counter: {error}; try again"),
    )
}
