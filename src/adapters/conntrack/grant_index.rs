//! Which connections depend on which grants.
//!
//! Grants are found by their allow network. A look-up costs one step for each prefix length in use, however many
//! grants there are. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::catalog::Forward;
use crate::model::grant::Grant;
use crate::model::service::Ports;

/// A connection from outside.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) protocol: u8,
    pub(super) source: IpAddr,
    /// The host that it reaches, after any translation of addresses; `None` for the gate itself.
    pub(super) target: Option<IpAddr>,
    /// The port that it reaches; 0 if the protocol has no ports.
    pub(super) port: u16,
    /// The port that it was made to, before any translation.
    pub(super) outer: u16,
}

#[derive(Debug, Default)]
pub(super) struct GrantIndex<'a> {
    by_network: HashMap<IpNet, Vec<&'a Grant>>,
    prefix_lengths: BTreeSet<u8>,
}

impl<'a> GrantIndex<'a> {
    pub(super) fn new(grants: impl IntoIterator<Item = &'a Grant>) -> Self {
        let mut index = Self::default();
        for grant in grants {
            let network = grant.allow.trunc();
            index.by_network.entry(network).or_default().push(grant);
            index.prefix_lengths.insert(network.prefix_len());
        }
        index
    }

    pub(super) fn covers(&self, connection: &Connection) -> bool {
        self.prefix_lengths
            .iter()
            .filter_map(|length| IpNet::new(connection.source, *length).ok())
            .filter_map(|network| self.by_network.get(&network.trunc()))
            .flatten()
            .any(|grant| covers(grant, connection))
    }
}

fn covers(grant: &Grant, connection: &Connection) -> bool {
    let has_port = |ports: Ports| ports.hold(connection.protocol, connection.port);
    let is_forwarded = |forward: &Forward| {
        let came_there = forward.at.hold(connection.protocol, connection.outer);
        let fits = forward.host.is_some() || came_there;
        connection.target == forward.host && has_port(forward.inner()) && fits
    };
    (grant.target == connection.target && grant.services.iter().any(|ports| has_port(*ports)))
        || grant.forwards.iter().any(is_forwarded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;

    fn grant(allow: &str, target: Option<&str>, services: &[&str]) -> Grant {
        Grant {
            target: target.map(|target| target.parse().unwrap()),
            ..fixture::grant(1, "alice", allow, services)
        }
    }

    /// Each row: protocol, source, target, port, and whether a grant covers it.
    type Row<'a> = (u8, &'a str, Option<&'a str>, u16, bool);

    fn check(grants: &[Grant], rows: &[Row<'_>]) {
        let index = GrantIndex::new(grants);
        for row in rows {
            let (protocol, source, target, port, expected) = *row;
            let connection = Connection {
                protocol,
                source: source.parse().unwrap(),
                target: target.map(|target| target.parse().unwrap()),
                port,
                outer: port,
            };
            assert_eq!(index.covers(&connection), expected, "{row:?}");
        }
    }

    #[test]
    fn grant_covers_source_protocol_port_and_target() {
        let behind = Some("10.0.0.5");
        let grants = [
            grant("192.0.2.0/28", None, &["tcp/22", "udp/5000-5010", "icmp"]),
            grant("2001:db8::7/128", None, &["tcp/22"]),
            grant("192.0.2.9/32", behind, &["tcp/443"]),
            grant("0.0.0.0/0", None, &["udp/53"]),
        ];
        let rows = [
            (6, "192.0.2.0", None, 22, true),
            (6, "192.0.2.15", None, 22, true),
            (6, "192.0.2.15", behind, 22, false),
            (17, "192.0.2.7", None, 5010, true),
            (17, "198.51.100.1", None, 53, true),
            (1, "192.0.2.7", None, 0, true),
            (6, "2001:db8::7", None, 22, true),
            (6, "192.0.2.16", None, 22, false),
            (17, "192.0.2.7", None, 22, false),
            (6, "192.0.2.7", None, 23, false),
            (17, "192.0.2.7", None, 5011, false),
            (6, "2001:db8::8", None, 22, false),
            (58, "2001:db8::7", None, 0, false),
            (6, "192.0.2.9", behind, 443, true),
            (6, "192.0.2.9", Some("10.0.0.6"), 443, false),
            (6, "192.0.2.9", None, 443, false),
        ];
        check(&grants, &rows);
        check(&[], &[(6, "192.0.2.0", None, 22, false)]);
    }

    #[test]
    fn forward_covers_the_redirected_host() {
        let mut grant = grant("192.0.2.7/32", None, &[]);
        let (at, host) = ("tcp/2222".parse().unwrap(), "10.0.0.5".parse().unwrap());
        grant.forwards = vec![Forward::new(at, host, Some(22), true).unwrap()];
        let rows = [
            (6, "192.0.2.7", Some("10.0.0.5"), 22, true),
            (6, "192.0.2.7", Some("10.0.0.6"), 22, false),
            (6, "192.0.2.7", None, 2222, false),
            (6, "192.0.2.8", Some("10.0.0.5"), 22, false),
        ];
        check(&[grant], &rows);
    }

    #[test]
    fn redirect_covers_only_what_came_to_its_port() {
        let mut grant = grant("192.0.2.7/32", None, &[]);
        let [at, to] = ["tcp/2222", "tcp/22"].map(|ports| ports.parse().unwrap());
        grant.forwards = vec![Forward::redirect(at, to).unwrap()];
        let index = GrantIndex::new([&grant]);
        for (port, outer, expected) in [(22, 2222, true), (22, 22, false), (2222, 2222, false)] {
            let connection = Connection {
                protocol: 6,
                source: "192.0.2.7".parse().unwrap(),
                target: None,
                port,
                outer,
            };
            assert_eq!(index.covers(&connection), expected, "{outer} to {port}");
        }
    }
}
