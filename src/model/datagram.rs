//! A captured UDP datagram. Fixed size, so that the packet path allocates nothing.

use std::net::{IpAddr, Ipv4Addr};

/// The longest packet of fwknop. A knock has at most 516 bytes.
pub const PACKET_MAX: usize = postern_fwknop::limits::PAYLOAD_MAX;

/// The most payload that is kept: one byte more than a packet may have, so that a longer one stays too long.
pub const PAYLOAD_MAX: usize = PACKET_MAX + 1;

#[derive(Clone)]
pub struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    len: usize,
    payload: [u8; PAYLOAD_MAX],
}

impl Datagram {
    /// Copies the first [`PAYLOAD_MAX`] bytes of `payload`.
    pub fn new(source: IpAddr, destination: IpAddr, port: u16, payload: &[u8]) -> Self {
        let mut datagram = Self::empty();
        datagram.replace(source, destination, port, payload);
        datagram
    }

    /// Room for a datagram that comes later.
    pub fn empty() -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            source: nowhere,
            destination: nowhere,
            port: 0,
            len: 0,
            payload: [0; PAYLOAD_MAX],
        }
    }

    /// Puts another datagram here, as [`Self::new`] does. In a flood, to make and to move new ones would cost as much as their macs.
    pub fn replace(&mut self, source: IpAddr, destination: IpAddr, port: u16, payload: &[u8]) {
        self.source = source.to_canonical();
        self.destination = destination.to_canonical();
        self.port = port;
        self.len = payload.len().min(PAYLOAD_MAX);
        let to = self.payload.get_mut(..self.len);
        if let (Some(to), Some(from)) = (to, payload.get(..self.len)) {
            to.copy_from_slice(from);
        }
    }

    /// The source address, which the sender can forge.
    pub fn source(&self) -> IpAddr {
        self.source
    }

    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn payload(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or_default()
    }
}

/// Without the payload, which does not belong in a log.
impl std::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Datagram {{ {} -> {} port {}, {} bytes }}",
            self.source, self.destination, self.port, self.len
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_long_payload_stays_too_long() {
        let address = "::ffff:192.0.2.1".parse().unwrap();
        let datagram = Datagram::new(address, address, 62201, &[7; 9000]);
        assert_eq!(datagram.payload().len(), PAYLOAD_MAX);
        assert_eq!(datagram.source(), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
