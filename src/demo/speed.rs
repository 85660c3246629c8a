//! From a knock to an open port: several knocks at a closed door, each followed by attempts to connect until one gets in.
//!
//! Owns the measuring and how its figures are told. It asserts none of them: how quick a machine is proves nothing about Postern.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::world::{KNOCK, SERVICE, World};
use crate::clock;
use crate::order::Selection;
use crate::stop::{FAILED, Stop};

/// Knocks of one measurement; an odd number has a median of its own.
const KNOCKS: usize = 25;

/// A closed port that does not answer within this time is hidden: an open one takes some ten microseconds.
const HIDDEN_AFTER: Duration = Duration::from_millis(5);

/// The pause between two attempts. Short, for it adds to what is measured; no shorter, for each costs the gate time, too.
const PAUSE: Duration = Duration::from_micros(50);

/// Attempts that are not given up yet. A dropped SYN is sent again only after a second, so an attempt that came too early never gets in.
const PENDING: usize = 64;

/// After this a port that is not open never opens.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long each knock took, the quickest first.
pub(super) struct Times(Vec<Duration>);

/// Knocks again and again, with a closed door before each knock.
///
/// # Errors
/// What went otherwise than it should: a port that was open before the knock, or closed after it.
pub(super) fn measure(world: &World, profile: &str, gate: IpAddr) -> Result<Times, Stop> {
    let mut times = Vec::with_capacity(KNOCKS);
    for _ in 0..KNOCKS {
        let packet = world.packet(profile, Duration::from_secs(60))?;
        let (service, knock) = (SocketAddr::new(gate, SERVICE), SocketAddr::new(gate, KNOCK));
        let took = world.at_client(move || knock_and_connect(service, knock, &packet))?;
        times.push(took.map_err(|why| Stop::new(FAILED, why))?);
        world.close(Selection::All)?;
    }
    times.sort_unstable();
    Ok(Times(times))
}

/// From the sending of the knock to the first connection; before the knock the port must be hidden.
pub(super) fn knock_and_connect(service: SocketAddr, knock: SocketAddr, packet: &[u8]) -> Result<Duration, String> {
    let mut attempts = Attempts { service, pending: VecDeque::new() };
    attempts.begin()?;
    if attempts.is_any_let_in(HIDDEN_AFTER)? {
        return Err(format!("{service} was open before the knock"));
    }
    let any: SocketAddr = if knock.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let failed = |error: std::io::Error| format!("sending to {knock}: {error}");
    let socket = UdpSocket::bind(any).map_err(failed)?;
    let start = clock::instant();
    socket.send_to(packet, knock).map_err(failed)?;
    while clock::elapsed(start) < PATIENCE {
        attempts.begin()?;
        if attempts.is_any_let_in(PAUSE)? {
            return Ok(clock::elapsed(start));
        }
    }
    Err(format!("{service} was still closed {} after the knock", crate::time::human(PATIENCE)))
}

/// Connections on their way.
struct Attempts {
    service: SocketAddr,
    pending: VecDeque<Socket>,
}

impl Attempts {
    fn begin(&mut self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("connecting to {}: {error}", self.service);
        let socket = Socket::new(Domain::for_address(self.service), Type::STREAM.nonblocking(), None).map_err(failed)?;
        match socket.connect(&self.service.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(failed(error)),
            _ => self.pending.push_back(socket),
        }
        if self.pending.len() > PENDING {
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Waits so long at most.
    fn is_any_let_in(&self, most: Duration) -> Result<bool, String> {
        let mut watched: Vec<PollFd<'_>> =
            self.pending.iter().map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)).collect();
        let ready = poll(&mut watched, Timespec::try_from(most).ok().as_ref()).map_err(|error| format!("waiting to be let in: {error}"))?;
        if ready == 0 {
            return Ok(false);
        }
        let answered = watched.iter().zip(&self.pending).find(|(watch, _)| !watch.revents().is_empty());
        match answered.map(|(_, socket)| socket.take_error()) {
            Some(Ok(None)) | None => Ok(true),
            Some(Ok(Some(error)) | Err(error)) => Err(format!("{} answered: {error}", self.service)),
        }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = |time: Option<&Duration>| time.map(|time| time.as_secs_f64() * 1e3).unwrap_or_default();
        let (first, middle, last) = (self.0.first(), self.0.get(self.0.len() / 2), self.0.last());
        write!(
            f,
            "open {:.2} ms after the knock was sent: the median of {} knocks; the quickest took {:.2} ms, the slowest {:.2} ms",
            millis(middle),
            self.0.len(),
            millis(first),
            millis(last)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_in_the_middle_is_told_with_the_first_and_the_last() {
        let times = Times([0.4, 0.5, 9.0].map(|millis: f64| Duration::from_secs_f64(millis / 1e3)).into());
        let said = times.to_string();
        assert!(said.starts_with("open 0.50 ms after") && said.ends_with("the quickest took 0.40 ms, the slowest 9.00 ms"), "{said}");
    }
}
