//! The engine as the monitor sees it: a child process behind a link.
//!
//! Starts it by executing this very program again, hands everything over, and ends it.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::bundle::Bundle;
use crate::link::{self, Link};
use crate::order::{self, CaptureSpec, Start};
use crate::log;
use crate::program::{self, Wiring};
use crate::stop::{FAILED, Stop};

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    /// The monitor's end.
    pub link: Link,
    /// Whether it has said that it serves.
    pub ready: bool,
}

impl Engine {
    /// Starts an engine and hands it all that it needs. `arguments` select the engine role of this program.
    ///
    /// # Errors
    /// What could not be done.
    pub fn start(
        arguments: &[&str],
        bundle: &Bundle,
        control: BorrowedFd<'_>,
        captures: &[(CaptureSpec, OwnedFd)],
        run_as: Option<(u32, u32)>,
    ) -> Result<Self, Stop> {
        let (ours, theirs) = link::pair().map_err(Stop::system("making the link to the engine"))?;
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let env: Vec<(&str, String)> = [log::LEVEL, log::FORMAT].into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))).collect();
        let wiring = Wiring { stdin: theirs.into_socket().into(), stdout: Stdio::inherit(), stderr: Stdio::inherit(), env: &env };
        let child = program::start_again(&arguments, wiring).map_err(Stop::system("starting the engine"))?;
        let engine = Self { child, link: ours, ready: false };
        let config = in_memory(bundle).map_err(Stop::system("handing the config to the engine"))?;
        let start = Start { run_as, captures: captures.iter().map(|(spec, _)| spec.clone()).collect() };
        let message = order::encode(&start).map_err(|error| Stop::new(FAILED, error))?;
        let descriptors: Vec<BorrowedFd<'_>> =
            [config.as_fd(), control].into_iter().chain(captures.iter().map(|(_, socket)| socket.as_fd())).collect();
        engine.link.send_descriptors(&message, &descriptors).map_err(Stop::system("handing the sockets to the engine"))?;
        Ok(engine)
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it, whatever it does, and waits for that.
    pub fn end(mut self) {
        // Either it is gone already, or it is now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The config in memory that belongs to no file system; the engine overwrites it once it has read it.
fn in_memory(bundle: &Bundle) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("postern-config", MemfdFlags::CLOEXEC)?);
    file.write_all(&bundle.encode())?;
    Ok(file.into())
}
