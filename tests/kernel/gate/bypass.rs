//! Packets in unusual forms reach no hidden service: fragments, IPv4 options, extension headers and VLAN tags.
//!
//! The kernel accepts each form: with a grant the same packets are answered.

use std::net::IpAddr;

use etherparse::{IpFragOffset, Ipv4Header, PacketBuilder, SlicedPacket, TransportSlice};

use super::observer::Observer;
use postern_harness::packets::RawLink;
use postern_harness::{Family, GateConfig, SERVICE, World, wait_until, world::CLIENT_INTERFACE};

const V4: usize = 20;
const V6: usize = 40;
const TCP: u8 = 6;
// RFC 8200: hop by hop, fragment, destination options; the padding that fills one up to eight bytes.
const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];
/// What a segment has behind its header: the kernel wants all of an IPv6 packet's headers in its first fragment (RFC 8200).
const DATA: [u8; 12] = [0; 12];
/// IEEE 802.1Q: a tag that has a priority and no VLAN, which the kernel takes off without a device for it.
const PRIORITY: [u8; 4] = [0x81, 0, 0x20, 0];

pub(crate) fn fragments_and_options_reach_no_hidden_service(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let observer = Observer::start(&world.first);
    let mut wire = RawLink::open(&world.first.space, CLIENT_INTERFACE);
    for (_, frames) in forms(&world, 21_000) {
        frames.iter().for_each(|frame| wire.send(frame));
    }
    world.open_both("10m");
    for (form, (name, frames)) in forms(&world, 22_000).into_iter().enumerate() {
        frames.iter().for_each(|frame| wire.send(frame));
        wait_until(&format!("an answer to {name}"), || {
            answered(&observer).contains(&port(22_000, form))
        });
    }
    let early: Vec<u16> = answered(&observer)
        .into_iter()
        // Below the ports that the client's own connections come from.
        .filter(|port| (21_000..22_000).contains(port))
        .collect();
    assert_eq!(early, Vec::<u16>::new(), "answers to a stranger");
}

fn port(first: u16, form: usize) -> u16 {
    first + u16::try_from(form).unwrap()
}

/// The client's ports to which the gate has sent a TCP segment.
fn answered(observer: &Observer) -> Vec<u16> {
    let to = |frame: &Vec<u8>| match SlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Tcp(tcp) if tcp.source_port() == SERVICE => Some(tcp.destination_port()),
        _ => None,
    };
    observer.seen().iter().filter_map(to).collect()
}

/// Makes packets of one packet.
type Form = fn(&[u8]) -> Vec<Vec<u8>>;

/// A request for a connection in every form, each from a port of its own, as frames.
fn forms(world: &World, first_port: u16) -> Vec<(String, Vec<Vec<u8>>)> {
    let macs = [1, 2].map(|end| world.first.mac(end)).concat();
    let kinds: [(&str, Form); 10] = [
        ("nothing", |packet| vec![packet.to_vec()]),
        ("options", |packet| vec![with_options(packet)]),
        ("two fragments", |packet| fragments4(packet, 16)),
        ("tiny fragments", |packet| fragments4(packet, 8)),
        ("nothing", |packet| vec![packet.to_vec()]),
        ("hop-by-hop options", |packet| {
            vec![behind(packet, &[HOP_BY_HOP])]
        }),
        ("destination options", |packet| {
            vec![behind(packet, &[DESTINATION])]
        }),
        ("a chain of headers", |packet| {
            vec![behind(packet, &[HOP_BY_HOP, DESTINATION, DESTINATION])]
        }),
        ("one fragment that is the whole", |packet| {
            fragments6(packet, 32)
        }),
        ("two fragments", |packet| fragments6(packet, 24)),
    ];
    let mut all = Vec::new();
    for (at, (name, form)) in kinds.into_iter().enumerate() {
        let (family, kind) = if at < 4 {
            (Family::V4, [8, 0])
        } else {
            (Family::V6, [0x86, 0xdd])
        };
        for tag in [&[][..], &PRIORITY] {
            let packets = form(&syn(world, family, port(first_port, all.len())));
            let frames = packets
                .iter()
                .map(|packet| [&macs[..], tag, &kind, packet].concat())
                .collect();
            all.push((format!("{family:?} with {name}, tag {tag:?}"), frames));
        }
    }
    all
}

/// Asks the hidden service for a connection, from this port.
fn syn(world: &World, family: Family, from_port: u16) -> Vec<u8> {
    let packet = match (world.first.address(family), family.address(1)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        _ => unreachable!(),
    };
    let mut bytes = Vec::new();
    packet
        .tcp(from_port, SERVICE, 1, 1024)
        .syn()
        .write(&mut bytes, &DATA)
        .unwrap();
    bytes
}

fn header(packet: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let (mut header, _) = Ipv4Header::from_slice(packet).unwrap();
    change(&mut header);
    header.header_checksum = header.calc_header_checksum();
    header.to_bytes().to_vec()
}

/// Four options without effect.
fn with_options(packet: &[u8]) -> Vec<u8> {
    let header = header(packet, |header| {
        header.options = [1; 4].into();
        header.total_len += 4;
    });
    [&header, &packet[V4..]].concat()
}

fn fragments4(packet: &[u8], each: usize) -> Vec<Vec<u8>> {
    let segment = &packet[V4..];
    let part = |(at, part): (usize, &[u8])| {
        let header = header(packet, |header| {
            header.identification = u16::from_be_bytes([packet[V4], packet[V4 + 1]]);
            header.dont_fragment = false;
            header.more_fragments = (at + 1) * each < segment.len();
            header.fragment_offset =
                IpFragOffset::try_new(u16::try_from(at * each / 8).unwrap()).unwrap();
            header.total_len = u16::try_from(V4 + part.len()).unwrap();
        });
        [&header[..], part].concat()
    };
    segment.chunks(each).enumerate().map(part).collect()
}

/// Behind extension headers of eight bytes each.
fn behind(packet: &[u8], headers: &[u8]) -> Vec<u8> {
    let next = headers.iter().skip(1).chain(&[TCP]);
    let extensions: Vec<u8> = next
        .flat_map(|next| [&[*next, 0][..], &PADDING].concat())
        .collect();
    six(packet, headers[0], &extensions, &packet[V6..])
}

fn fragments6(packet: &[u8], each: usize) -> Vec<Vec<u8>> {
    let segment = &packet[V6..];
    let part = |(at, part): (usize, &[u8])| {
        let more = u16::from((at + 1) * each < segment.len());
        let [high, low] = (u16::try_from(at * each).unwrap() | more).to_be_bytes();
        let extension = [TCP, 0, high, low, 0, 0, segment[0], segment[1]];
        six(packet, FRAGMENT, &extension, part)
    };
    segment.chunks(each).enumerate().map(part).collect()
}

fn six(packet: &[u8], next: u8, extensions: &[u8], segment: &[u8]) -> Vec<u8> {
    let mut bytes = [&packet[..V6], extensions, segment].concat();
    let length = u16::try_from(bytes.len() - V6).unwrap().to_be_bytes();
    bytes[4..7].copy_from_slice(&[length[0], length[1], next]);
    bytes
}
