//! The set elements of a grant, and the changes that add and delete them. Pure.

use std::fmt;
use std::net::IpAddr;

use super::sets::{Field, Kind, RANK_MIDDLE, Set, Side};
use crate::adapters::netlink::attributes::{address, octets};
use crate::model::address::Family;
use crate::model::catalog::Forward;
use crate::model::grant::Grant;
use crate::model::service::Ports;
use crate::model::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Element {
    pub(super) set: Set,
    pub(super) key: Vec<u8>,
    pub(super) end: Option<Vec<u8>>,
    pub(super) data: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ElementChange {
    pub(super) element: Element,
    pub(super) action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Add an element that must not exist. `nft list` shows the userdata as a comment.
    Add {
        until: Timestamp,
        userdata: Vec<u8>,
    },
    /// Add it for a moment unless it exists. Then a deletion in the same batch succeeds, even if it has expired.
    Touch,
    Delete,
    /// Delete an element that may have expired.
    DeleteIfPresent,
}

/// The elements of a grant in order; ranges have no rank yet. A grant that can never match, such as ICMPv6 from an
/// IPv4 address, has none.
pub(super) fn of_grant(grant: &Grant) -> Vec<Element> {
    let side = match grant.target {
        Some(_) => Side::Forward,
        None => Side::Gate,
    };
    let services = grant.services.iter();
    let mut elements: Vec<Element> = services
        .filter_map(|ports| of_service(grant, side, grant.target, *ports))
        .collect();
    for forward in &grant.forwards {
        let Some(host) = forward.host else {
            elements.extend(of_service(grant, Side::Local, None, forward.at));
            continue;
        };
        elements.extend(redirection(grant, host, forward));
        let redirected = |side| of_service(grant, side, Some(host), forward.inner());
        elements.extend(redirected(Side::Redirected));
        if forward.masquerade {
            elements.extend(redirected(Side::Masquerade));
        }
    }
    elements.sort_unstable();
    elements.dedup();
    elements
}

/// The elements that redirect a port of the gate.
///
/// For one address and one port, that is one element of a map. Otherwise a set holds the sources, which may overlap
/// between grants, and a map holds the ports. No two forwards share a port of the gate.
fn redirection(grant: &Grant, host: IpAddr, forward: &Forward) -> Vec<Element> {
    let (from, to) = (grant.allow.network(), grant.allow.broadcast());
    let family = Family::of(from);
    let Some((first, last)) = forward.at.range() else {
        return Vec::new();
    };
    if Family::of(host) != family {
        return Vec::new();
    }
    let protocol = forward.at.protocol();
    let corner = |set, source, port| key(set, source, None, protocol, port);
    let mut data = octets(host);
    data.extend(forward.port.map(port_word).into_iter().flatten());
    let kind = match forward.port {
        Some(_) if from == to => Kind::Exact,
        Some(_) => Kind::PortMap,
        None => Kind::PortRangeMap,
    };
    let map = Set::new(Side::Redirect, kind, family);
    let mut elements = vec![Element {
        set: map,
        key: corner(map, from, first),
        end: map.has_intervals().then(|| corner(map, to, last)),
        data: Some(data),
    }];
    if kind != Kind::Exact {
        let sources = Set::new(Side::Redirect, Kind::Range, family);
        elements.push(Element {
            set: sources,
            key: corner(sources, from, first),
            end: Some(corner(sources, to, last)),
            data: None,
        });
    }
    elements
}

fn of_service(grant: &Grant, side: Side, target: Option<IpAddr>, ports: Ports) -> Option<Element> {
    let (from, to) = (grant.allow.network(), grant.allow.broadcast());
    let family = Family::of(from);
    let other_icmp = family.pick("icmpv6", "icmp");
    if target.is_some_and(|target| Family::of(target) != family)
        || ports.protocol_name() == other_icmp
    {
        return None;
    }
    let (kind, (first, last)) = match ports.range() {
        Some((first, last)) if from == to && first == last => (Kind::Exact, (first, last)),
        Some(range) => (Kind::Range, range),
        None if from == to => (Kind::Icmp, (0, 0)),
        // ICMP has its checksum at the place of the port
        None => (Kind::Range, (0, u16::MAX)),
    };
    let set = Set::new(side, kind, family);
    let corner = |source, port| key(set, source, target, ports.protocol(), port);
    Some(Element {
        set,
        key: corner(from, first),
        end: set.has_rank().then(|| corner(to, last)),
        data: None,
    })
}

fn key(set: Set, source: IpAddr, target: Option<IpAddr>, protocol: u8, port: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(44);
    for field in set.fields() {
        match field {
            Field::Source => key.extend(octets(source)),
            Field::Target => key.extend(target.map(octets).unwrap_or_default()),
            Field::Protocol => key.extend(u32::from(protocol).to_be_bytes()),
            Field::Port => key.extend_from_slice(&port_word(port)),
            Field::Rank | Field::Number => {}
        }
    }
    key
}

fn port_word(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

impl Element {
    /// An element of the record: this part of the grant with this number.
    pub(super) fn record(id: u64, part: u32) -> Self {
        Self {
            set: Set::RECORD,
            key: [&id.to_be_bytes()[..], &part.to_be_bytes()].concat(),
            end: None,
            data: None,
        }
    }

    pub(super) fn ranked(mut self, rank: u32) -> Self {
        if let (true, Some(end)) = (self.set.has_rank(), &mut self.end) {
            let first = RANK_MIDDLE.saturating_sub(rank).to_be_bytes();
            let last = RANK_MIDDLE.saturating_add(rank).to_be_bytes();
            self.key.extend_from_slice(&first);
            end.extend_from_slice(&last);
        }
        self
    }

    pub(super) fn add(self, until: Timestamp, userdata: Vec<u8>) -> [ElementChange; 1] {
        [self.change(Action::Add { until, userdata })]
    }

    /// Adds the element with a new end, whether it still exists or not. Kernels before 6.12 ignore a new timeout for
    /// an existing element, so it is deleted first.
    pub(super) fn renew(self, until: Timestamp, userdata: Vec<u8>) -> [ElementChange; 3] {
        [
            self.clone().change(Action::Touch),
            self.clone().change(Action::Delete),
            self.change(Action::Add { until, userdata }),
        ]
    }

    /// Deletes the element, whether it still exists or not.
    pub(super) fn delete(self) -> Vec<ElementChange> {
        if self.set.has_rank() {
            // touching it would put its old, smaller rank among greater ones
            return vec![self.change(Action::DeleteIfPresent)];
        }
        vec![
            self.clone().change(Action::Touch),
            self.change(Action::Delete),
        ]
    }

    fn change(self, action: Action) -> ElementChange {
        ElementChange {
            element: self,
            action,
        }
    }
}

/// `adding element 192.0.2.7 . protocol 6 . 22 of set grants4`, for errors.
impl fmt::Display for ElementChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.action {
            Action::Add { .. } | Action::Touch => "adding",
            Action::Delete | Action::DeleteIfPresent => "deleting",
        };
        write!(f, "{verb} element {}", self.element)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(self.set, &self.key))?;
        if let Some(end) = &self.end {
            write!(f, " to {}", key_text(self.set, end))?;
        }
        write!(f, " of set {}", self.set.name())
    }
}

fn key_text(set: Set, mut key: &[u8]) -> String {
    let mut fields = Vec::new();
    for field in set.fields() {
        let length = set.len_of(&[*field]) as usize;
        let (bytes, rest) = key.split_at_checked(length).unwrap_or((key, &[]));
        key = rest;
        let number = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
        fields.push(match (field, bytes) {
            (_, []) => continue,
            (Field::Source | Field::Target, bytes) => address(bytes)
                .map(|address| address.to_string())
                .unwrap_or_default(),
            (Field::Protocol, [.., protocol]) => format!("protocol {protocol}"),
            (Field::Port, [high, low, ..]) => u16::from_be_bytes([*high, *low]).to_string(),
            _ => bytes.iter().fold(0, number).to_string(),
        });
    }
    fields.join(" . ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;

    fn grant(allow: &str, target: Option<&str>, services: &[&str]) -> Grant {
        Grant {
            target: target.map(|target| target.parse().unwrap()),
            ..fixture::grant(7, "alice", allow, services)
        }
    }

    fn set_names(elements: &[Element]) -> String {
        let names: Vec<_> = elements.iter().map(|element| element.set.name()).collect();
        names.join(" ")
    }

    #[test]
    fn services_choose_set_and_key() {
        let exact = of_grant(&grant("192.0.2.7/32", None, &["tcp/22", "tcp/22"]));
        assert_eq!(exact.len(), 1);
        assert_eq!(exact[0].key, [192, 0, 2, 7, 0, 0, 0, 6, 0, 22, 0, 0]);
        let expected = "192.0.2.7 . protocol 6 . 22 of set grants4";
        assert_eq!(exact[0].to_string(), expected);
        let v6 = grant("2001:db8::/32", Some("fd00::1"), &["udp/500-510"]);
        let range = of_grant(&v6).remove(0).ranked(3);
        assert_eq!(range.key[36..], [1, 244, 0, 0, 0x80, 0, 0, 0x7d]);
        assert_eq!(range.end.unwrap()[36..], [1, 254, 0, 0, 0x80, 0, 0, 0x83]);
        for (allow, target, service, set) in [
            (
                "2001:db8::/32",
                Some("fd00::1"),
                "udp/500-510",
                "forward_networks6",
            ),
            ("192.0.2.7/32", None, "tcp/20-30", "networks4"),
            ("192.0.2.0/24", None, "icmp", "networks4"),
            ("192.0.2.7/32", None, "icmp", "icmp4"),
            ("192.0.2.7/32", None, "icmpv6", ""),
            ("2001:db8::7/128", None, "icmp", ""),
            ("2001:db8::7/128", Some("10.0.0.1"), "tcp/22", ""),
        ] {
            let elements = of_grant(&grant(allow, target, &[service]));
            assert_eq!(set_names(&elements), set, "{allow} {service}");
            for element in elements {
                let (set, key) = (element.set, element.ranked(1).key);
                assert_eq!(key.len(), set.len_of(set.fields()) as usize);
            }
        }
    }
}
