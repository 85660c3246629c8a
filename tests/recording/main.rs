//! Recordings in every form that programs write, and malformed ones: their packets are read, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::io::{Cursor, Read};

use postern::adapters::capture::recording::{
    Found, Other, Recorded, Recording, RecordingError, Why, begins,
};
use postern_harness::packets::{framed, udp4, udp6};
use postern_harness::recordings::{Style, block, interface, pcap, pcapng, section, simple};

const PORTS: [u16; 2] = [62201, 53];
const AT: u64 = 1_760_000_000_123;

fn knock() -> Vec<u8> {
    framed(&[0x0800], &udp4(62201, b"knock"))
}

fn read(file: impl Read + 'static) -> (Vec<Recorded>, Option<RecordingError>) {
    let mut packets = Vec::new();
    let read_all = || -> Result<(), RecordingError> {
        let mut recording = Recording::open(file, &PORTS)?;
        while let Some(packet) = recording.read()? {
            packets.push(packet);
        }
        Ok(())
    };
    let error = read_all().err();
    (packets, error)
}

fn outcome(parts: &[&[u8]]) -> (usize, Option<RecordingError>) {
    let (packets, error) = read(Cursor::new(parts.concat()));
    (packets.len(), error)
}

fn datagrams(file: Vec<u8>) -> Vec<(Option<u64>, Vec<u8>)> {
    let (packets, error) = read(Cursor::new(file));
    assert!(error.is_none(), "{error:?}");
    let datagram = |packet: Recorded| match packet.found {
        Found::Datagram(datagram) => {
            let at = packet.at.map(|at| at.as_millis());
            Some((at, datagram.payload().to_vec()))
        }
        Found::Other(_) => None,
    };
    packets.into_iter().filter_map(datagram).collect()
}

/// What is said of a packet that is not a datagram to a knock port.
fn other(link_type: u16, packet: &[u8]) -> Other {
    let style = Style {
        link_type,
        ..Style::ETHERNET
    };
    match read(Cursor::new(pcap(style, &[(AT, packet)])))
        .0
        .remove(0)
        .found
    {
        Found::Other(other) => other,
        Found::Datagram(datagram) => panic!("{datagram:?}"),
    }
}

fn styles() -> impl Iterator<Item = Style> {
    let style = |big_endian, per_second| Style {
        big_endian,
        per_second,
        link_type: 1,
    };
    let both = move |big_endian| [1_000_000, 1_000_000_000].map(|ticks| style(big_endian, ticks));
    [false, true].into_iter().flat_map(both)
}

#[test]
fn packets_are_read_with_their_times() {
    let frames = [
        framed(&[0x0800], &udp4(62201, b"four")),
        framed(&[0x86dd], &udp6(53, b"six!")),
    ];
    let recorded = [(AT, &frames[0][..]), (AT + 1_001, &frames[1][..])];
    let expected = [
        (Some(AT), b"four".to_vec()),
        (Some(AT + 1_001), b"six!".to_vec()),
    ];
    for style in styles() {
        for file in [pcap(style, &recorded), pcapng(style, &recorded)] {
            assert_eq!(datagrams(file), expected, "{style:?}");
        }
    }
    for per_second in [1, 1000, 10_000_000_000] {
        let style = Style {
            per_second,
            ..Style::ETHERNET
        };
        let at = AT / 1000 * 1000;
        let file = pcapng(style, &[(at, &frames[0])]);
        assert_eq!(datagrams(file), [(Some(at), b"four".to_vec())], "{style:?}");
    }
}

#[test]
fn sections_and_unknown_blocks_do_not_end_reading() {
    let (little, big) = (
        Style::ETHERNET,
        Style {
            big_endian: true,
            per_second: 1_000_000_000,
            link_type: 101,
        },
    );
    let frame = framed(&[0x0800], &udp4(62201, b"one"));
    let mut file = pcapng(little, &[(AT, &frame)]);
    for kind in [4, 5, 9, 0x0bad, 0x0bae, 0x8000_0001] {
        file.extend(block(little, kind, &[0; 16]));
    }
    file.extend(simple(little, &frame));
    file.extend(pcapng(big, &[(AT, &udp4(62201, b"two"))]));
    file.extend(
        [
            section(little),
            interface(little),
            block(little, 0x0bae, b""),
        ]
        .concat(),
    );
    let expected = [
        (Some(AT), b"one".to_vec()),
        (None, b"one".to_vec()),
        (Some(AT), b"two".to_vec()),
    ];
    assert_eq!(datagrams(file), expected);
}

#[test]
fn other_packets_are_classified() {
    let (four, six) = (udp4(62201, &[7; 200]), udp6(62201, &[7; 200]));
    let four_with = |place: usize, value: u8| {
        let mut packet = four.clone();
        packet[place] = value;
        packet
    };
    // an extension header of this kind, which is followed by `next`
    let extended = |kind: u8, header: [u8; 8], behind: &[u8]| {
        let mut packet = [&six[..40], &header, behind].concat();
        packet[6] = kind;
        let length = u16::try_from(packet.len() - 40).unwrap();
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        packet
    };
    let port = Some(62201);
    for (packet, why, expected_port) in [
        (udp4(123, b"time"), Why::OtherPort, Some(123)),
        (four_with(9, 6), Why::NotUdp(6), None),
        // the first fragment has the port
        (four_with(6, 0x20), Why::Fragment, port),
        (four_with(7, 9), Why::Fragment, None),
        (four[..100].to_vec(), Why::Cut, port),
        (four[..10].to_vec(), Why::Broken, None),
        // the UDP length is below that of its header
        (four_with(25, 3), Why::Broken, port),
        (vec![0; 40], Why::Broken, None),
        (
            extended(0, [17, 0, 1, 4, 0, 0, 0, 0], &six[40..]),
            Why::Extensions,
            port,
        ),
        (
            extended(44, [17, 0, 0, 1, 0, 0, 0, 9], &six[40..]),
            Why::Fragment,
            port,
        ),
    ] {
        let other = other(101, &packet);
        assert_eq!((&other.why, other.port), (&why, expected_port), "{other}");
    }
    // a whole header that announces another one where the packet ends
    for next in [0, 43, 44, 51, 60] {
        let mut endless = extended(60, [next, 0, 1, 4, 0, 0, 0, 0], &[]);
        assert_eq!(other(101, &endless).why, Why::Broken, "{next}");
        endless[4..6].copy_from_slice(&[0, 208]);
        assert_eq!(other(101, &endless).why, Why::Cut, "{next}");
    }
    let arp = framed(&[0x0806], &[0; 28]);
    for (link_type, packet, text) in [
        (
            101,
            &udp4(123, b"time")[..],
            "UDP to port 123, which is no knock port",
        ),
        (101, &four_with(9, 6), "not UDP but TCP"),
        (101, &four_with(9, 250), "not UDP but protocol 250"),
        (1, &arp, "no IP packet, ethertype 0x0806"),
        (
            105,
            &[0; 60],
            "recorded with link type 105, which is not read here; record on another interface",
        ),
    ] {
        let other = other(link_type, packet);
        assert_eq!(
            (other.to_string().as_str(), other.is_for(&PORTS)),
            (text, false)
        );
    }
}

#[test]
fn other_files_are_not_recordings() {
    for bytes in [
        &b""[..],
        b"QUJD",
        b"#!/bin/sh\n# not a recording at all",
        &[0; 100],
    ] {
        assert!(!begins(bytes));
        let (_, error) = read(Cursor::new(bytes));
        assert!(
            matches!(error, Some(RecordingError::UnknownFormat)),
            "{error:?}"
        );
    }
    for empty in [pcap(Style::ETHERNET, &[]), pcapng(Style::ETHERNET, &[])] {
        assert!(begins(&empty) && read(Cursor::new(empty)).1.is_none());
    }
}

#[test]
fn cut_recording_gives_its_whole_packets() {
    let frame = knock();
    for style in styles() {
        for make in [pcap, pcapng] {
            let two = make(style, &[(AT, &frame[..]); 2]);
            let one = make(style, &[(AT, &frame)]);
            for end in 24..two.len() {
                let (packets, error) = outcome(&[&two[..end]]);
                assert_eq!(packets, usize::from(end >= one.len()), "cut to {end}");
                let is_block_end = end == one.len() || end < one.len() - frame.len();
                assert!(
                    match error {
                        None => is_block_end,
                        Some(RecordingError::Cut | RecordingError::UnknownFormat) => true,
                        Some(_) => false,
                    },
                    "cut to {end}"
                );
            }
        }
    }
}

/// A wrong length costs neither memory nor time, and invents no packet.
#[test]
fn wrong_lengths_end_the_reading() {
    let style = Style::ETHERNET;
    let endless = || std::io::repeat(0x41).take(64 << 20);
    for length in [0x7fff_ffff_u32, 0xffff_ffff, 0x0100_0000] {
        let length = length.to_le_bytes();
        let in_pcap = [[0; 4], [0; 4], length, length].concat();
        let in_pcapng = [6_u32.to_le_bytes(), length].concat();
        for (valid, wrong) in [
            (pcap(style, &[(AT, &knock())]), in_pcap),
            (pcapng(style, &[(AT, &knock())]), in_pcapng),
        ] {
            let file = Cursor::new([valid, wrong].concat()).chain(endless());
            let (packets, error) = read(file);
            let is_refused = matches!(
                error,
                Some(RecordingError::TooLong | RecordingError::Damaged)
            );
            assert!(packets.len() == 1 && is_refused, "{error:?}");
        }
    }
    let mut long_section = section(style);
    long_section[4..8].copy_from_slice(&0x7fff_fff0_u32.to_le_bytes());
    let no_interface = [section(style), block(style, 6, &[0; 20])].concat();
    let many_interfaces = [section(style), interface(style).repeat(5000)].concat();
    for file in [long_section, no_interface, many_interfaces] {
        let (_, error) = read(Cursor::new(file));
        assert!(matches!(error, Some(RecordingError::Damaged)), "{error:?}");
    }
}

#[test]
fn unknown_block_of_any_length_is_skipped() {
    for style in styles() {
        let head = [section(style), interface(style)].concat();
        let packets = pcapng(style, &[(AT, &knock())]);
        for kind in [4, 5, 9, 10, 0x0bad, 0x4000_0bad, 0x8000_0001, 0x7777] {
            let long = block(style, kind, &vec![7; 3 << 20]);
            let (found, error) = outcome(&[&head, &long, &packets]);
            assert!(found == 1 && error.is_none(), "{kind:#x}: {error:?}");
            let (found, error) = outcome(&[&packets, &long[..long.len() - 1]]);
            assert!(found == 1 && matches!(error, Some(RecordingError::Cut)));
            for length in 0..12_u32 {
                let mut short = block(style, kind, &[0; 40]);
                let bytes = if style.big_endian {
                    length.to_be_bytes()
                } else {
                    length.to_le_bytes()
                };
                short[4..8].copy_from_slice(&bytes);
                let (found, error) = outcome(&[&packets, &short]);
                assert!(found == 1 && matches!(error, Some(RecordingError::Damaged)));
            }
        }
    }
}

#[test]
fn slow_pipe_is_read_like_a_file() {
    struct OneByte(Cursor<Vec<u8>>);
    impl Read for OneByte {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let end = buffer.len().min(1);
            self.0.read(&mut buffer[..end])
        }
    }
    let frame = framed(&[0x0800], &udp4(62201, &[9; 300]));
    for make in [pcap, pcapng] {
        let file = make(Style::ETHERNET, &[(AT, &frame[..]); 3]);
        let (packets, error) = read(OneByte(Cursor::new(file)));
        let numbers: Vec<u64> = packets.iter().map(|packet| packet.number).collect();
        assert!(error.is_none() && numbers == [1, 2, 3], "{error:?}");
    }
}
