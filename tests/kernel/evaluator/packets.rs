//! Random packets, and what the evaluator says about each.

use std::net::IpAddr;

use etherparse::PacketBuilder;
use postern_harness::Random;
use serde_json::Value;

use super::counters::Count;

/// How many ports of each protocol a rule set is asked about.
const PORTS: usize = 20;
/// Rules name ports up to this.
pub(super) const LAST_PORT: u64 = 120;
const PAYLOAD_MAX: u64 = 1000;

pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) verdict: String,
    pub(super) rule: String,
}

/// Ports that do not adjoin, and echo requests.
pub(super) fn services(random: &mut Random) -> Vec<String> {
    let mut services = vec!["icmp".to_owned(), "icmpv6".to_owned()];
    for protocol in ["tcp", "udp"] {
        let mut ports: Vec<u64> = (1..=LAST_PORT / 2).map(|half| half * 2).collect();
        while ports.len() > PORTS {
            ports.swap_remove(usize::try_from(random.below(ports.len() as u64)).unwrap());
        }
        services.extend(ports.iter().map(|port| format!("{protocol}/{port}")));
    }
    services
}

impl Packet {
    pub(super) fn new(from: IpAddr, judged: &Value, source_port: u16, random: &mut Random) -> Self {
        let text = |key: &str| judged[key].as_str().unwrap().to_owned();
        let service = text("service");
        let (protocol, port) = service.split_once('/').unwrap_or((&service, "0"));
        let port: u16 = port.parse().unwrap();
        let payload = vec![0x5a; usize::try_from(random.below(PAYLOAD_MAX)).unwrap()];
        let ip = match from {
            IpAddr::V4(from) => PacketBuilder::ipv4(from.octets(), [192, 0, 2, 1], 64),
            IpAddr::V6(from) => {
                let to = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
                PacketBuilder::ipv6(from.octets(), to, 64)
            }
        };
        let mut bytes = Vec::new();
        match protocol {
            "tcp" => ip
                .tcp(source_port, port, 1000, 4000)
                .syn()
                .write(&mut bytes, &payload),
            "udp" => ip.udp(source_port, port).write(&mut bytes, &payload),
            "icmp" => ip
                .icmpv4_echo_request(source_port, 1)
                .write(&mut bytes, &payload),
            _ => ip
                .icmpv6_echo_request(source_port, 1)
                .write(&mut bytes, &payload),
        }
        .unwrap();
        Self {
            bytes,
            verdict: text("verdict"),
            rule: text("rule"),
        }
    }

    pub(super) fn count(&self) -> Count {
        Count {
            packets: 1,
            bytes: self.bytes.len() as u64,
        }
    }
}
