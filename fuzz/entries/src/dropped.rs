//! Any bytes as what the kernel sends of dropped packets, and as a packet inside.
//!
//! What is read of a packet is its own source and one port; and at most one attempt is read of each message.

use std::net::IpAddr;

use postern::adapters::attempts::read;

/// The header of a netlink message, and of a netfilter message.
const HEADERS: usize = 20;

pub fn run(data: &[u8]) {
    assert!(read(data).len() <= data.len() / HEADERS, "out of nothing");
    let packet = &data[..data.len().min(64)];
    let found = read(&[message(packet), message(packet)].concat());
    let Some(attempt) = found.first() else {
        return;
    };
    assert_eq!(found, [*attempt; 2], "the same packet twice");
    let octets = match attempt.source {
        IpAddr::V4(v4) => (12, v4.octets().to_vec()),
        IpAddr::V6(v6) => (8, v6.octets().to_vec()),
    };
    assert!(packet[octets.0..].starts_with(&octets.1));
    if let Some((first, last)) = attempt.service.range() {
        assert!(first == last && packet.windows(2).any(|pair| pair == first.to_be_bytes()));
    }
}

fn message(packet: &[u8]) -> Vec<u8> {
    let length = packet.len().next_multiple_of(4) - packet.len();
    let inside = u16::try_from(packet.len() + 4).unwrap().to_ne_bytes();
    let whole = HEADERS + 4 + packet.len() + length;
    let whole = u32::try_from(whole).unwrap().to_ne_bytes();
    let parts: [&[u8]; 8] = [
        &whole,
        &0x400_u16.to_ne_bytes(),
        &[0; 10],
        &[2, 0, 0, 7],
        &inside,
        &9_u16.to_ne_bytes(),
        packet,
        &[0; 3][..length],
    ];
    parts.concat()
}
