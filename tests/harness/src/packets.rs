//! Builds packets for tests, and sends them unchanged.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv6Addr;
use std::process::{Child, Command, Stdio};

use etherparse::PacketBuilder;
use pnet::datalink::{Channel, Config, DataLinkSender, NetworkInterface};
use rustix::net::netdevice::name_to_index;

use crate::Namespace;

/// From 192.0.2.2 to 192.0.2.1.
pub fn udp4(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 2], [192, 0, 2, 1], 64)
        .udp(40000, port)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

/// From 2001:db8::2 to 2001:db8::1.
pub fn udp6(port: u16, payload: &[u8]) -> Vec<u8> {
    let (from, to): (Ipv6Addr, Ipv6Addr) = (
        "2001:db8::2".parse().unwrap(),
        "2001:db8::1".parse().unwrap(),
    );
    let mut packet = Vec::new();
    PacketBuilder::ipv6(from.octets(), to.octets(), 64)
        .udp(40000, port)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

/// The same packet with bytes replaced: (place, value).
pub fn with(mut packet: Vec<u8>, bytes: &[(usize, u8)]) -> Vec<u8> {
    for (place, value) in bytes {
        packet[*place] = *value;
    }
    packet
}

/// In an Ethernet frame from peer0 to gate0; `types` is 802.1Q tags, if any, and the ethertype.
pub fn framed(types: &[u16], packet: &[u8]) -> Vec<u8> {
    let types: Vec<u8> = types.iter().flat_map(|part| part.to_be_bytes()).collect();
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &types, packet].concat()
}

/// An interface that frames are sent from as they are.
pub struct RawLink(Box<dyn DataLinkSender>);

impl RawLink {
    pub fn open(namespace: &Namespace, interface: &'static str) -> Self {
        Self(namespace.run(move || {
            let index = name_to_index(std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), interface)
                .unwrap();
            let interface = NetworkInterface {
                name: String::new(),
                description: String::new(),
                index,
                mac: None,
                ips: Vec::new(),
                flags: 0,
            };
            match pnet::datalink::channel(&interface, Config::default()).unwrap() {
                Channel::Ethernet(sender, _receiver) => sender,
                _ => panic!("no Ethernet channel"),
            }
        }))
    }

    pub fn send(&mut self, frame: &[u8]) {
        self.0.send_to(frame, None).unwrap().unwrap();
    }

    /// Sends an IP packet with the ethertype that fits its version.
    pub fn send_ip(&mut self, packet: &[u8]) {
        let ethertype = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
        self.send(&framed(&[ethertype], packet));
    }
}

/// Keeps /dev/net/tun open and writes its input to it: Rust has no safe call that makes a tun device.
const TUN: &str = r#"
import fcntl, os, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"tun0", 0x1001))
print("made", flush=True)
for line in sys.stdin:
    os.write(tun, bytes.fromhex(line))
"#;

/// A tun device `tun0`, up; dropping this value removes it.
pub struct Tun(Child);

impl Tun {
    pub fn new(namespace: &Namespace) -> Self {
        let mut child = namespace.run(|| {
            let piped = Command::new("python3")
                .args(["-c", TUN])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            piped.expect("this test needs python3")
        });
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "made\n");
        namespace.ip("link set tun0 up");
        Self(child)
    }

    /// As if the packet had come through the tunnel.
    pub fn receives(&mut self, packet: &[u8]) {
        let line: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Tun {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
