//! Relays standard input and output and a TCP connection, for ssh's ProxyCommand.
//!
//! Each direction ends by itself. Two threads that block, each with one buffer of fixed size.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::adapters::files;
use crate::model::exit::{ExitError, IO};

const BUFFER: usize = 64 << 10;

/// Relays until both directions have ended. The end of standard input closes the sending half of the connection;
/// the peer's end closes standard output. A connection that breaks ends both.
pub(crate) fn relay(stream: TcpStream) -> Result<(), ExitError> {
    // Keystrokes must not wait for one another.
    let _ = stream.set_nodelay(true);
    let sending = stream.try_clone().map_err(|error| broken(&error))?;
    // This thread may wait for a key forever, so nothing joins it; the end of the connection is awaited instead.
    thread::spawn(move || send(&sending));
    receive(&stream)?;
    close_output();
    wait_for_end(&stream)
}

fn send(stream: &TcpStream) {
    let input = io::stdin();
    match copy(input.as_fd(), stream.as_fd()) {
        Ok(()) | Err(CopyError::Read(_)) => _ = stream.shutdown(Shutdown::Write),
        // The peer may still send.
        Err(CopyError::Write(_)) => {}
    }
}

fn receive(stream: &TcpStream) -> Result<(), ExitError> {
    let output = io::stdout();
    match copy(stream.as_fd(), output.as_fd()) {
        Ok(()) => Ok(()),
        Err(CopyError::Read(error)) => Err(broken(&error.into())),
        Err(CopyError::Write(Errno::PIPE)) => {
            let _ = stream.shutdown(Shutdown::Both);
            Ok(())
        }
        Err(CopyError::Write(error)) => {
            let why = io::Error::from(error);
            let what = format!("cannot write to standard output: {why}; check where it goes");
            Err(ExitError::new(IO, what))
        }
    }
}

fn close_output() {
    if let Ok(nothing) = files::open_nothing() {
        let _ = rustix::stdio::dup2_stdout(nothing);
    }
}

/// Waits until both halves are closed, or the peer refuses what is sent.
fn wait_for_end(stream: &TcpStream) -> Result<(), ExitError> {
    loop {
        // Without a requested event, poll still reports hang-up and error.
        match poll(&mut [PollFd::new(stream, PollFlags::empty())], None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(broken(&error.into())),
        }
    }
}

enum CopyError {
    Read(Errno),
    Write(Errno),
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), CopyError> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut rest = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                wait_for(from, PollFlags::IN).map_err(CopyError::Read)?;
                continue;
            }
            Err(error) => return Err(CopyError::Read(error)),
        };
        while !rest.is_empty() {
            match rustix::io::write(to, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for(to, PollFlags::OUT).map_err(CopyError::Write)?,
                Err(error) => return Err(CopyError::Write(error)),
            }
        }
    }
}

/// Another process that shares standard input or output may have made it non-blocking.
fn wait_for(side: BorrowedFd<'_>, event: PollFlags) -> Result<(), Errno> {
    match poll(&mut [PollFd::from_borrowed_fd(side, event)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

fn broken(error: &io::Error) -> ExitError {
    ExitError::new(IO, format!("the connection broke: {error}; connect again"))
}
