//! What the firewall sends to a group of NFLOG, so that the engine sees knocks and hits without a packet socket.

use postern_proto::limits::{PACKET_MAX, PACKET_MIN};

/// Bytes that the kernel copies of a packet to a knock port, from its IP header on.
pub(crate) const KNOCK_COPIED: u16 = 600;

/// Bytes that it copies of a hit: the longest IPv4 header, and a TCP header.
pub(crate) const HIT_COPIED: u16 = 60 + 20;

/// The longest IPv4 header, and a UDP header.
const HEADERS_MAX: u16 = 60 + UDP_HEADER;
const UDP_HEADER: u16 = 8;

/// Which packets are sent. The ports are those of the protection. The engine looks at the interface, whose name may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sensor {
    /// The group of NFLOG.
    pub group: u16,
    /// The longest UDP payload of a knock, which is copied whole.
    pub longest: u16,
    /// Whether of TCP only segments with SYN and without ACK are sent.
    pub only_syn: bool,
}

impl Sensor {
    /// Packets of fwknop's clients may be longer than a knock.
    pub(super) fn new(group: u16, fwknop: bool, only_syn: bool) -> Self {
        let copied = KNOCK_COPIED.saturating_sub(HEADERS_MAX);
        Self {
            group,
            longest: if fwknop {
                copied
            } else {
                copied.min(u16::try_from(PACKET_MAX).unwrap_or(copied))
            },
            only_syn,
        }
    }

    /// The lengths in the UDP header of a knock: own knocks are the shortest.
    pub(crate) fn udp_lengths(&self) -> (u16, u16) {
        let shortest = u16::try_from(PACKET_MIN).unwrap_or_default();
        let with_header = |length: u16| length.saturating_add(UDP_HEADER);
        (with_header(shortest), with_header(self.longest))
    }
}
