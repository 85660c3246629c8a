//! What a grant is in the kernel: the elements of the sets, and the steps that add and delete them.
//!
//! Owns the bytes of keys. Pure: which steps a change needs is the holders' question, sending them the driver's.

use std::fmt;
use std::net::IpAddr;

use super::sets::{Door, Field, Kind, RANK_MIDDLE, Set};
use crate::model::catalog::Forward;
use crate::model::grant::Grant;
use crate::model::service::Ports;
use crate::model::time::Timestamp;

/// A place in a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Element {
    pub(super) set: Set,
    pub(super) key: Vec<u8>,
    /// The last corner, where the set holds ranges.
    pub(super) end: Option<Vec<u8>>,
    /// What it leads to, where the set is a map.
    pub(super) data: Option<Vec<u8>>,
}

/// One message of a batch about an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) element: Element,
    pub(super) act: Act,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Add what is not there; with the data that `nft list` shows as a comment.
    Add { until: Timestamp, userdata: Vec<u8> },
    /// Make sure that it is there, for a moment: what may have expired can then be deleted in the same batch without an error.
    Touch,
    /// Delete what is there.
    Delete,
    /// Delete what may have expired.
    DeleteIfThere,
}

/// The elements of a grant in order; those of ranges still without a rank. What can never match, such as ICMPv6
/// from an IPv4 address, has none.
pub(super) fn of(grant: &Grant) -> Vec<Element> {
    let door = if grant.target.is_some() {
        Door::Behind
    } else {
        Door::Gate
    };
    let mut elements: Vec<Element> = grant
        .services
        .iter()
        .filter_map(|ports| element(grant, door, grant.target, *ports))
        .collect();
    elements.extend(
        grant
            .forwards
            .iter()
            .flat_map(|forward| forwarding(grant, forward)),
    );
    elements.sort_unstable();
    elements.dedup();
    elements
}

/// Where a port of the gate leads, and what may then pass to the host behind it.
fn forwarding(grant: &Grant, forward: &Forward) -> Vec<Element> {
    let doors: &[Door] = if forward.masquerade {
        &[Door::Through, Door::Masquerade]
    } else {
        &[Door::Through]
    };
    let passing = doors
        .iter()
        .filter_map(|door| element(grant, *door, Some(forward.host), forward.inner()));
    leading(grant, forward)
        .into_iter()
        .flatten()
        .chain(passing)
        .collect()
}

/// One address and port is led by one map. For others there is a set of who is led, in which grants may overlap, and a map of where to,
/// in which they can't: no two forwards have a port of the gate in common.
fn leading(grant: &Grant, forward: &Forward) -> Option<Vec<Element>> {
    let (from, to) = (grant.allow.network(), grant.allow.broadcast());
    let v6 = from.is_ipv6();
    let (first, last) = forward
        .at
        .range()
        .filter(|_| forward.host.is_ipv6() == v6)?;
    let protocol = forward.at.protocol();
    let mut data = Vec::with_capacity(20);
    push_address(&mut data, forward.host);
    let (four, six) = match forward.port {
        Some(port) => {
            push_port(&mut data, port);
            if from == to {
                (Set::Nat4, Set::Nat6)
            } else {
                (Set::Lead4, Set::Lead6)
            }
        }
        None => (Set::Keep4, Set::Keep6),
    };
    let map = if v6 { six } else { four };
    let end = map.intervals().then(|| key(map, to, None, protocol, last));
    let mut elements = vec![Element {
        set: map,
        key: key(map, from, None, protocol, first),
        end,
        data: Some(data),
    }];
    if !matches!(map, Set::Nat4 | Set::Nat6) {
        let who = Set::of(Kind::Ranges, v6, Door::Led);
        let end = Some(key(who, to, None, protocol, last));
        elements.push(Element {
            set: who,
            key: key(who, from, None, protocol, first),
            end,
            data: None,
        });
    }
    Some(elements)
}

fn element(grant: &Grant, door: Door, target: Option<IpAddr>, ports: Ports) -> Option<Element> {
    let (from, to) = (grant.allow.network(), grant.allow.broadcast());
    let v6 = from.is_ipv6();
    if target.is_some_and(|target| target.is_ipv6() != v6)
        || ports.protocol_name() == if v6 { "icmp" } else { "icmpv6" }
    {
        return None;
    }
    let (kind, (first, last)) = match ports.range() {
        Some((first, last)) if from == to && first == last => (Kind::Exact, (first, last)),
        Some(range) => (Kind::Ranges, range),
        None if from == to => (Kind::Icmp, (0, 0)),
        // where a packet with ports has them, ICMP has its checksum
        None => (Kind::Ranges, (0, u16::MAX)),
    };
    let set = Set::of(kind, v6, door);
    let key = key(set, from, target, ports.protocol(), first);
    let end = set
        .ranges()
        .then(|| self::key(set, to, target, ports.protocol(), last));
    Some(Element {
        set,
        key,
        end,
        data: None,
    })
}

/// A key as far as it follows from the grant: all but the rank.
fn key(set: Set, source: IpAddr, target: Option<IpAddr>, protocol: u8, port: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(44);
    for field in set.fields() {
        match (field, target) {
            (Field::Source4 | Field::Source6, _) => push_address(&mut key, source),
            (Field::Target4 | Field::Target6, Some(target)) => push_address(&mut key, target),
            (Field::Protocol, _) => key.extend_from_slice(&[protocol, 0, 0, 0]),
            (Field::Port, _) => push_port(&mut key, port),
            (Field::Target4 | Field::Target6 | Field::Rank | Field::Number, _) => {}
        }
    }
    key
}

fn push_port(key: &mut Vec<u8>, port: u16) {
    key.extend_from_slice(&port.to_be_bytes());
    key.extend_from_slice(&[0, 0]);
}

fn push_address(key: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => key.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => key.extend_from_slice(&address.octets()),
    }
}

impl Element {
    /// An element of the record: part `part` of the grant with this number.
    pub(super) fn record(id: u64, part: u32) -> Self {
        let mut key = id.to_be_bytes().to_vec();
        key.extend_from_slice(&part.to_be_bytes());
        Self {
            set: Set::Record,
            key,
            end: None,
            data: None,
        }
    }

    /// The same range with its own rank, see [`RANK_MIDDLE`].
    pub(super) fn ranked(mut self, rank: u32) -> Self {
        if let (true, Some(end)) = (self.set.ranges(), &mut self.end) {
            self.key
                .extend_from_slice(&RANK_MIDDLE.saturating_sub(rank).to_be_bytes());
            end.extend_from_slice(&RANK_MIDDLE.saturating_add(rank).to_be_bytes());
        }
        self
    }

    /// Steps that make it stand where nothing stood.
    pub(super) fn add(self, until: Timestamp, userdata: Vec<u8>) -> [Step; 1] {
        [self.step(Act::Add { until, userdata })]
    }

    /// Steps that make it stand with a new end, whether it still stood or not. Deleting and adding is right on every kernel; a new
    /// timeout for an element that stands is ignored by those before 6.12.
    pub(super) fn renew(self, until: Timestamp, userdata: Vec<u8>) -> [Step; 3] {
        [
            self.clone().step(Act::Touch),
            self.clone().step(Act::Delete),
            self.step(Act::Add { until, userdata }),
        ]
    }

    /// Steps after which it is gone, whether it still stood or not.
    pub(super) fn clear(self) -> Vec<Step> {
        if self.set.ranges() {
            // touching it would put its old, smaller rank among greater ones
            return vec![self.step(Act::DeleteIfThere)];
        }
        vec![self.clone().step(Act::Touch), self.step(Act::Delete)]
    }

    fn step(self, act: Act) -> Step {
        Step { element: self, act }
    }
}

/// `192.0.2.7 . tcp . 22 of set grants4`, for errors.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, self.set, &self.key)?;
        if let Some(end) = &self.end {
            f.write_str(" to ")?;
            write_key(f, self.set, end)?;
        }
        write!(f, " of set {}", self.set.name())
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, set: Set, mut key: &[u8]) -> fmt::Result {
    for (index, field) in set.fields().iter().enumerate() {
        let (bytes, rest) = key
            .split_at_checked(field.padded_len() as usize)
            .unwrap_or((key, &[]));
        key = rest;
        if index > 0 && !bytes.is_empty() {
            f.write_str(" . ")?;
        }
        match (field, bytes) {
            (_, []) => {}
            (Field::Protocol, [protocol, ..]) => write!(f, "protocol {protocol}")?,
            (Field::Port, [high, low, ..]) => write!(f, "{}", u16::from_be_bytes([*high, *low]))?,
            (Field::Source4 | Field::Target4, [a, b, c, d]) => write!(f, "{a}.{b}.{c}.{d}")?,
            (Field::Source6 | Field::Target6, bytes) => match <[u8; 16]>::try_from(bytes) {
                Ok(octets) => write!(f, "{}", std::net::Ipv6Addr::from(octets))?,
                Err(_) => write!(f, "{bytes:?}")?,
            },
            (_, bytes) => write!(
                f,
                "{}",
                bytes
                    .iter()
                    .fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
            )?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::grant::GrantId;

    fn grant(allow: &str, target: Option<&str>, services: &[&str]) -> Grant {
        Grant {
            id: GrantId(7),
            user: "alice".to_owned(),
            allow: allow.parse().unwrap(),
            target: target.map(|target| target.parse().unwrap()),
            services: services.iter().map(|text| text.parse().unwrap()).collect(),
            forwards: Vec::new(),
            until: Timestamp::from_millis(1),
        }
    }

    #[test]
    fn one_address_and_port_is_an_exact_key_of_padded_words() {
        let elements = of(&grant("192.0.2.7/32", None, &["tcp/22"]));
        assert_eq!(
            elements,
            [Element {
                set: Set::Grants4,
                key: vec![192, 0, 2, 7, 6, 0, 0, 0, 0, 22, 0, 0],
                end: None,
                data: None
            }]
        );
        assert_eq!(
            elements[0].to_string(),
            "192.0.2.7 . protocol 6 . 22 of set grants4"
        );
    }

    #[test]
    fn a_network_or_a_range_of_ports_goes_from_corner_to_corner_with_its_rank() {
        let [element]: [Element; 1] =
            of(&grant("2001:db8::/32", Some("fd00::1"), &["udp/500-510"]))
                .try_into()
                .unwrap();
        assert_eq!(element.set, Set::ForwardNetworks6);
        let element = element.ranked(3);
        assert_eq!(element.key.len(), 44);
        assert_eq!(element.key[36..], [1, 244, 0, 0, 0x80, 0, 0, 0x7d]);
        assert_eq!(
            element.end.as_ref().unwrap()[36..],
            [1, 254, 0, 0, 0x80, 0, 0, 0x83]
        );
        assert_eq!(
            of(&grant("192.0.2.7/32", None, &["tcp/20-30"]))[0].set,
            Set::Networks4
        );
        assert_eq!(
            of(&grant("192.0.2.0/24", None, &["icmp"]))[0].set,
            Set::Networks4
        );
        assert_eq!(
            of(&grant("192.0.2.7/32", None, &["icmp"]))[0],
            Element {
                set: Set::Icmp4,
                key: vec![192, 0, 2, 7],
                end: None,
                data: None
            }
        );
    }

    #[test]
    fn every_key_has_the_length_of_its_set() {
        for (allow, target) in [
            ("192.0.2.7/32", "10.0.0.1"),
            ("2001:db8::7/128", "fd00::1"),
            ("10.0.0.0/8", "10.0.0.1"),
            ("fd00::/8", "fd00::1"),
        ] {
            for target in [None, Some(target)] {
                for element in of(&grant(
                    allow,
                    target,
                    &["tcp/22", "udp/20-30", "icmp", "icmpv6"],
                )) {
                    let element = element.ranked(1);
                    assert_eq!(
                        element.key.len(),
                        element.set.key_len() as usize,
                        "{element}"
                    );
                    assert_eq!(element.end.is_some(), element.set.ranges());
                }
            }
        }
    }

    #[test]
    fn a_forward_leads_to_its_host_and_opens_what_came_through() {
        let through = |allow: &str, at: &str, host: &str, port, masquerade| {
            let forward =
                Forward::new(at.parse().unwrap(), host.parse().unwrap(), port, masquerade).unwrap();
            let elements = of(&Grant {
                forwards: vec![forward],
                ..grant(allow, None, &[])
            });
            assert!(elements.iter().all(
                |element| element.clone().ranked(1).key.len() == element.set.key_len() as usize
            ));
            elements
        };
        let sets = |elements: &[Element]| {
            elements
                .iter()
                .map(|element| element.set)
                .collect::<Vec<_>>()
        };
        let exact = through("192.0.2.7/32", "tcp/2222", "10.0.0.5", Some(22), true);
        assert_eq!(sets(&exact), [Set::Nat4, Set::Through4, Set::Masquerade4]);
        assert_eq!(exact[0].data, Some(vec![10, 0, 0, 5, 0, 22, 0, 0]));
        assert_eq!(exact[0].key, [192, 0, 2, 7, 6, 0, 0, 0, 8, 174, 0, 0]);
        assert_eq!(
            exact[1].to_string(),
            "192.0.2.7 . 10.0.0.5 . protocol 6 . 22 of set through4"
        );
        let network = through("2001:db8::/64", "tcp/2222", "fd00::5", Some(22), false);
        assert_eq!(
            sets(&network),
            [Set::Led6, Set::Lead6, Set::ThroughNetworks6]
        );
        assert_eq!(network[1].data.as_ref().unwrap().len(), 20);
        let range = through("192.0.2.7/32", "udp/500-510", "10.0.0.5", None, false);
        assert_eq!(
            (sets(&range), range[1].data.as_ref().unwrap().len()),
            (vec![Set::Led4, Set::Keep4, Set::ThroughNetworks4], 4)
        );
        assert!(through("192.0.2.7/32", "tcp/2222", "fd00::5", Some(22), true).is_empty());
    }

    #[test]
    fn what_can_never_match_has_no_element_and_what_is_said_twice_has_one() {
        assert!(of(&grant("192.0.2.7/32", None, &["icmpv6"])).is_empty());
        assert!(of(&grant("2001:db8::7/128", None, &["icmp"])).is_empty());
        assert!(of(&grant("2001:db8::7/128", Some("10.0.0.1"), &["tcp/22"])).is_empty());
        assert_eq!(
            of(&grant("192.0.2.7/32", None, &["tcp/22", "tcp/22"])).len(),
            1
        );
    }
}
