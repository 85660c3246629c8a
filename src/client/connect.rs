//! Connects to a TCP port at any of several addresses; the first that accepts wins.
//!
//! Sends no byte over a connection. All sleeps of the client are here.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::adapters::clock;

/// The first attempt may come before the gate has opened the port, and a filtered port does not answer: give it up early.
/// Later attempts last longer, so that a slow network has time to answer.
const FIRST_TIMEOUT: Duration = Duration::from_millis(20);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(2);
/// A port that refuses does so at once.
const PAUSE: Duration = Duration::from_millis(20);
/// The head start of an address over the next one: most hosts answer at the first one and need no second attempt.
const HEAD_START: Duration = Duration::from_millis(100);
const ADDRESSES_MAX: usize = 8;

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

type Outcome = Result<Connected, Unreached>;

pub(crate) fn connect_once(addresses: &[SocketAddr], limit: Duration) -> Outcome {
    connect(addresses, limit, false)
}

pub(crate) fn connect_within(addresses: &[SocketAddr], limit: Duration) -> Outcome {
    connect(addresses, limit, true)
}

/// Waits until a port opens, and closes the connection again; `None` if none opens.
pub(crate) fn wait_for(addresses: &[SocketAddr], limit: Duration) -> Option<OpenPort> {
    Some(connect_within(addresses, limit).ok()?.port)
}

fn connect(addresses: &[SocketAddr], limit: Duration, repeat: bool) -> Outcome {
    let start = clock::instant();
    let done = Arc::new(AtomicBool::new(false));
    let (results, outcomes) = channel();
    let mut delay = Duration::ZERO;
    for address in addresses.iter().take(ADDRESSES_MAX) {
        let attempts = Attempts {
            address: *address,
            start,
            limit,
            repeat,
            done: Arc::clone(&done),
        };
        let results = results.clone();
        thread::spawn(move || {
            thread::sleep(delay.min(limit));
            let _ = results.send(attempts.run());
        });
        delay = delay.saturating_add(HEAD_START);
    }
    drop(results);
    let outcome = best(outcomes);
    done.store(true, Ordering::Relaxed);
    outcome
}

fn best(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    let mut failure = None;
    for outcome in outcomes {
        match (outcome, &failure) {
            (Ok(connected), _) => return Ok(connected),
            (Err(Unreached::NoRoute(_)), Some(Unreached::Closed)) => {}
            (Err(error), _) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or(Unreached::Closed))
}

struct Attempts {
    address: SocketAddr,
    start: Instant,
    limit: Duration,
    repeat: bool,
    done: Arc<AtomicBool>,
}

impl Attempts {
    fn run(&self) -> Outcome {
        let mut timeout = if self.repeat {
            FIRST_TIMEOUT
        } else {
            self.limit
        };
        let mut last = None;
        while let Some(left) = self.left() {
            match TcpStream::connect_timeout(&self.address, timeout.min(left)) {
                Ok(stream) => {
                    let port = OpenPort {
                        at: self.address,
                        after: clock::elapsed(self.start),
                    };
                    return Ok(Connected { stream, port });
                }
                Err(error) => last = Some(error),
            }
            if !self.repeat {
                break;
            }
            thread::sleep(PAUSE.min(self.left().unwrap_or_default()));
            timeout = timeout.saturating_mul(2).min(LONGEST_TIMEOUT);
        }
        Err(match last {
            Some(error) if is_no_route(&error) => Unreached::NoRoute(error),
            _ => Unreached::Closed,
        })
    }

    fn left(&self) -> Option<Duration> {
        let left = self.limit.checked_sub(clock::elapsed(self.start))?;
        (!left.is_zero() && !self.done.load(Ordering::Relaxed)).then_some(left)
    }
}

/// This machine's own routing refuses. An unreachable host is not in the list: some firewalls reject packets that way.
fn is_no_route(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable, Unsupported};
    let kind = error.kind();
    matches!(kind, AddrNotAvailable | NetworkUnreachable | Unsupported)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// A bound port without a listener: it refuses, and no other test gets it.
    fn closed_port() -> (OwnedFd, SocketAddr) {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = getsockname(&socket).unwrap().try_into().unwrap();
        (socket, address)
    }

    #[test]
    fn open_address_is_found_after_closed_one() {
        let (_socket, closed) = closed_port();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        assert_eq!(wait_for(&[closed, at], LONG).unwrap().at, at);
    }

    #[test]
    fn closed_port_ends_the_wait_in_time() {
        let (start, (_socket, closed)) = (clock::instant(), closed_port());
        assert_eq!(wait_for(&[closed], Duration::from_millis(200)), None);
        assert!(clock::elapsed(start) >= Duration::from_millis(200));
        let found = connect_once(&[closed], LONG);
        assert!(matches!(found, Err(Unreached::Closed)));
        assert!(clock::elapsed(start) < LONG / 2, "one attempt was enough");
    }

    #[test]
    fn missing_route_counts_only_for_all_addresses() {
        let no_route = |closed: &[bool]| {
            let outcomes = closed.iter().map(|closed| match closed {
                true => Err(Unreached::Closed),
                false => Err(Unreached::NoRoute(io::ErrorKind::NetworkUnreachable.into())),
            });
            matches!(best(outcomes), Err(Unreached::NoRoute(_)))
        };
        assert!(no_route(&[false]) && no_route(&[false, false]));
        assert!(!no_route(&[false, true]) && !no_route(&[true, false]) && !no_route(&[]));
        let error = io::Error::from_raw_os_error;
        assert!(is_no_route(&error(101)) && !is_no_route(&error(113)));
    }
}
