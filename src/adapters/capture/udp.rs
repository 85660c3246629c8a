//! Capture through a bound UDP socket that never answers, for hosts where raw capture is not allowed.
//!
//! `bind` may need privilege (a port below 1024), `UdpCapture` needs none. Must never send: the socket is only read.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::drops::Drops;
use super::{Capture, Caught};
use crate::model::datagram::{Datagram, PAYLOAD_MAX};

/// Longest wait for a datagram.
const WAIT: Duration = Duration::from_secs(1);
/// Pause after an error, so that one that stays does not spin.
const PAUSE: Duration = Duration::from_millis(100);
/// How often in a row the socket may fail before it counts as dead.
const FAILURES_MAX: u32 = 50;

/// Binds `port` on every address of both families; of IPv4 alone where the host has no IPv6.
///
/// # Errors
/// What the kernel says: `AddrInUse`, `PermissionDenied`.
pub fn bind(port: u16) -> io::Result<OwnedFd> {
    match bind_to(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Err(error) if is_without_ipv6(&error) => {
            bind_to(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        }
        bound => bound,
    }
}

fn bind_to(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_read_timeout(Some(WAIT))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|absence| error.raw_os_error() == Some(absence.raw_os_error()))
}

/// Reads datagrams from a socket of [`bind`].
#[derive(Debug)]
pub struct UdpCapture {
    socket: UdpSocket,
    port: u16,
    failures: u32,
}

impl UdpCapture {
    /// Takes over a socket that is bound to `port`.
    pub fn new(socket: OwnedFd, port: u16) -> Self {
        Self {
            socket: socket.into(),
            port,
            failures: 0,
        }
    }

    /// A socket's error may be news about the network (a forged ICMP message, say) as well as the socket's end. The first kind
    /// passes; only an error that stays stops the capture.
    fn failed(&mut self, error: io::Error) -> io::Result<Caught> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.failures = 0,
            ErrorKind::Interrupted => {}
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable => sleep(PAUSE),
            ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => sleep(PAUSE),
            _ => {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    return Err(error);
                }
                sleep(PAUSE);
            }
        }
        Ok(Caught::Nothing)
    }
}

impl Capture for UdpCapture {
    fn next(&mut self) -> io::Result<Caught> {
        // One byte more than a knock may have: the kernel cuts the rest, and the gate still sees that it is too long.
        let mut payload = [0; PAYLOAD_MAX];
        match self.socket.recv_from(&mut payload) {
            Ok((len, from)) => {
                self.failures = 0;
                let source = from.ip().to_canonical();
                // A plain read does not tell which of our addresses it came to.
                let destination: IpAddr = if source.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                let payload = payload.get(..len).unwrap_or_default();
                Ok(Caught::Datagram(Datagram::new(
                    source,
                    destination,
                    self.port,
                    payload,
                )))
            }
            Err(error) => self.failed(error),
        }
    }

    fn drops(&self) -> Option<Drops> {
        Drops::of(self.socket.as_fd()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_the_network_never_stops_it_and_an_error_that_stays_does() {
        let mut capture = UdpCapture::new(bind(0).unwrap(), 62201);
        capture.failures = FAILURES_MAX - 1;
        for kind in [
            ErrorKind::ConnectionRefused,
            ErrorKind::HostUnreachable,
            ErrorKind::NetworkDown,
            ErrorKind::Interrupted,
        ] {
            assert!(matches!(
                capture.failed(kind.into()).unwrap(),
                Caught::Nothing
            ));
        }
        assert!(capture.failed(ErrorKind::Other.into()).is_err());
    }
}
