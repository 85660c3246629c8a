//! Any bytes as an IP packet off the wire: what the capture takes for a datagram to a knock port.
//!
//! It is what etherparse reads in the packet, no more and no less, and bytes behind the packet's own end change nothing.

use postern::adapters::capture::frame::parse;
use postern::model::datagram::Datagram;

use crate::second::frame as second;

/// The ports that knocks come to.
pub const PORTS: [u16; 2] = [62201, 53];

pub fn run(data: &[u8]) {
    let parsed = parse(data, &PORTS);
    assert_eq!(parsed.as_ref().map(fields), second::read(data, &PORTS));
    let Some(datagram) = parsed else { return };
    assert!(parse(data, &[]).is_none(), "no port, no datagram");
    let padded = [data, &[0xff; 64]].concat();
    assert_eq!(
        parse(&padded, &PORTS).as_ref().map(fields),
        Some(fields(&datagram)),
        "padding counts"
    );
}

fn fields(datagram: &Datagram) -> second::Read<'_> {
    (
        datagram.source(),
        datagram.destination(),
        datagram.port(),
        datagram.payload(),
    )
}
