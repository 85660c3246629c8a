//! Any bytes as an IP packet off the wire: what the capture takes for a datagram to a knock port.
//!
//! It is all there in the packet, it is for one of the ports, and bytes behind the packet's own end change nothing.

use postern::capture::frame::parse;
use postern::datagram::{Datagram, PAYLOAD_MAX};

/// The ports that knocks come to.
pub(crate) const PORTS: [u16; 2] = [62201, 53];

pub(crate) fn run(data: &[u8]) {
    let Some(datagram) = parse(data, &PORTS) else { return };
    let payload = datagram.payload();
    assert!(PORTS.contains(&datagram.port()));
    assert!(payload.len() <= PAYLOAD_MAX && payload.len() + 8 <= data.len(), "{datagram:?}");
    assert!(payload.is_empty() || data.windows(payload.len()).any(|bytes| bytes == payload), "{datagram:?} is not in the packet");
    assert!(parse(data, &[]).is_none(), "no port, no datagram");

    let padded = [data, &[0xff; 64]].concat();
    assert_eq!(parse(&padded, &PORTS).as_ref().map(fields), Some(fields(&datagram)), "padding counts");
    // Cut anywhere it is nothing, or was only padding that was cut off.
    for end in 0..data.len() {
        if let Some(cut) = parse(&data[..end], &PORTS) {
            assert_eq!(fields(&cut), fields(&datagram), "cut to {end} bytes");
        }
    }
}

fn fields(datagram: &Datagram) -> impl PartialEq + std::fmt::Debug {
    (datagram.source(), datagram.destination(), datagram.port(), datagram.payload().to_vec())
}
