//! The signals that the monitor takes: stop (SIGTERM, SIGINT) and reload (SIGHUP), each as a stream that becomes readable.

use std::io::Read;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// What the process was told by signals.
#[derive(Debug)]
pub(super) struct Signals {
    pub(super) stop: UnixStream,
    pub(super) reload: UnixStream,
}

impl Signals {
    /// Takes the signals from now on.
    pub(super) fn take() -> std::io::Result<Self> {
        Ok(Self {
            stop: stream(&[SIGTERM, SIGINT])?,
            reload: stream(&[SIGHUP])?,
        })
    }

    /// Whether it was told to stop.
    pub(super) fn says_stop(&mut self) -> bool {
        drained(&mut self.stop)
    }

    /// Whether it was told to reload since it was last asked, however often.
    pub(super) fn says_reload(&mut self) -> bool {
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
