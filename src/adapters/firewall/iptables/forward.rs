//! The rules for hosts behind the gate: protection, established connections, and port forwards.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::chains::{DNAT, FORWARD, FORWARD_GRANTS, SNAT};
use super::matches::{has_protocol, port_range, service};
use crate::model::address::Family;
use crate::model::catalog::Forward;
use crate::model::grant::Grant;
use crate::model::service::Ports;
use crate::model::settings::Protection;

/// The rules of [`FORWARD`], in order: grants, established connections, protection.
pub(super) fn protection_rules(family: Family, protection: &Protection) -> Vec<String> {
    let own: Vec<&(IpNet, Ports)> = protection
        .behind
        .iter()
        .filter(|(network, ports)| {
            Family::of_network(*network) == family && has_protocol(family, *ports)
        })
        .collect();
    let mut rules = vec![format!("{FORWARD} -j {FORWARD_GRANTS}")];
    rules.extend(
        own.iter()
            .map(|(network, ports)| established(network, *ports)),
    );
    if protection.hide_behind {
        rules.extend(
            own.iter()
                .map(|(network, ports)| closed(family, network, *ports)),
        );
    }
    rules
}

/// Both directions of connections to these ports, and their ICMP errors. The match is on the side that answers. The host's
/// own rules decide about all other forwarded packets.
fn established(network: &IpNet, ports: Ports) -> String {
    let port = ports
        .range()
        .map(|range| format!(" --ctreplsrcport {}", port_range(range)))
        .unwrap_or_default();
    let protocol = ports.protocol();
    format!(
        "{FORWARD} -m conntrack --ctstate RELATED,ESTABLISHED --ctproto {protocol} --ctreplsrc {network}{port} -j ACCEPT"
    )
}

/// The host's own rules decide about established connections. A host behind the gate may itself have sent the request from
/// such a port, as time servers and tunnels do.
fn closed(family: Family, network: &IpNet, ports: Ports) -> String {
    format!(
        "{FORWARD} -d {network} {} -m conntrack ! --ctstate ESTABLISHED -j DROP",
        service(family, ports)
    )
}

/// The rules of a grant for one port forward. `end` is the matches for the end and the comment. The host behind the gate
/// accepts only connections that came to the gate's own port.
pub(super) fn grant_rules(grant: &Grant, forward: &Forward, end: &str) -> Vec<String> {
    let family = Family::of_network(grant.allow);
    let (from, to) = (grant.allow.trunc(), IpNet::from(forward.host));
    let gate_port = forward
        .at
        .range()
        .map(|range| format!(" --ctorigdstport {}", port_range(range)))
        .unwrap_or_default();
    let inner = format!(
        "-s {from} -d {to} {} -m conntrack --ctstate DNAT{gate_port}{end}",
        service(family, forward.inner())
    );
    let destination = match forward.port {
        Some(port) => SocketAddr::new(forward.host, port).to_string(),
        None => forward.host.to_string(),
    };
    let outer = format!(
        "-s {from} {} -m addrtype --dst-type LOCAL{end}",
        service(family, forward.at)
    );
    let mut rules = vec![
        format!("{FORWARD_GRANTS} {inner} -j ACCEPT"),
        format!("{DNAT} {outer} -j DNAT --to-destination {destination}"),
    ];
    if forward.masquerade {
        rules.push(format!("{SNAT} {inner} -j MASQUERADE"));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::firewall::iptables::tests::protection;

    #[test]
    fn behind_the_gate_only_own_connections_stay() {
        let mut protection = protection(&[]);
        protection.behind = [
            ("10.0.0.0/24", "tcp/20-25"),
            ("10.0.0.0/24", "icmp"),
            ("10.0.0.0/24", "icmpv6"),
            ("fd00::5/128", "udp/53"),
        ]
        .map(|(network, ports)| (network.parse().unwrap(), ports.parse().unwrap()))
        .into();
        assert_eq!(
            protection_rules(Family::V4, &protection),
            [
                "POSTERN-FWD -j POSTERN-FWD-GRANTS",
                "POSTERN-FWD -m conntrack --ctstate RELATED,ESTABLISHED --ctproto 6 --ctreplsrc 10.0.0.0/24 --ctreplsrcport 20:25 -j ACCEPT",
                "POSTERN-FWD -m conntrack --ctstate RELATED,ESTABLISHED --ctproto 1 --ctreplsrc 10.0.0.0/24 -j ACCEPT",
                "POSTERN-FWD -d 10.0.0.0/24 -p tcp -m tcp --dport 20:25 -m conntrack ! --ctstate ESTABLISHED -j DROP",
                "POSTERN-FWD -d 10.0.0.0/24 -p icmp -m icmp --icmp-type echo-request -m conntrack ! --ctstate ESTABLISHED -j DROP",
            ]
        );
        assert_eq!(protection_rules(Family::V6, &protection).len(), 3);
        protection.hide_behind = false;
        assert!(
            protection_rules(Family::V4, &protection)
                .iter()
                .all(|rule| !rule.contains("DROP"))
        );
    }
}
