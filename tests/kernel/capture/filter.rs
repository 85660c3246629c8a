//! What the classic filter drops and delivers, read from the socket without any further check.

use postern::adapters::capture::{filter, frame};
use postern_harness::packets::{RawLink, framed, udp4, udp6, with};

use super::{END, PORT, PORTS, bound, delivered, gate_and_peer, mutated};

pub(crate) fn only_packets_like_a_knock_are_delivered() {
    let (gate, peer) = gate_and_peer();
    let (socket, _capture) = bound(&gate, Some("gate0"));
    let mut link = RawLink::open(&peer, "peer0");
    let (four, six) = (udp4(PORT, &[1; 200]), udp6(PORT, &[1; 200]));
    let four_with = |bytes: &[(usize, u8)]| with(four.clone(), bytes);
    let six_with = |bytes: &[(usize, u8)]| with(six.clone(), bytes);
    for packet in [
        udp4(PORT + 1, &[1; 200]),
        udp4(0, &[1; 200]),
        udp6(PORT - 1, &[1; 200]),
        udp4(PORT, &[]),
        udp6(PORT, &[]),
        udp4(PORT, &[1; 1501]),
        udp6(PORT, &[1; 1501]),
        // TCP, ICMP
        four_with(&[(9, 6)]),
        four_with(&[(9, 1)]),
        six_with(&[(6, 6)]),
        // fragments, and a header that is too short
        four_with(&[(6, 0x20)]),
        four_with(&[(6, 0x20), (7, 0x40)]),
        four_with(&[(7, 0x01)]),
        four_with(&[(6, 0x1f)]),
        four_with(&[(0, 0x44)]),
        // the same with a valid port and length at the wrong place
        four_with(&[(0, 0x44), (18, 0xf2), (19, 0xf9), (20, 0), (21, 208)]),
        // extension headers
        six_with(&[(6, 44)]),
        six_with(&[(6, 0)]),
        // cut within the headers
        four[..19].to_vec(),
        four[..25].to_vec(),
        six[..39].to_vec(),
        six[..45].to_vec(),
    ] {
        link.send_ip(&packet);
    }
    // ethertype and version contradict each other, or it is not IP
    for (ethertype, packet) in [
        (0x0800, &six),
        (0x86dd, &four),
        (0x0800, &four_with(&[(0, 0x65)])),
        (0x86dd, &six_with(&[(0, 0x40)])),
        (0x0806, &four),
        (0x88b5, &four),
    ] {
        link.send(&framed(&[ethertype], packet));
    }
    let plain = udp4(PORT, &[1; 1500]);
    let options = [&plain[..20], &[1; 40], &plain[20..]].concat();
    let mut passed = vec![
        with(options, &[(0, 0x4f), (2, 0x06), (3, 0x20)]),
        with(udp4(PORT, &[1; 132]), &[(6, 0x40)]),
    ];
    for port in PORTS {
        for length in [1, 131, 132, 516, 517, 1500] {
            let payload = vec![1; length];
            passed.extend([udp4(port, &payload), udp6(port, &payload)]);
        }
    }
    for packet in &passed {
        assert!(packet.len() <= filter::SNAP as usize && frame::parse(packet, &PORTS).is_some());
        link.send_ip(packet);
    }
    link.send_ip(&udp4(PORT, END));
    assert_eq!(delivered(&socket), passed);
}

pub(crate) fn mutated_packets_pass_if_the_parser_takes_them() {
    let (gate, peer) = gate_and_peer();
    let (socket, _capture) = bound(&gate, Some("gate0"));
    let mut link = RawLink::open(&peer, "peer0");
    let sent = mutated(|random| vec![9; random.below(1600) as usize], 48);
    sent.iter().for_each(|packet| link.send_ip(packet));
    link.send_ip(&udp4(PORT, END));
    let delivered = delivered(&socket);
    let mut rest = delivered.iter().peekable();
    for packet in &sent {
        let udp = match packet[0] >> 4 {
            6 => 40,
            _ => usize::from(packet[0] & 0xf) * 4,
        };
        let field = |at: usize| {
            let bytes = packet.get(udp + at..udp + at + 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        let fits = field(4).is_some_and(|length| (9..=1508).contains(&length));
        let snap = packet.len().min(filter::SNAP as usize);
        if rest.next_if(|next| next[..] == packet[..snap]).is_some() {
            assert!(fits && PORTS.contains(&field(2).unwrap()), "{packet:x?}");
        } else {
            let is_parsed = frame::parse(packet, &PORTS).is_some();
            assert!(!fits || !is_parsed, "{packet:x?}");
        }
    }
    assert_eq!(rest.next(), None, "each is delivered once, in order");
    assert!(
        (1001..3800).contains(&delivered.len()),
        "{}",
        delivered.len()
    );
}
