//! Interrupts a wait for connections: for the answer of a resolver or a code, and for a signal.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::exit::{ExitError, FAILED};

/// The side that waits.
#[derive(Debug)]
pub(crate) struct Alarm {
    reader: UnixStream,
    waker: Waker,
}

#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    writer: UnixStream,
    stopped: AtomicBool,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let stopped = AtomicBool::new(false);
        let waker = Waker(Arc::new(Shared { writer, stopped }));
        Ok(Self { reader, waker })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.waker.0.stopped.load(Ordering::Acquire)
    }

    /// Readable after a wake-up.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    pub(super) fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.reader).read(&mut bytes), Ok(1..)) {}
    }
}

impl Waker {
    pub(super) fn wake(&self) {
        // A full buffer wakes as well.
        let _ = (&self.0.writer).write(&[0]);
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
        format!("cannot make a pair of sockets: {error}; try again"),
    )
}
