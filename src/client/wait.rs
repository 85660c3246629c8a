//! Waits until a TCP port lets a connection in.
//!
//! The one sleep of the client is here. Sends no byte over the connection and closes it at once.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::clock;

/// The first attempt may come before the gate has opened, and a hidden port answers nothing: so it is given up early. Later
/// ones last longer, so that a slow line gets its time, too.
const FIRST_TRY: Duration = Duration::from_millis(20);
const LONGEST_TRY: Duration = Duration::from_secs(2);
/// A port that refuses does so at once.
const PAUSE: Duration = Duration::from_millis(20);

/// A port that opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Where.
    pub at: SocketAddr,
    /// How long it took.
    pub after: Duration,
}

/// Tries these addresses in turn until one accepts a connection; none if that does not happen within `limit`.
pub fn wait_for(addresses: &[SocketAddr], limit: Duration) -> Option<Opening> {
    let start = clock::instant();
    let left = || limit.checked_sub(clock::elapsed(start)).filter(|left| !left.is_zero());
    let mut patience = FIRST_TRY;
    loop {
        for address in addresses {
            if TcpStream::connect_timeout(address, patience.min(left()?)).is_ok() {
                return Some(Opening { at: *address, after: clock::elapsed(start) });
            }
        }
        thread::sleep(PAUSE.min(left()?));
        patience = patience.saturating_mul(2).min(LONGEST_TRY);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_open_port_is_found_behind_one_that_is_not() {
        let shut = TcpListener::bind("127.0.0.1:0").unwrap();
        let shut_at = shut.local_addr().unwrap();
        drop(shut);
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let opening = wait_for(&[shut_at, open.local_addr().unwrap()], Duration::from_secs(10)).unwrap();
        assert_eq!(opening.at, open.local_addr().unwrap());
    }

    #[test]
    fn a_port_that_stays_shut_ends_the_wait_in_time() {
        let shut = TcpListener::bind("127.0.0.1:0").unwrap();
        let shut_at = shut.local_addr().unwrap();
        drop(shut);
        let start = clock::instant();
        assert_eq!(wait_for(&[shut_at], Duration::from_millis(200)), None);
        assert!(clock::elapsed(start) >= Duration::from_millis(200));
    }
}
