//! Connects to a TCP port at any of several addresses (RFC 8305); the first that accepts wins.
//!
//! A filtered port does not answer, and a lost answer comes no sooner than the kernel's repeat after a second. So each
//! address gets a new attempt again and again. The ones before it stay open for a while: on a slow path their
//! answer is still on its way. The others close when one wins, so the service sees one connection. Sends no byte over it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketType};

use super::names::ADDRESSES_MAX;
use super::resolve::in_turns;
use crate::adapters::clock;

/// The first attempt may come before the gate has opened the port, so the next ones follow soon.
const FIRST_PACE: Duration = Duration::from_millis(20);
const SLOWEST_PACE: Duration = Duration::from_millis(500);
/// A port that refuses answers at once, and may open at any time.
const PACE_IF_REFUSED: Duration = Duration::from_millis(100);
/// How long one attempt may take.
const LIFETIME: Duration = Duration::from_secs(2);
/// The head start of an address over the next one, the shortest that RFC 8305 recommends (section 8). With a longer one, a
/// family that the gate does not let in would cost a second round of knocks.
const HEAD_START: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    pub(crate) port: OpenPort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenPort {
    pub(crate) at: SocketAddr,
    pub(crate) after: Duration,
}

#[derive(Debug)]
pub(crate) enum Unreached {
    Closed,
    NoRoute(io::Error),
}

/// Attempts at each address. Times count from the start.
#[derive(Debug)]
pub(super) struct Attempts {
    start: Instant,
    repeat: bool,
    tracks: Vec<Track>,
}

/// The attempts at one address.
#[derive(Debug)]
struct Track {
    address: SocketAddr,
    /// When the next attempt starts; `None` if there is none.
    next: Option<Duration>,
    pace: Duration,
    open: Vec<Attempt>,
    is_started: bool,
    failure: Option<Errno>,
}

#[derive(Debug)]
struct Attempt {
    socket: OwnedFd,
    until: Duration,
}

impl Attempts {
    pub(super) fn new(start: Instant, repeat: bool) -> Self {
        Self {
            start,
            repeat,
            tracks: Vec::new(),
        }
    }

    /// Adds the addresses that are new. The oldest make room for them.
    pub(super) fn add(&mut self, addresses: Vec<SocketAddr>) {
        let now = clock::elapsed(self.start);
        let mut next = now;
        for address in in_turns(addresses) {
            if self.tracks.iter().any(|track| track.address == address) {
                continue;
            }
            let last = self.tracks.iter().filter(|track| !track.is_started);
            let last = last.filter_map(|track| track.next).max();
            next = last.map_or(next, |last| last.max(now).saturating_add(HEAD_START));
            if self.tracks.len() >= ADDRESSES_MAX {
                self.tracks.remove(0);
            }
            self.tracks.push(Track {
                address,
                next: Some(next),
                pace: FIRST_PACE,
                open: Vec::new(),
                is_started: false,
                failure: None,
            });
        }
    }

    /// Whether no attempt is open and none follows.
    pub(super) fn is_over(&self) -> bool {
        let mut tracks = self.tracks.iter();
        tracks.all(|track| track.next.is_none() && track.open.is_empty())
    }

    /// Starts the attempts that are due, and waits for an answer, for the next attempt, for the `alarm`, or until `until`.
    pub(super) fn wait(
        &mut self,
        until: Duration,
        alarm: Option<BorrowedFd<'_>>,
    ) -> Option<Connected> {
        let now = clock::elapsed(self.start);
        for track in &mut self.tracks {
            track.open.retain(|attempt| attempt.until > now);
            if track.next.is_some_and(|next| next <= now) {
                track.start(now, self.repeat);
            }
        }
        self.hurry(now);
        let next = self.tracks.iter().filter_map(Track::wake);
        let timeout = next.fold(until, Duration::min).saturating_sub(now);
        let timeout = Timespec::try_from(timeout);
        let sockets = self.tracks.iter().flat_map(|track| &track.open);
        let mut polled: Vec<PollFd<'_>> = sockets
            .map(|attempt| PollFd::new(&attempt.socket, PollFlags::OUT))
            .collect();
        polled.extend(alarm.map(|alarm| PollFd::from_borrowed_fd(alarm, PollFlags::IN)));
        // An error of the system call shows in the sockets, too, and a signal is no event here.
        let _ = poll(&mut polled, timeout.ok().as_ref());
        let answered: Vec<bool> = polled
            .iter()
            .map(|polled| !polled.revents().is_empty())
            .collect();
        self.take(&answered)
    }

    /// The next address need not wait for one that has failed.
    fn hurry(&mut self, now: Duration) {
        let has_failed = self
            .tracks
            .iter()
            .any(|track| track.is_started && track.open.is_empty() && track.failure.is_some());
        let mut waiting = self.tracks.iter_mut().filter(|track| !track.is_started);
        if let (true, Some(track)) = (has_failed, waiting.next()) {
            track.next = track.next.map(|next| next.min(now));
        }
    }

    fn take(&mut self, answered: &[bool]) -> Option<Connected> {
        let now = clock::elapsed(self.start);
        let mut answered = answered.iter().copied();
        for track in &mut self.tracks {
            let mut kept = Vec::new();
            for attempt in track.open.drain(..) {
                if !answered.next().unwrap_or(false) {
                    kept.push(attempt);
                    continue;
                }
                match result(&attempt.socket) {
                    Ok(()) => {
                        let stream = TcpStream::from(attempt.socket);
                        let port = OpenPort {
                            at: track.address,
                            after: now,
                        };
                        return Some(Connected { stream, port });
                    }
                    Err(error) => track.failure = Some(error),
                }
            }
            track.open = kept;
            if track.failure.is_some() && track.open.is_empty() {
                let soon = now.saturating_add(track.pace.min(PACE_IF_REFUSED));
                track.next = track.next.map(|next| next.min(soon));
            }
        }
        None
    }

    /// Why nothing connected. A port that stays closed says more than a missing route to another address.
    pub(super) fn failure(&self) -> Unreached {
        let mut failures = self.tracks.iter().map(|track| track.failure);
        match failures.clone().next().flatten() {
            Some(first) if failures.all(|error| error.is_some_and(is_no_route)) => {
                Unreached::NoRoute(first.into())
            }
            _ => Unreached::Closed,
        }
    }
}

impl Track {
    fn start(&mut self, now: Duration, repeat: bool) {
        self.is_started = true;
        match connect(self.address) {
            Ok(socket) => {
                let until = now.saturating_add(LIFETIME);
                self.open.push(Attempt { socket, until });
                self.failure = None;
            }
            Err(error) => self.failure = Some(error),
        }
        self.next = repeat.then(|| now.saturating_add(self.pace));
        self.pace = self.pace.saturating_mul(2).min(SLOWEST_PACE);
    }

    /// When something is to be done without an answer.
    fn wake(&self) -> Option<Duration> {
        let ends = self.open.iter().map(|attempt| attempt.until);
        ends.chain(self.next).min()
    }
}

/// Starts to connect.
fn connect(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    match rustix::net::connect(socket.as_fd(), &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error),
    }
}

fn result(socket: &OwnedFd) -> Result<(), Errno> {
    rustix::net::sockopt::socket_error(socket)??;
    rustix::io::ioctl_fionbio(socket, false)
}

/// This machine's own routing refuses. An unreachable host is not in the list: some firewalls reject packets that way.
fn is_no_route(error: Errno) -> bool {
    matches!(
        error,
        Errno::ADDRNOTAVAIL | Errno::NETUNREACH | Errno::AFNOSUPPORT
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::{bind, getsockname};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// A bound port without a listener: it refuses, and no other test gets it.
    fn closed_port() -> (OwnedFd, SocketAddr) {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = getsockname(&socket).unwrap().try_into().unwrap();
        (socket, address)
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Attempts until one succeeds, none follows or the limit is over.
    fn connect(addresses: &[SocketAddr], limit: Duration, repeat: bool) -> Option<Connected> {
        let start = clock::instant();
        let mut attempts = Attempts::new(start, repeat);
        attempts.add(addresses.to_vec());
        while !attempts.is_over() && clock::elapsed(start) < limit {
            if let Some(connected) = attempts.wait(limit, None) {
                return Some(connected);
            }
        }
        None
    }

    #[test]
    fn refusing_address_delays_no_other() {
        let (_socket, closed) = closed_port();
        let (_listener, at) = listener();
        for repeat in [false, true] {
            let connected = connect(&[closed, at], LONG, repeat);
            let port = connected.unwrap().port;
            assert_eq!(port.at, at);
            assert!(port.after < HEAD_START, "{port:?}");
        }
    }

    #[test]
    fn only_the_winner_stays_connected() {
        let (listener, at) = listener();
        let connected = connect(&[at], LONG, true).unwrap();
        let (_peer, from) = listener.accept().unwrap();
        assert_eq!(connected.stream.local_addr().unwrap(), from);
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
    }

    #[test]
    fn closed_port_ends_the_wait_in_time() {
        let (start, (_socket, closed)) = (clock::instant(), closed_port());
        assert!(connect(&[closed], Duration::from_millis(200), true).is_none());
        assert!(clock::elapsed(start) >= Duration::from_millis(200));
        assert!(connect(&[closed], LONG, false).is_none());
        assert!(clock::elapsed(start) < LONG / 2, "one attempt was enough");
    }

    #[test]
    fn attempts_follow_soon_then_each_half_second() {
        let mut track = Track {
            address: closed_port().1,
            next: None,
            pace: FIRST_PACE,
            open: Vec::new(),
            is_started: false,
            failure: None,
        };
        let mut now = Duration::ZERO;
        let starts = std::iter::repeat_with(|| {
            let this = now.as_millis();
            track.start(now, true);
            now = track.next.unwrap();
            this
        });
        let expected = [0, 20, 60, 140, 300, 620, 1120, 1620];
        assert_eq!(starts.take(8).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn missing_route_counts_only_for_all_addresses() {
        let no_route = |failures: &[Option<Errno>]| {
            let mut attempts = Attempts::new(clock::instant(), true);
            let addresses = (1..).zip(failures);
            let addresses = addresses.map(|(port, _)| SocketAddr::from(([127, 0, 0, 1], port)));
            attempts.add(addresses.collect());
            for (track, failure) in attempts.tracks.iter_mut().zip(failures) {
                track.failure = *failure;
            }
            matches!(attempts.failure(), Unreached::NoRoute(_))
        };
        let (lost, shut) = (Some(Errno::NETUNREACH), Some(Errno::HOSTUNREACH));
        assert!(no_route(&[lost]) && no_route(&[lost, lost]));
        assert!(!no_route(&[lost, None]) && !no_route(&[None, lost]) && !no_route(&[]));
        assert!(!no_route(&[shut]));
    }
}
