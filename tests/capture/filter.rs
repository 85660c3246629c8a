//! What the kernel filter drops and what it delivers: read from the socket itself, without any check of ours.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use postern::adapters::capture::{filter, frame};

use crate::{END, PORT, PORTS, bound_socket, gate_and_peer};
use postern_harness::packets::{RawLink, framed, udp4, udp6, with};

/// Reads what the kernel delivers, up to the last datagram of the test.
pub(crate) fn delivered(socket: &OwnedFd) -> Vec<Vec<u8>> {
    let socket = socket2::Socket::from(socket.try_clone().unwrap());
    socket.set_nonblocking(false).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut packets = Vec::new();
    loop {
        let mut packet = vec![0; 65_536];
        let len =
            io::Read::read(&mut &socket, &mut packet).expect("the last datagram was not delivered");
        packet.truncate(len);
        if packet.ends_with(END) {
            return packets;
        }
        packets.push(packet);
    }
}

pub(crate) fn what_cannot_be_a_knock_never_leaves_the_kernel() {
    let (gate, peer) = gate_and_peer();
    let (socket, _capture) = bound_socket(&gate);
    let mut wire = RawLink::open(&peer, "peer0");
    let (four, six) = (udp4(PORT, &[1; 200]), udp6(PORT, &[1; 200]));
    let dropped = [
        udp4(PORT + 1, &[1; 200]),
        udp4(0, &[1; 200]),
        udp6(PORT - 1, &[1; 200]),
        udp4(PORT, &[]),
        udp6(PORT, &[]),
        udp4(PORT, &[1; 601]),
        udp6(PORT, &[1; 601]),
        udp4(PORT, &[1; 1400]),
        // TCP, ICMP
        with(four.clone(), &[(9, 6)]),
        with(four.clone(), &[(9, 1)]),
        with(six.clone(), &[(6, 6)]),
        // a first fragment, a later one, the last, a header that is too short
        with(four.clone(), &[(6, 0x20)]),
        with(four.clone(), &[(6, 0x20), (7, 0x40)]),
        with(four.clone(), &[(7, 0x01)]),
        with(four.clone(), &[(6, 0x1f)]),
        with(four.clone(), &[(0, 0x44)]),
        // the same, and what would then be read as port and length fits
        with(
            four.clone(),
            &[(0, 0x44), (18, 0xf2), (19, 0xf9), (20, 0), (21, 208)],
        ),
        // extension headers: fragment, hop by hop
        with(six.clone(), &[(6, 44)]),
        with(six.clone(), &[(6, 0)]),
        // cut in the headers
        four[..19].to_vec(),
        four[..25].to_vec(),
        six[..39].to_vec(),
        six[..45].to_vec(),
    ];
    for packet in &dropped {
        wire.send_ip(packet);
    }
    // the ethertype and the version do not fit, or it is no IP at all
    wire.send(&framed(&[0x0800], &six));
    wire.send(&framed(&[0x86dd], &four));
    wire.send(&framed(&[0x0800], &with(four.clone(), &[(0, 0x65)])));
    wire.send(&framed(&[0x86dd], &with(six.clone(), &[(0, 0x40)])));
    wire.send(&framed(&[0x0806], &four));
    wire.send(&framed(&[0x88b5], &four));
    wire.send_ip(&udp4(PORT, END));
    assert_eq!(delivered(&socket), Vec::<Vec<u8>>::new());
}

pub(crate) fn what_could_be_a_knock_or_nearly_leaves_the_kernel_whole() {
    let (gate, peer) = gate_and_peer();
    let (socket, _capture) = bound_socket(&gate);
    let mut wire = RawLink::open(&peer, "peer0");
    let plain = udp4(PORT, &[1; 600]);
    let options = with(
        [&plain[..20], &[1; 40], &plain[20..]].concat(),
        &[(0, 0x4f), (2, 0x02), (3, 0x9c)],
    );
    let mut passed = vec![options, with(udp4(PORT, &[1; 132]), &[(6, 0x40)])];
    for port in PORTS {
        for len in [1, 131, 132, 516, 517, 600] {
            passed.extend([udp4(port, &vec![1; len]), udp6(port, &vec![1; len])]);
        }
    }
    for packet in &passed {
        assert!(packet.len() <= filter::SNAP as usize && frame::parse(packet, &PORTS).is_some());
        wire.send_ip(packet);
    }
    wire.send_ip(&udp4(PORT, END));
    assert_eq!(delivered(&socket), passed);
}

pub(crate) fn of_mutated_packets_the_kernel_delivers_all_that_we_read_and_nothing_to_other_ports() {
    let (gate, peer) = gate_and_peer();
    let (socket, _capture) = bound_socket(&gate);
    let mut wire = RawLink::open(&peer, "peer0");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    let sent: Vec<Vec<u8>> = (0..4000)
        .map(|_| {
            let payload = vec![9; random(640)];
            let packet = if random(2) == 0 {
                udp4(PORT, &payload)
            } else {
                udp6(PORT, &payload)
            };
            let changes: Vec<_> = (0..random(3))
                .map(|_| (random(48.min(packet.len())), random(256) as u8))
                .collect();
            with(packet, &changes)
        })
        .collect();
    sent.iter().for_each(|packet| wire.send_ip(packet));
    wire.send_ip(&udp4(PORT, END));
    let delivered = delivered(&socket);
    let mut rest = delivered.iter().peekable();
    for packet in &sent {
        let udp = if packet[0] >> 4 == 6 {
            40
        } else {
            usize::from(packet[0] & 0xf) * 4
        };
        let field = |at: usize| {
            packet
                .get(udp + at..udp + at + 2)
                .map(|two| u16::from_be_bytes([two[0], two[1]]))
        };
        let fits = field(4).is_some_and(|len| (9..=608).contains(&len));
        if rest
            .next_if(|next| {
                packet.starts_with(next) && next.len() == packet.len().min(filter::SNAP as usize)
            })
            .is_some()
        {
            assert!(fits && PORTS.contains(&field(2).unwrap()), "{packet:x?}");
        } else {
            assert!(
                !fits || frame::parse(packet, &PORTS).is_none(),
                "{packet:x?}"
            );
        }
    }
    assert_eq!(rest.next(), None, "each was delivered once, in order");
    assert!(
        delivered.len() > 1000 && delivered.len() < 3800,
        "{} delivered",
        delivered.len()
    );
}
