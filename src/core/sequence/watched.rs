//! The ports that are looked at. A packet to another port neither counts nor breaks an attempt.

use postern_proto::Protocol;

use super::definition::Expected;

/// One bit for each port.
#[derive(Debug)]
struct Bits(Box<[u64]>);

/// Ports by protocol. The size does not depend on what is in it.
#[derive(Debug)]
pub(super) struct Watched {
    tcp: Bits,
    udp: Bits,
    /// ICMP and others, which have few hits.
    rest: Vec<Expected>,
}

impl Watched {
    pub(super) fn new(watched: impl IntoIterator<Item = Expected>) -> Self {
        let mut all = Self {
            tcp: Bits::new(),
            udp: Bits::new(),
            rest: Vec::new(),
        };
        for ports in watched {
            match ports.protocol {
                Protocol::Tcp => all.tcp.insert(ports),
                Protocol::Udp => all.udp.insert(ports),
                Protocol::Icmp | Protocol::Icmpv6 | Protocol::Sctp => all.rest.push(ports),
            }
        }
        all.rest.sort();
        all.rest.dedup();
        all
    }

    pub(super) fn contains(&self, protocol: Protocol, port: u16) -> bool {
        match protocol {
            Protocol::Tcp => self.tcp.contains(port),
            Protocol::Udp => self.udp.contains(port),
            Protocol::Icmp | Protocol::Icmpv6 | Protocol::Sctp => {
                let port = Expected::port(protocol, port);
                self.rest.iter().any(|ports| ports.contains(port))
            }
        }
    }

    pub(super) fn contains_all(&self, ports: Expected) -> bool {
        (ports.first..=ports.last).all(|port| self.contains(ports.protocol, port))
    }
}

impl Bits {
    fn new() -> Self {
        Self(vec![0; 1 << 10].into())
    }

    fn insert(&mut self, ports: Expected) {
        for port in ports.first..=ports.last {
            if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
                *word |= 1 << (port & 63);
            }
        }
    }

    fn contains(&self, port: u16) -> bool {
        let word = self.0.get(usize::from(port >> 6));
        word.is_some_and(|word| word >> (port & 63) & 1 == 1)
    }
}
