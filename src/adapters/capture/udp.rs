//! Capture through a bound UDP socket, for hosts where raw capture is not allowed. It only reads and never answers.
//!
//! `bind` may need privilege (a port below 1024); `UdpCapture` needs none.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::drops::Drops;
use super::pause::Pause;
use super::{Capture, Caught};
use crate::model::datagram::{Datagram, PAYLOAD_MAX};

/// Pause after an error, so that a lasting error does not spin.
const PAUSE: Duration = Duration::from_millis(100);
/// Errors in a row after which the capture stops.
const FAILURES_MAX: u32 = 50;

/// Binds `port` on every address of both families, or of IPv4 alone on a host without IPv6.
pub fn bind(port: u16) -> io::Result<OwnedFd> {
    match bind_to(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Err(error) if lacks_ipv6(&error) => {
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
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

/// Reads datagrams from a socket of [`bind`].
#[derive(Debug)]
pub struct UdpCapture {
    socket: UdpSocket,
    port: u16,
    holds: bool,
    pause: Pause,
    failures: u32,
}

impl UdpCapture {
    /// Reads from a socket that is bound to `port`.
    pub fn new(socket: OwnedFd, port: u16) -> Self {
        Self {
            socket: socket.into(),
            port,
            holds: false,
            pause: Pause::default(),
            failures: 0,
        }
    }

    /// A socket's error may report the network, for instance a forged ICMP message. Only a lasting error of the socket
    /// itself stops the capture.
    fn failed(&mut self, error: io::Error) -> io::Result<Caught> {
        match error.kind() {
            ErrorKind::WouldBlock => self.failures = 0,
            ErrorKind::Interrupted => {}
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown => self.pause.begin(PAUSE),
            _ => {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    return Err(error);
                }
                self.pause.begin(PAUSE);
            }
        }
        Ok(Caught::Nothing)
    }
}

impl Capture for UdpCapture {
    fn take(&mut self, datagram: &mut Datagram) -> io::Result<Caught> {
        self.holds = false;
        if !self.pause.is_over() {
            return Ok(Caught::Nothing);
        }
        // one byte more than a packet has: the kernel cuts the rest, and the gate still sees that it is too long
        let mut payload = [0; PAYLOAD_MAX];
        match self.socket.recv_from(&mut payload) {
            Ok((len, from)) => {
                (self.failures, self.holds) = (0, true);
                let source = from.ip().to_canonical();
                // a plain read does not say to which of our addresses it came
                let destination: IpAddr = if source.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                let payload = payload.get(..len).unwrap_or_default();
                datagram.replace(source, destination, self.port, payload);
                Ok(Caught::Datagram)
            }
            Err(error) => self.failed(error),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pause.is_over().then(|| self.socket.as_fd())
    }

    fn holds(&self) -> bool {
        self.holds
    }

    fn drops(&self) -> Option<Drops> {
        Drops::of(self.socket.as_fd()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lasting_error_stops_the_capture() {
        let mut capture = UdpCapture::new(bind(0).unwrap(), 62201);
        capture.failures = FAILURES_MAX - 1;
        for kind in [
            ErrorKind::ConnectionRefused,
            ErrorKind::HostUnreachable,
            ErrorKind::NetworkDown,
            ErrorKind::Interrupted,
        ] {
            let found = capture.failed(kind.into()).unwrap();
            assert!(matches!(found, Caught::Nothing));
        }
        assert!(capture.failed(ErrorKind::Other.into()).is_err());
    }
}
