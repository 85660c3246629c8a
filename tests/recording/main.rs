//! Recordings in every form that programs write them, and in forms that no program writes: what is in them comes out, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod written;

use std::io::{Cursor, Read};

use etherparse::PacketBuilder;
use postern::adapters::capture::recording::{
    Found, Recorded, Recording, RecordingError, Why, begins,
};
use written::{Style, block, ethernet, interface, pcap, pcapng, section, simple};

const PORTS: [u16; 2] = [62201, 53];
const AT: u64 = 1_760_000_000_123;

fn udp4(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 7], [198, 51, 100, 1], 64)
        .udp(40_000, port)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

fn udp6(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv6([0x20; 16], [0xfd; 16], 64)
        .udp(40_000, port)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

/// All packets, and how it ended.
fn read(file: impl Read + 'static) -> (Vec<Recorded>, Option<RecordingError>) {
    let mut recording = match Recording::open(file, &PORTS) {
        Ok(recording) => recording,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut packets = Vec::new();
    loop {
        match recording.read() {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return (packets, None),
            Err(error) => return (packets, Some(error)),
        }
    }
}

/// Time in milliseconds and payload of each datagram.
fn datagrams(file: Vec<u8>) -> Vec<(Option<u64>, Vec<u8>)> {
    let (packets, error) = read(Cursor::new(file));
    assert!(error.is_none(), "{error:?}");
    let datagram = |packet: &Recorded| match &packet.found {
        Found::Datagram(datagram) => Some((
            packet.at.map(|at| at.as_millis()),
            datagram.payload().to_vec(),
        )),
        Found::Other(_) => None,
    };
    packets.iter().filter_map(datagram).collect()
}

/// What is said of the only packet, which is no datagram to a knock port.
fn other(packet: &[u8]) -> (Why, Option<u16>, String) {
    let raw = Style {
        link_type: 101,
        ..Style::ETHERNET
    };
    let (mut packets, _) = read(Cursor::new(pcap(raw, &[(AT, packet)])));
    let Found::Other(other) = packets.remove(0).found else {
        panic!("a datagram")
    };
    let said = other.to_string();
    (other.why, other.port, said)
}

fn styles() -> impl Iterator<Item = Style> {
    [false, true].into_iter().flat_map(|big_endian| {
        [1_000_000, 1_000_000_000].map(|a_second| Style {
            big_endian,
            a_second,
            link_type: 1,
        })
    })
}

#[test]
fn packets_come_out_with_their_times_in_every_style() {
    let frames = [
        ethernet(&[0x0800], &udp4(62201, b"four")),
        ethernet(&[0x86dd], &udp6(53, b"six!")),
    ];
    let expected = vec![
        (Some(AT), b"four".to_vec()),
        (Some(AT + 1_001), b"six!".to_vec()),
    ];
    for style in styles() {
        let recorded = [(AT, &frames[0][..]), (AT + 1_001, &frames[1][..])];
        assert_eq!(
            datagrams(pcap(style, &recorded)),
            expected,
            "pcap {style:?}"
        );
        assert_eq!(
            datagrams(pcapng(style, &recorded)),
            expected,
            "pcapng {style:?}"
        );
    }
    for a_second in [1, 1000, 10_000_000_000] {
        let style = Style {
            a_second,
            ..Style::ETHERNET
        };
        let at = AT / 1000 * 1000;
        assert_eq!(
            datagrams(pcapng(style, &[(at, &frames[0])])),
            [(Some(at), b"four".to_vec())],
            "{style:?}"
        );
    }
}

#[test]
fn packets_are_found_behind_every_link_type_and_behind_vlan_tags() {
    let ip = udp4(62201, b"knock");
    for (link_type, frame) in [
        (1, ethernet(&[0x8100, 7, 0x0800], &ip)),
        (1, ethernet(&[0x88a8, 9, 0x8100, 7, 0x0800], &ip)),
        (113, [&[0; 14][..], &[8, 0], &ip].concat()),
        (276, [&[8, 0][..], &[0; 18], &ip].concat()),
        (101, ip.clone()),
        (228, ip.clone()),
        (0, [&[2, 0, 0, 0][..], &ip].concat()),
        (108, [&[0, 0, 0, 2][..], &ip].concat()),
    ] {
        let style = Style {
            link_type,
            ..Style::ETHERNET
        };
        for file in [pcap(style, &[(AT, &frame)]), pcapng(style, &[(AT, &frame)])] {
            assert_eq!(
                datagrams(file),
                [(Some(AT), b"knock".to_vec())],
                "link type {link_type}"
            );
        }
    }
}

#[test]
fn sections_of_other_byte_order_other_interfaces_and_blocks_of_any_kind_are_read_past() {
    let (small, big) = (
        Style::ETHERNET,
        Style {
            big_endian: true,
            a_second: 1_000_000_000,
            link_type: 101,
        },
    );
    let frame = ethernet(&[0x0800], &udp4(62201, b"one"));
    let mut file = pcapng(small, &[(AT, &frame)]);
    for kind in [4, 5, 9, 0x0bad, 0x0bae, 0x8000_0001] {
        file.extend(block(small, kind, &[0; 16]));
    }
    file.extend(simple(small, &frame));
    file.extend(pcapng(big, &[(AT, &udp4(62201, b"two"))]));
    file.extend([section(small), interface(small), block(small, 0x0bae, b"")].concat());
    let expected = [
        (Some(AT), b"one".to_vec()),
        (None, b"one".to_vec()),
        (Some(AT), b"two".to_vec()),
    ];
    assert_eq!(datagrams(file), expected);
}

#[test]
fn what_is_no_datagram_to_a_knock_port_is_told_for_what_it_is() {
    let whole = udp4(62201, &[7; 200]);
    let with = |packet: &[u8], place: usize, value: u8| {
        let mut packet = packet.to_vec();
        packet[place] = value;
        packet
    };
    assert_eq!(
        other(&udp4(123, b"time")),
        (
            Why::OtherPort,
            Some(123),
            "UDP to port 123, which is no knock port".to_owned()
        )
    );
    assert_eq!(
        other(&with(&whole, 9, 6)),
        (Why::NotUdp(6), None, "not UDP but TCP".to_owned())
    );
    assert_eq!(other(&with(&whole, 9, 250)).2, "not UDP but protocol 250");
    let fragment = other(&with(&whole, 6, 0x20));
    assert_eq!(
        (fragment.0, fragment.1),
        (Why::Fragment, Some(62201)),
        "the first one has the port"
    );
    let later = other(&with(&whole, 7, 9));
    assert_eq!((later.0, later.1), (Why::Fragment, None));
    assert_eq!(other(&whole[..100]).0, Why::Cut);
    assert_eq!(other(&whole[..100]).1, Some(62201));
    assert_eq!(other(&whole[..10]).0, Why::Broken);
    assert_eq!(
        other(&with(&whole, 25, 3)).0,
        Why::Broken,
        "the UDP length is shorter than its header"
    );
    assert_eq!(other(&[0x00; 40]).0, Why::Broken);
    // A hop-by-hop header of eight bytes in front of UDP.
    let six = udp6(62201, &[7; 200]);
    let mut behind = [&six[..40], &[17, 0, 1, 4, 0, 0, 0, 0], &six[40..]].concat();
    behind[6] = 0;
    let length = u16::try_from(behind.len() - 40).unwrap();
    behind[4..6].copy_from_slice(&length.to_be_bytes());
    assert_eq!(
        (other(&behind).0, other(&behind).1),
        (Why::Extensions, Some(62201))
    );
    let mut part = [&six[..40], &[17, 0, 0, 1, 0, 0, 0, 9], &six[40..]].concat();
    part[6] = 44;
    let length = u16::try_from(part.len() - 40).unwrap();
    part[4..6].copy_from_slice(&length.to_be_bytes());
    assert_eq!(
        (other(&part).0, other(&part).1),
        (Why::Fragment, Some(62201))
    );
    // A whole header that names another of each kind where the packet ends: nothing may look for it there.
    for next in [0, 43, 44, 51, 60] {
        let mut endless = [&six[..40], &[next, 0, 1, 4, 0, 0, 0, 0]].concat();
        endless[6] = 60;
        assert_eq!(
            (other(&endless).0, other(&endless).1),
            (Why::Cut, None),
            "{next}"
        );
        endless[4..6].copy_from_slice(&[0, 8]);
        assert_eq!(
            (other(&endless).0, other(&endless).1),
            (Why::Broken, None),
            "{next}"
        );
    }

    let radio = Style {
        link_type: 105,
        ..Style::ETHERNET
    };
    let arp = ethernet(&[0x0806], &[0; 28]);
    for (style, frame, said) in [
        (
            radio,
            &[0; 60][..],
            "recorded with link type 105, which is not read here; record on another interface",
        ),
        (Style::ETHERNET, &arp, "no IP packet, ethertype 0x0806"),
    ] {
        let (packets, _) = read(Cursor::new(pcap(style, &[(AT, frame)])));
        let Found::Other(other) = &packets[0].found else {
            panic!("a datagram")
        };
        assert_eq!(
            (other.to_string().as_str(), other.is_for(&PORTS)),
            (said, false)
        );
    }
}

#[test]
fn what_is_no_recording_is_told_so() {
    for bytes in [
        &b""[..],
        b"QUJD",
        b"#!/bin/sh\n# not a recording at all",
        &[0; 100],
    ] {
        assert!(!begins(bytes));
        assert!(
            matches!(read(Cursor::new(bytes)), (_, Some(RecordingError::NotOne))),
            "{bytes:?}"
        );
    }
    assert!(begins(&pcap(Style::ETHERNET, &[])) && begins(&pcapng(Style::ETHERNET, &[])));
    assert!(
        read(Cursor::new(pcap(Style::ETHERNET, &[]))).1.is_none(),
        "one without packets is one"
    );
}

#[test]
fn a_recording_that_was_cut_gives_what_is_whole_and_says_that_it_ends_too_soon() {
    let frame = ethernet(&[0x0800], &udp4(62201, b"knock"));
    for style in styles() {
        for (whole, one) in [
            (
                pcap(style, &[(AT, &frame[..]); 2]),
                pcap(style, &[(AT, &frame)]),
            ),
            (
                pcapng(style, &[(AT, &frame[..]); 2]),
                pcapng(style, &[(AT, &frame)]),
            ),
        ] {
            for end in 24..whole.len() {
                let (packets, error) = read(Cursor::new(whole[..end].to_vec()));
                assert_eq!(
                    packets.len(),
                    usize::from(end >= one.len()),
                    "cut to {end} of {}",
                    whole.len()
                );
                let at_a_block = error.is_none();
                assert!(
                    at_a_block
                        || matches!(error, Some(RecordingError::Cut | RecordingError::NotOne)),
                    "cut to {end}: {error:?}"
                );
                assert!(
                    !at_a_block || end == one.len() || end < one.len() - frame.len(),
                    "cut to {end}"
                );
            }
        }
    }
}

/// Lengths that lie cost neither memory nor time, and nothing that comes after is made up.
#[test]
fn lengths_that_lie_end_the_reading() {
    let style = Style::ETHERNET;
    let frame = ethernet(&[0x0800], &udp4(62201, b"knock"));
    let endless = || std::io::repeat(0x41).take(64 << 20);
    for lie in [0x7fff_ffff_u32, 0xffff_ffff, 0x0100_0000] {
        let mut file = pcap(style, &[(AT, &frame)]);
        file.extend(
            [
                0_u32.to_le_bytes(),
                0_u32.to_le_bytes(),
                lie.to_le_bytes(),
                lie.to_le_bytes(),
            ]
            .concat(),
        );
        let (packets, error) = read(Cursor::new(file).chain(endless()));
        assert!(
            packets.len() == 1
                && matches!(
                    error,
                    Some(RecordingError::TooLong | RecordingError::Damaged)
                ),
            "{lie:#x}: {error:?}"
        );
        let mut file = pcapng(style, &[(AT, &frame)]);
        file.extend([6_u32.to_le_bytes(), lie.to_le_bytes()].concat());
        let (packets, error) = read(Cursor::new(file).chain(endless()));
        assert!(
            packets.len() == 1
                && matches!(
                    error,
                    Some(RecordingError::TooLong | RecordingError::Damaged)
                ),
            "{lie:#x}: {error:?}"
        );
    }
    let mut head = section(style);
    head[4..8].copy_from_slice(&0x7fff_fff0_u32.to_le_bytes());
    assert!(matches!(
        read(Cursor::new(head).chain(endless())).1,
        Some(RecordingError::Damaged)
    ));
    let nobody = [section(style), block(style, 6, &[0; 20])].concat();
    assert!(
        matches!(read(Cursor::new(nobody)).1, Some(RecordingError::Damaged)),
        "a packet of an interface that is not there"
    );
    let many = [section(style), interface(style).repeat(5000)].concat();
    assert!(matches!(
        read(Cursor::new(many)).1,
        Some(RecordingError::Damaged)
    ));
}

/// Secrets, processes, names, and what nobody has thought of yet.
#[test]
fn a_block_that_says_nothing_here_is_passed_over_at_any_length_and_ends_the_reading_where_it_lies()
{
    for style in styles() {
        let frame = ethernet(&[0x0800], &udp4(62201, b"knock"));
        let (head, packets) = (
            [section(style), interface(style)].concat(),
            pcapng(style, &[(AT, &frame)]),
        );
        for kind in [4, 5, 9, 10, 0x0bad, 0x4000_0bad, 0x8000_0001, 0x7777] {
            let long = block(style, kind, &vec![7; 3 << 20]);
            let (found, error) = read(Cursor::new([&head, &long, &packets[..]].concat()));
            assert!(found.len() == 1 && error.is_none(), "{kind:#x}: {error:?}");
            let (found, error) = read(Cursor::new(
                [&packets[..], &long[..long.len() - 1]].concat(),
            ));
            assert!(
                found.len() == 1 && matches!(error, Some(RecordingError::Cut)),
                "{kind:#x}: {error:?}"
            );
            for length in 0..12 {
                let mut short = block(style, kind, &[0; 40]);
                let length = if style.big_endian {
                    u32::to_be_bytes(length)
                } else {
                    u32::to_le_bytes(length)
                };
                short[4..8].copy_from_slice(&length);
                let (found, error) = read(Cursor::new([&packets[..], &short].concat()));
                assert!(
                    found.len() == 1 && matches!(error, Some(RecordingError::Damaged)),
                    "{kind:#x}: {error:?}"
                );
            }
        }
    }
}

/// One byte at a time, as a slow pipe gives them.
#[test]
fn a_pipe_that_gives_a_byte_at_a_time_is_read_like_a_file() {
    struct Slow(Cursor<Vec<u8>>);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let end = buffer.len().min(1);
            self.0.read(&mut buffer[..end])
        }
    }
    let frame = ethernet(&[0x0800], &udp4(62201, &[9; 300]));
    for file in [
        pcap(Style::ETHERNET, &[(AT, &frame[..]); 3]),
        pcapng(Style::ETHERNET, &[(AT, &frame[..]); 3]),
    ] {
        let (packets, error) = read(Slow(Cursor::new(file)));
        assert!(error.is_none() && packets.len() == 3, "{error:?}");
        assert_eq!(
            packets
                .iter()
                .map(|packet| packet.number)
                .collect::<Vec<_>>(),
            [1, 2, 3]
        );
    }
}
