//! Sends a knock and receives any answer. There must be none. Begins connections, which send a SYN.
//!
//! The socket is connected to the gate, so that the kernel delivers datagrams and ICMP errors from it.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::probe_error::ProbeError;

const ANSWER_DEADLINE: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(super) struct SentKnock(UdpSocket);

impl SentKnock {
    pub(super) fn send(to: SocketAddr, packet: &[u8]) -> Result<Self, ProbeError> {
        let any: SocketAddr = if to.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0u16; 8], 0).into()
        };
        let failed = |error| ProbeError::Send(to, error);
        let socket = UdpSocket::bind(any).map_err(failed)?;
        socket.connect(to).map_err(failed)?;
        socket.send(packet).map_err(failed)?;
        Ok(Self(socket))
    }

    pub(super) fn answer(&self) -> Option<String> {
        let socket = &self.0;
        let waits = socket.set_read_timeout(Some(ANSWER_DEADLINE));
        match waits.and_then(|()| socket.recv(&mut [0; 2048])) {
            Ok(length) => Some(format!("a datagram of {length} bytes")),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Sends one SYN. The kernel repeats it after a second, unless the socket is closed before.
pub(super) fn begin_connection(to: SocketAddr) -> Result<Socket, ProbeError> {
    let failed = |error| ProbeError::Connect(to, error);
    let domain = Domain::for_address(to);
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), None).map_err(failed)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
            Err(failed(error))
        }
        _ => Ok(socket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagram_and_icmp_error_are_answers() {
        for here in ["127.0.0.1:0", "[::1]:0"] {
            let gate = UdpSocket::bind(here).unwrap();
            let at = gate.local_addr().unwrap();
            let knock = SentKnock::send(at, b"knock").unwrap();
            assert_eq!(knock.answer(), None);
            let (_, client) = gate.recv_from(&mut [0; 16]).unwrap();
            gate.send_to(b"who is there", client).unwrap();
            assert_eq!(knock.answer().as_deref(), Some("a datagram of 12 bytes"));
            drop(gate);
            let knock = SentKnock::send(at, b"knock").unwrap();
            assert!(knock.answer().unwrap().starts_with("Connection refused"));
        }
    }
}
