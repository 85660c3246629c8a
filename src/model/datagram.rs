//! One UDP datagram as capture hands it on: who sent it, to what, and its payload in place.
//!
//! Fixed size, so that the packet path allocates nothing.

use std::net::IpAddr;

use postern_proto::limits::PACKET_MAX;

/// Longest payload that is kept: one byte more than a knock may have, so that a longer one is still seen as too long.
pub const PAYLOAD_MAX: usize = PACKET_MAX + 1;

/// A captured UDP datagram.
#[derive(Clone)]
pub struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    len: usize,
    payload: [u8; PAYLOAD_MAX],
}

impl Datagram {
    /// Copies `payload`; of one that is too long for a knock only the first 517 bytes.
    pub fn new(source: IpAddr, destination: IpAddr, port: u16, payload: &[u8]) -> Self {
        let len = payload.len().min(PAYLOAD_MAX);
        let mut kept = [0; PAYLOAD_MAX];
        if let (Some(to), Some(from)) = (kept.get_mut(..len), payload.get(..len)) {
            to.copy_from_slice(from);
        }
        Self {
            source: source.to_canonical(),
            destination: destination.to_canonical(),
            port,
            len,
            payload: kept,
        }
    }

    /// The address it came from, by its own word.
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// The address it was sent to.
    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The UDP port it was sent to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The UDP payload.
    pub fn payload(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or_default()
    }
}

/// Without the payload: a knock is nobody's business in a log.
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
    fn a_payload_that_is_too_long_is_still_seen_as_too_long() {
        let address = "::ffff:192.0.2.1".parse().unwrap();
        let datagram = Datagram::new(address, address, 62201, &[7; 9000]);
        assert_eq!(datagram.payload().len(), PACKET_MAX + 1);
        assert_eq!(datagram.source(), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
