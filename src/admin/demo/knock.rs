//! A knock that the demo sends by itself, and what comes back for it: nothing must.
//!
//! The socket belongs to the one address that was knocked at, so the kernel hands it datagrams from there and tells it of ICMP errors.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Whatever answers over the demo's cable has done so long before this.
const SILENT_FOR: Duration = Duration::from_millis(300);

/// One that was sent.
#[derive(Debug)]
pub(super) struct Knock(UdpSocket);

impl Knock {
    /// Sends a packet as a knock.
    pub(super) fn send(to: SocketAddr, packet: &[u8]) -> Result<Self, String> {
        let any: SocketAddr = if to.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0u16; 8], 0).into()
        };
        let failed = |error: std::io::Error| format!("sending to {to}: {error}");
        let socket = UdpSocket::bind(any).map_err(failed)?;
        socket.connect(to).map_err(failed)?;
        socket.send(packet).map_err(failed)?;
        Ok(Self(socket))
    }

    /// What came back, if anything did.
    pub(super) fn answer(&self) -> Option<String> {
        let heard = self
            .0
            .set_read_timeout(Some(SILENT_FOR))
            .and_then(|()| self.0.recv(&mut [0; 2048]));
        match heard {
            Ok(length) => Some(format!("a datagram of {length} bytes")),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_or_an_error_that_comes_back_is_an_answer_and_silence_is_none() {
        for here in ["127.0.0.1:0", "[::1]:0"] {
            let gate = UdpSocket::bind(here).unwrap();
            let at = gate.local_addr().unwrap();
            let knock = Knock::send(at, b"knock").unwrap();
            assert_eq!(knock.answer(), None);
            let (_, client) = gate.recv_from(&mut [0; 16]).unwrap();
            gate.send_to(b"who is there", client).unwrap();
            assert_eq!(knock.answer().as_deref(), Some("a datagram of 12 bytes"));
            drop(gate);
            let knock = Knock::send(at, b"knock").unwrap();
            assert!(knock.answer().unwrap().starts_with("Connection refused"));
        }
    }
}
