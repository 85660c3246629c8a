//! The least work between a knock and an open port: receive, check and decrypt, append the mark, add an element to a set.
//!
//! One thread, one user, no policy, no replay check and no log. It needs root, and a network namespace of its own:
//!
//!     postern-limit GATE_NAME KEY FILE PORT SERVICE [no-sync]
//!
//! PORT is the knock port and SERVICE the TCP port that it hides. It prints "ready", and then serves until it is killed.
//! System calls of a knock: recvfrom, pwrite64, fdatasync, sendto; then recvfrom for the kernel's answer, when the port is
//! open already. It sleeps in the first one while nobody knocks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "not a program for users"
)]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use netlink_sys::protocols::NETLINK_NETFILTER;
use postern_proto::{Allow, GateName, Item, KeyMaterial, OpenBuffer, Packet, Request, SharedKey};
use postern_proto::{UserKeys, limits::PACKET_MIN};
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, SockFilter, Socket, Type};

/// As long as Postern's.
const RECORD: usize = 128;
/// The file's length. Then it begins at the front again.
const RECORDS: u64 = 32 * 1024;
/// How much is zeroed at once.
const PART: usize = 1 << 16;
const UDP_HEADER: usize = 8;
// linux/if_ether.h, in network order
const ETH_P_ALL: i32 = 0x0300;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let ([gate, key, path, port, service], more) = words.split_first_chunk().expect("5 arguments");
    let syncs = more.iter().all(|word| word != "no-sync");
    let [port, service] = [port, service].map(|port| port.parse::<u16>().unwrap());
    let keys = UserKeys::derive(
        &GateName::new(gate).unwrap(),
        &KeyMaterial::shared(&SharedKey::from_base64(key).unwrap()),
    );
    hide(service);
    let (socket, file, mut set) = (capture(port), zeroed(path), GrantSet::open());
    println!("ready");
    let (mut buffer, mut opened) = ([0; 2048], OpenBuffer::new());
    let mut position = 0;
    loop {
        let (received, _) = recv(&socket, &mut buffer, RecvFlags::empty()).unwrap();
        let Some((request, mark)) = admitted(&keys, &buffer[..received], &mut opened) else {
            continue;
        };
        let mut record = [0; RECORD];
        record[..mark.len()].copy_from_slice(&mark);
        record[16..24].copy_from_slice(&request.timestamp_ms.to_be_bytes());
        let at = position % RECORDS * RECORD as u64;
        file.write_all_at(&record, at).unwrap();
        if syncs {
            file.sync_data().unwrap();
        }
        position += 1;
        set.add(&request);
    }
}

/// The request in an IPv4 packet that the filter let through, and its mark.
fn admitted(keys: &UserKeys, bytes: &[u8], opened: &mut OpenBuffer) -> Option<(Request, [u8; 16])> {
    let header = usize::from(bytes.first()? & 15) * 4;
    let packet = Packet::parse(bytes.get(header + UDP_HEADER..)?).ok()?;
    if !keys.verify(&packet) {
        return None;
    }
    let body = keys.open(&packet, opened).ok()?;
    Some((Request::decode(body).ok()?, packet.mark().0))
}

/// A cooked packet socket that gets UDP over IPv4 to the port, as long as a knock.
fn capture(port: u16) -> Socket {
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(ETH_P_ALL.into())).unwrap();
    // linux/bpf_common.h: load a word, half or byte at a place; the header's length; the same behind the header; jump;
    // return. Places: packet type, protocol, and behind the start of the network header.
    let [packet_type, protocol, network] = [0xffff_f004, 0xffff_f000, 0xfff0_0000];
    let is = |value, or_drop| SockFilter::new(0x15, 0, or_drop, value);
    let filter = [
        SockFilter::new(0x20, 0, 0, packet_type),
        SockFilter::new(0x15, 13, 0, 4),
        SockFilter::new(0x20, 0, 0, protocol),
        is(0x0800, 11),
        SockFilter::new(0x30, 0, 0, network + 9),
        is(17, 9),
        SockFilter::new(0x28, 0, 0, network + 6),
        SockFilter::new(0x45, 7, 0, 0x3fff),
        SockFilter::new(0xb1, 0, 0, network),
        SockFilter::new(0x48, 0, 0, network + 2),
        is(port.into(), 4),
        SockFilter::new(0x48, 0, 0, network + 4),
        SockFilter::new(0x35, 0, 2, (UDP_HEADER + PACKET_MIN) as u32),
        SockFilter::new(0x06, 0, 0, 2048),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, 0),
    ];
    socket.attach_filter(&filter).unwrap();
    socket
}

/// A file of zeros, so that a write changes neither its length nor its map.
fn zeroed(path: &str) -> File {
    let mut file = File::create(path).unwrap();
    // One large write would make large pages in the cache. Then each record costs 40 µs more: the kernel goes through all
    // blocks of a page.
    let zeros = vec![0; PART];
    for _ in 0..RECORDS as usize * RECORD / PART {
        file.write_all(&zeros).unwrap();
    }
    file.sync_all().unwrap();
    file
}

/// Hides the service from all but the elements of a set.
fn hide(service: u16) {
    let table = format!(
        "table inet least {{
            set grants {{ type ipv4_addr . inet_proto . inet_service; flags timeout; }}
            chain input {{
                type filter hook input priority filter; policy accept;
                ip saddr . meta l4proto . th dport @grants accept
                tcp dport {service} drop
            }}
        }}"
    );
    let nft = Command::new("/usr/sbin/nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn();
    let mut nft = nft.unwrap();
    nft.stdin
        .take()
        .unwrap()
        .write_all(table.as_bytes())
        .unwrap();
    assert!(nft.wait().unwrap().success());
}

/// The set, and the message that adds an element to it, made before the first knock.
struct GrantSet {
    socket: netlink_sys::Socket,
    message: Vec<u8>,
    /// Where the message has the element's key, and its timeout.
    key: usize,
    timeout: usize,
    answer: Vec<u8>,
}

impl GrantSet {
    fn open() -> Self {
        let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER).unwrap();
        socket.bind_auto().unwrap();
        socket.connect(&netlink_sys::SocketAddr::new(0, 0)).unwrap();
        // places and values that are found again below
        let (key, timeout) = ([0xaa; 12], [0xbb; 8]);
        let element = [nested(1, &attribute(1, &key)), attribute(4, &timeout)].concat();
        let elements = nested(3, &nested(1, &element));
        let set = [
            attribute(1, b"least\0"),
            attribute(2, b"grants\0"),
            elements,
        ]
        .concat();
        // linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h: begin and end of a batch of nf_tables, a new element
        // of family inet. It asks for an answer and must not exist.
        let message = [
            netlink(16, 0x1, &[0, 0, 0, 10]),
            netlink(10 << 8 | 12, 0x605, &[&[1, 0, 0, 0], &set[..]].concat()),
            netlink(17, 0x1, &[0, 0, 0, 10]),
        ]
        .concat();
        let find = |wanted: &[u8]| {
            message
                .windows(wanted.len())
                .position(|part| part == wanted)
        };
        Self {
            key: find(&key).unwrap(),
            timeout: find(&timeout).unwrap(),
            socket,
            message,
            answer: Vec::with_capacity(4096),
        }
    }

    fn add(&mut self, request: &Request) {
        let (Allow::Network { address, .. }, [Item::Service(service)]) =
            (&request.allow, &request.items[..])
        else {
            panic!("a knock names an address and a service");
        };
        let address = address.to_ipv4_mapped().unwrap().octets();
        let [high, low] = service.first().to_be_bytes();
        let key = &mut self.message[self.key..self.key + 12];
        key[..4].copy_from_slice(&address);
        key[4..].copy_from_slice(&[6, 0, 0, 0, high, low, 0, 0]);
        let millis = u64::from(request.duration_s) * 1000;
        self.message[self.timeout..self.timeout + 8].copy_from_slice(&millis.to_be_bytes());
        self.socket.send(&self.message, 0).unwrap();
        self.answer.clear();
        self.socket.recv(&mut self.answer, 0).unwrap();
        let error = i32::from_ne_bytes(*self.answer[16..].first_chunk().unwrap());
        assert_eq!(error, 0, "the kernel refused an element");
    }
}

fn netlink(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap().to_ne_bytes();
    let numbers = [kind.to_ne_bytes(), flags.to_ne_bytes()].concat();
    [&length[..], &numbers, &[0; 8], body].concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap().to_ne_bytes();
    let mut attribute = [&length[..], &kind.to_ne_bytes(), value].concat();
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

fn nested(kind: u16, inside: &[u8]) -> Vec<u8> {
    attribute(kind | 0x8000, inside)
}
