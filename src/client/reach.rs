//! Reaches a TCP port at any of several addresses: tries them side by side, and the first that accepts is taken.
//!
//! The sleeps of the client are here. Sends no byte over a connection.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::adapters::clock;

/// The first attempt may come before the gate has opened, and a hidden port answers nothing: so it is given up early. Later
/// ones last longer, so that a slow line gets its time, too.
const FIRST_TRY: Duration = Duration::from_millis(20);
const LONGEST_TRY: Duration = Duration::from_secs(2);
/// A port that refuses does so at once.
const PAUSE: Duration = Duration::from_millis(20);
/// What an address has before the next one is tried, too: most hosts answer at the first one, and need not see a second attempt.
const HEAD_START: Duration = Duration::from_millis(100);
/// More addresses of one host are not tried.
const ADDRESSES_MAX: usize = 8;

/// A port that accepted.
#[derive(Debug)]
pub struct Reached {
    /// The connection.
    pub stream: TcpStream,
    /// Where.
    pub opening: ServiceOpen,
}

/// A port that opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceOpen {
    /// Where.
    pub at: SocketAddr,
    /// How long it took.
    pub after: Duration,
}

/// Why no port was reached.
#[derive(Debug)]
pub enum NotReached {
    /// Nobody accepted in time.
    Shut,
    /// This machine has no way to any of the addresses.
    NoWay(io::Error),
}

/// Tries each address once.
///
/// # Errors
/// When none accepts within `limit`.
pub fn reach_once(addresses: &[SocketAddr], limit: Duration) -> Result<Reached, NotReached> {
    reach(addresses, limit, false)
}

/// Tries each address again and again.
///
/// # Errors
/// When none accepts within `limit`.
pub fn reach_within(addresses: &[SocketAddr], limit: Duration) -> Result<Reached, NotReached> {
    reach(addresses, limit, true)
}

/// The same, for who only wants to know; none if no port opens.
pub fn wait_for(addresses: &[SocketAddr], limit: Duration) -> Option<ServiceOpen> {
    reach_within(addresses, limit)
        .ok()
        .map(|reached| reached.opening)
}

fn reach(addresses: &[SocketAddr], limit: Duration, again: bool) -> Result<Reached, NotReached> {
    let start = clock::instant();
    let over = Arc::new(AtomicBool::new(false));
    let (reports, reached) = channel();
    for (place, address) in addresses.iter().take(ADDRESSES_MAX).enumerate() {
        let attempt = Attempt {
            address: *address,
            start,
            limit,
            again,
            over: Arc::clone(&over),
        };
        let (reports, behind) = (
            reports.clone(),
            HEAD_START.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX)),
        );
        thread::spawn(move || {
            thread::sleep(behind.min(limit));
            let _ = reports.send(attempt.run());
        });
    }
    drop(reports);
    let outcome = first(&reached);
    over.store(true, Ordering::Relaxed);
    outcome
}

/// The first success; else the best that can be said of all.
fn first(attempts: &mpsc::Receiver<Result<Reached, NotReached>>) -> Result<Reached, NotReached> {
    let mut no_way = None;
    let mut shut = false;
    for attempt in attempts {
        match attempt {
            Ok(reached) => return Ok(reached),
            Err(NotReached::Shut) => shut = true,
            Err(NotReached::NoWay(error)) => no_way = Some(error),
        }
    }
    match no_way {
        Some(error) if !shut => Err(NotReached::NoWay(error)),
        _ => Err(NotReached::Shut),
    }
}

/// What is done for one address.
struct Attempt {
    address: SocketAddr,
    start: Instant,
    limit: Duration,
    again: bool,
    over: Arc<AtomicBool>,
}

impl Attempt {
    fn run(&self) -> Result<Reached, NotReached> {
        let mut patience = if self.again { FIRST_TRY } else { self.limit };
        let mut last = None;
        while let Some(left) = self.left() {
            match TcpStream::connect_timeout(&self.address, patience.min(left)) {
                Ok(stream) => {
                    let opening = ServiceOpen {
                        at: self.address,
                        after: clock::elapsed(self.start),
                    };
                    return Ok(Reached { stream, opening });
                }
                Err(error) => last = Some(error),
            }
            if !self.again {
                break;
            }
            thread::sleep(PAUSE.min(self.left().unwrap_or_default()));
            patience = patience.saturating_mul(2).min(LONGEST_TRY);
        }
        Err(match last {
            Some(error) if is_no_way(&error) => NotReached::NoWay(error),
            _ => NotReached::Shut,
        })
    }

    /// The time that is left, unless another address was reached.
    fn left(&self) -> Option<Duration> {
        let left = self
            .limit
            .checked_sub(clock::elapsed(self.start))
            .filter(|left| !left.is_zero());
        left.filter(|_| !self.over.load(Ordering::Relaxed))
    }
}

/// This machine's own routing says no. A host that is unreachable may be a firewall's way to say that a port is shut.
fn is_no_way(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable, Unsupported};
    matches!(
        error.kind(),
        AddrNotAvailable | NetworkUnreachable | Unsupported
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// A port at which nobody listens, held so that nobody else gets it.
    fn shut() -> (OwnedFd, SocketAddr) {
        let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&held, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = getsockname(&held).unwrap().try_into().unwrap();
        (held, address)
    }

    #[test]
    fn an_open_port_is_found_behind_one_that_is_not() {
        let (_held, shut) = shut();
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let opening = wait_for(&[shut, open.local_addr().unwrap()], LONG).unwrap();
        assert_eq!(opening.at, open.local_addr().unwrap());
    }

    #[test]
    fn the_first_address_is_taken_where_both_are_open_and_the_second_is_left_alone() {
        let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [&first, &second].map(|listener| listener.local_addr().unwrap());
        assert_eq!(
            reach_once(&addresses, LONG).unwrap().opening.at,
            addresses[0]
        );
        second.set_nonblocking(true).unwrap();
        thread::sleep(HEAD_START.saturating_mul(2));
        assert_eq!(
            second.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[test]
    fn a_port_that_stays_shut_ends_the_wait_in_time() {
        let (start, (_held, shut)) = (clock::instant(), shut());
        assert_eq!(wait_for(&[shut], Duration::from_millis(200)), None);
        assert!(clock::elapsed(start) >= Duration::from_millis(200));
    }

    #[test]
    fn a_port_that_refuses_is_tried_once_where_once_is_enough() {
        let (start, doors) = (clock::instant(), [shut(), shut()]);
        assert!(matches!(
            reach_once(&doors.each_ref().map(|(_, shut)| *shut), LONG),
            Err(NotReached::Shut)
        ));
        assert!(clock::elapsed(start) < LONG / 2);
    }

    #[test]
    fn no_way_is_said_only_if_there_is_none_to_any_address() {
        let of = |attempts: &[bool]| {
            let (reports, reached) = channel();
            for shut in attempts {
                let no_way = || NotReached::NoWay(io::ErrorKind::NetworkUnreachable.into());
                reports
                    .send(Err(if *shut { NotReached::Shut } else { no_way() }))
                    .unwrap();
            }
            drop(reports);
            matches!(first(&reached), Err(NotReached::NoWay(_)))
        };
        assert!(of(&[false]) && of(&[false, false]));
        assert!(!of(&[false, true]) && !of(&[true, false]) && !of(&[]));
        assert!(
            is_no_way(&io::Error::from_raw_os_error(101))
                && !is_no_way(&io::Error::from_raw_os_error(113))
        );
    }
}
