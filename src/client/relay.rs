//! Relays standard input and output and a TCP connection, each direction to its own end: for ssh's ProxyCommand.
//!
//! Two threads that block, each with one buffer of fixed size: what one side does not take is not read from the other.
//! Standard output gets the peer's bytes and nothing else.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{Exit, Failure};
use crate::adapters::files;

/// Bytes that are under way in one direction, at most.
const BUFFER: usize = 64 << 10;

/// Relays until both directions have ended: the end of standard input shuts the connection's sending half and goes on reading;
/// the peer's end closes standard output and goes on sending. A connection that is broken, or closed by a peer that takes
/// nothing any more, ends both.
///
/// # Errors
/// When the connection breaks, or standard output takes nothing more for another reason than that its reader has left.
pub fn relay(stream: TcpStream) -> Result<(), Failure> {
    // Keystrokes must not wait for one another.
    let _ = stream.set_nodelay(true);
    let sending = stream.try_clone().map_err(|error| broken(&error))?;
    // This thread may wait for a key for ever: it is not waited for, the connection says when its work is done.
    thread::spawn(move || send(&sending));
    receive(&stream)?;
    close_output();
    wait_until_done(&stream)
}

/// Standard input to the peer.
fn send(stream: &TcpStream) {
    let input = io::stdin();
    match copy(input.as_fd(), stream.as_fd()) {
        // The end of the input, or an input that cannot be read: the peer hears that nothing follows.
        Ok(()) | Err(Broken::Reading(_)) => _ = stream.shutdown(Shutdown::Write),
        // Nothing can be sent any more. What the peer still says has to come through all the same.
        Err(Broken::Writing(_)) => {}
    }
}

/// The peer to standard output.
fn receive(stream: &TcpStream) -> Result<(), Failure> {
    let output = io::stdout();
    match copy(stream.as_fd(), output.as_fd()) {
        Ok(()) => Ok(()),
        Err(Broken::Reading(error)) => Err(broken(&error.into())),
        // Whoever read it has left, and with them the reason to go on.
        Err(Broken::Writing(Errno::PIPE)) => {
            let _ = stream.shutdown(Shutdown::Both);
            Ok(())
        }
        Err(Broken::Writing(error)) => {
            let what = format!(
                "cannot write to standard output: {}",
                io::Error::from(error)
            );
            Err(Failure::new(Exit::Io, what, "check where the output goes"))
        }
    }
}

/// Whoever reads standard output hears that nothing follows.
fn close_output() {
    if let Ok(nothing) = files::open_nothing() {
        let _ = rustix::stdio::dup2_stdout(nothing);
    }
}

/// The kernel says so when both halves are shut, and when the peer refuses what is sent.
fn wait_until_done(stream: &TcpStream) -> Result<(), Failure> {
    loop {
        // No event is asked for: what is left is the hang-up and the error, which are always told.
        let mut watched = [PollFd::new(stream, PollFlags::empty())];
        match poll(&mut watched, None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(broken(&error.into())),
        }
    }
    // The peer was done, and is gone: bytes that it did not want are its business.
    Ok(())
}

/// Which side ended a copy before its time.
enum Broken {
    Reading(Errno),
    Writing(Errno),
}

/// Copies until there is nothing more to read.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut rest = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                wait_for(from, PollFlags::IN).map_err(Broken::Reading)?;
                continue;
            }
            Err(error) => return Err(Broken::Reading(error)),
        };
        while !rest.is_empty() {
            match rustix::io::write(to, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for(to, PollFlags::OUT).map_err(Broken::Writing)?,
                Err(error) => return Err(Broken::Writing(error)),
            }
        }
    }
}

/// Whoever shares our standard input or output may have made it one that does not block.
fn wait_for(side: BorrowedFd<'_>, event: PollFlags) -> Result<(), Errno> {
    match poll(&mut [PollFd::from_borrowed_fd(side, event)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(
        Exit::Io,
        format!("the connection broke: {error}"),
        "connect again",
    )
}
