//! The monitor's signals: stop (SIGTERM, SIGINT) and reload (SIGHUP), each as a stream that becomes readable.

use std::io::Read;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

#[derive(Debug)]
pub(super) struct Signals {
    stop: UnixStream,
    reload: UnixStream,
}

impl Signals {
    pub(super) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            stop: stream(&[SIGTERM, SIGINT])?,
            reload: stream(&[SIGHUP])?,
        })
    }

    /// Without signals, so that a test can still be interrupted.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        let stream = || {
            let (stream, _) = UnixStream::pair().unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        };
        Self {
            stop: stream(),
            reload: stream(),
        }
    }

    pub(super) fn streams(&self) -> [&UnixStream; 2] {
        [&self.stop, &self.reload]
    }

    pub(super) fn take_stop(&mut self) -> bool {
        drained(&mut self.stop)
    }

    pub(super) fn take_reload(&mut self) -> bool {
        drained(&mut self.reload)
    }
}

fn stream(signals: &[i32]) -> std::io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    for signal in signals {
        pipe::register(*signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

fn drained(stream: &mut UnixStream) -> bool {
    let mut bytes = [0; 64];
    let mut any = false;
    while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
        any = true;
    }
    any
}
