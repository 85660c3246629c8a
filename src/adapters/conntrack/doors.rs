//! Which connection rests on which grant: the question that is asked of every entry in the kernel's table.
//!
//! Grants are found by the network that they let in, so that thousands of them cost no more than the prefix lengths among them.
//! Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::catalog::Forward;
use crate::model::grant::Grant;
use crate::model::service::Ports;

/// A connection from outside, as far as a grant has a say in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// IANA protocol number.
    pub protocol: u8,
    /// Who began it.
    pub source: IpAddr,
    /// The host that it reaches, behind any translation of addresses; `None`: the gate itself.
    pub target: Option<IpAddr>,
    /// The port that it reaches; 0 where the protocol has none.
    pub port: u16,
}

/// Grants by the network that they let in.
#[derive(Debug, Default)]
pub(super) struct Doors<'a> {
    by_network: HashMap<IpNet, Vec<&'a Grant>>,
    lengths: BTreeSet<u8>,
}

impl<'a> Doors<'a> {
    pub(super) fn of(grants: impl IntoIterator<Item = &'a Grant>) -> Self {
        let mut doors = Self::default();
        for grant in grants {
            doors
                .by_network
                .entry(grant.allow.trunc())
                .or_default()
                .push(grant);
            doors.lengths.insert(grant.allow.prefix_len());
        }
        doors
    }

    /// Whether one of the grants lets this connection through.
    pub(super) fn admit(&self, connection: &Connection) -> bool {
        let networks = self
            .lengths
            .iter()
            .filter_map(|length| IpNet::new(connection.source, *length).ok());
        let mut grants = networks
            .filter_map(|network| self.by_network.get(&network.trunc()))
            .flatten();
        grants.any(|grant| lets_through(grant, connection))
    }
}

fn lets_through(grant: &Grant, connection: &Connection) -> bool {
    let holds = |ports: Ports| ports.hold(connection.protocol, connection.port);
    let is_led =
        |forward: &Forward| connection.target == Some(forward.host) && holds(forward.inner());
    (grant.target == connection.target && grant.services.iter().any(|ports| holds(*ports)))
        || grant.forwards.iter().any(is_led)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::grant::GrantId;
    use crate::model::time::Timestamp;

    fn grant(allow: &str, target: Option<&str>, services: &[&str]) -> Grant {
        Grant {
            id: GrantId(1),
            user: "alice".to_owned(),
            allow: allow.parse().unwrap(),
            target: target.map(|target| target.parse().unwrap()),
            services: services.iter().map(|text| text.parse().unwrap()).collect(),
            forwards: Vec::new(),
            until: Timestamp::default(),
        }
    }

    fn connection(protocol: u8, source: &str, target: Option<&str>, port: u16) -> Connection {
        Connection {
            protocol,
            source: source.parse().unwrap(),
            target: target.map(|target| target.parse().unwrap()),
            port,
        }
    }

    #[test]
    fn a_connection_rests_on_a_grant_by_source_protocol_port_and_target() {
        let grants = [
            grant("192.0.2.0/28", None, &["tcp/22", "udp/5000-5010", "icmp"]),
            grant("2001:db8::7/128", None, &["tcp/22"]),
        ];
        let doors = Doors::of(&grants);
        for (protocol, source, port) in [
            (6, "192.0.2.0", 22),
            (6, "192.0.2.15", 22),
            (17, "192.0.2.7", 5010),
            (1, "192.0.2.7", 0),
            (6, "2001:db8::7", 22),
        ] {
            assert!(
                doors.admit(&connection(protocol, source, None, port)),
                "{source} {protocol}/{port}"
            );
            assert!(
                !doors.admit(&connection(protocol, source, Some("10.0.0.5"), port)),
                "a grant to the gate opens no other host"
            );
        }
        for (protocol, source, port) in [
            (6, "192.0.2.16", 22),
            (17, "192.0.2.7", 22),
            (6, "192.0.2.7", 23),
            (17, "192.0.2.7", 5011),
            (6, "2001:db8::8", 22),
            (58, "2001:db8::7", 0),
        ] {
            assert!(
                !doors.admit(&connection(protocol, source, None, port)),
                "{source} {protocol}/{port}"
            );
        }
    }

    #[test]
    fn a_grant_to_a_host_behind_the_gate_covers_that_host_alone() {
        let grants = [grant("192.0.2.7/32", Some("10.0.0.5"), &["tcp/443"])];
        let doors = Doors::of(&grants);
        assert!(doors.admit(&connection(6, "192.0.2.7", Some("10.0.0.5"), 443)));
        assert!(!doors.admit(&connection(6, "192.0.2.7", Some("10.0.0.6"), 443)));
        assert!(!doors.admit(&connection(6, "192.0.2.7", None, 443)));
    }

    #[test]
    fn a_grant_with_a_forward_covers_what_its_port_leads_to() {
        let mut through = grant("192.0.2.7/32", None, &[]);
        through.forwards = vec![
            Forward::new(
                "tcp/2222".parse().unwrap(),
                "10.0.0.5".parse().unwrap(),
                Some(22),
                true,
            )
            .unwrap(),
        ];
        let grants = [through];
        let doors = Doors::of(&grants);
        assert!(doors.admit(&connection(6, "192.0.2.7", Some("10.0.0.5"), 22)));
        assert!(!doors.admit(&connection(6, "192.0.2.7", Some("10.0.0.6"), 22)));
        assert!(
            !doors.admit(&connection(6, "192.0.2.7", None, 2222))
                && !doors.admit(&connection(6, "192.0.2.8", Some("10.0.0.5"), 22))
        );
    }

    #[test]
    fn one_of_many_grants_of_all_widths_is_found() {
        let grants = [
            grant("0.0.0.0/0", None, &["udp/53"]),
            grant("192.0.2.0/24", None, &["tcp/80"]),
            grant("192.0.2.7/32", None, &["tcp/22"]),
        ];
        let doors = Doors::of(&grants);
        assert!(
            [(17, 53), (6, 80), (6, 22)].into_iter().all(
                |(protocol, port)| doors.admit(&connection(protocol, "192.0.2.7", None, port))
            )
        );
        assert!(!doors.admit(&connection(6, "192.0.2.8", None, 22)));
        assert!(!Doors::default().admit(&connection(6, "192.0.2.8", None, 22)));
    }
}
