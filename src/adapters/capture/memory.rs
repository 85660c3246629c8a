//! A source of datagrams for tests: a channel.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::{Capture, Caught};
use crate::model::datagram::Datagram;

/// The receiving end.
#[derive(Debug)]
pub struct MemoryCapture {
    queue: Receiver<Datagram>,
}

/// A sender, and the capture that receives what it sends.
pub fn pair() -> (Sender<Datagram>, MemoryCapture) {
    let (sender, queue) = channel();
    (sender, MemoryCapture { queue })
}

impl Capture for MemoryCapture {
    fn next(&mut self) -> io::Result<Caught> {
        match self.queue.recv_timeout(Duration::from_millis(20)) {
            Ok(datagram) => Ok(Caught::Datagram(datagram)),
            Err(RecvTimeoutError::Timeout) => Ok(Caught::Nothing),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}
