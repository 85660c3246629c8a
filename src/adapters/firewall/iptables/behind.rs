//! The rules for hosts behind the gate: what is closed there, what lives on, and how a port of the gate leads to one of them.
//!
//! Owns the language of table nat, and of connection tracking where it says more than a packet. Pure.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::rules::{DNAT, FORWARD, FORWARD_GRANTS, Family, SNAT, service};
use crate::model::catalog::Forward;
use crate::model::grant::Grant;
use crate::model::service::Ports;
use crate::model::settings::Protection;

/// The rules of [`FORWARD`], in order: grants, what is established, protection.
pub(super) fn chain_rules(family: Family, protection: &Protection) -> Vec<String> {
    let own =
        |(network, ports): &&(IpNet, Ports)| Family::of(network) == family && family.knows(*ports);
    let mut rules = vec![format!("{FORWARD} -j {FORWARD_GRANTS}")];
    rules.extend(
        protection
            .behind
            .iter()
            .filter(own)
            .map(|(network, ports)| established(network, *ports)),
    );
    if protection.hide_behind {
        rules.extend(
            protection
                .behind
                .iter()
                .filter(own)
                .map(|(network, ports)| closed(family, network, *ports)),
        );
    }
    rules
}

/// Both directions of connections to these ports, and the ICMP errors that belong to them: what they are is asked of the connection,
/// by the side that answers. All else that is forwarded is left to the host's own rules.
fn established(network: &IpNet, ports: Ports) -> String {
    let port = ports
        .range()
        .map(|range| format!(" --ctreplsrcport {}", text(range)))
        .unwrap_or_default();
    let protocol = ports.protocol();
    format!(
        "{FORWARD} -m conntrack --ctstate RELATED,ESTABLISHED --ctproto {protocol} --ctreplsrc {network}{port} -j ACCEPT"
    )
}

/// What is established is left to the host's own rules: it may be the answer to what a host behind the gate began from such a port, as
/// time servers and tunnels do.
fn closed(family: Family, network: &IpNet, ports: Ports) -> String {
    format!(
        "{FORWARD} -d {network} {} -m conntrack ! --ctstate ESTABLISHED -j DROP",
        service(family, ports)
    )
}

/// The rules of a grant that let it through a forward; `until` is the matches that end and name it. The host behind opens only for
/// connections that came to the gate's own port.
pub(super) fn forward_rules(grant: &Grant, forward: &Forward, until: &str) -> Vec<String> {
    let family = Family::of(&grant.allow);
    let (from, to) = (grant.allow.trunc(), IpNet::from(forward.host));
    let came = forward
        .at
        .range()
        .map(|range| format!(" --ctorigdstport {}", text(range)))
        .unwrap_or_default();
    let inner = format!(
        "-s {from} -d {to} {} -m conntrack --ctstate DNAT{came}{until}",
        service(family, forward.inner())
    );
    let place = match forward.port {
        Some(port) => SocketAddr::new(forward.host, port).to_string(),
        None => forward.host.to_string(),
    };
    let outer = format!(
        "-s {from} {} -m addrtype --dst-type LOCAL{until}",
        service(family, forward.at)
    );
    let mut rules = vec![
        format!("{FORWARD_GRANTS} {inner} -j ACCEPT"),
        format!("{DNAT} {outer} -j DNAT --to-destination {place}"),
    ];
    if forward.masquerade {
        rules.push(format!("{SNAT} {inner} -j MASQUERADE"));
    }
    rules
}

fn text((first, last): (u16, u16)) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}:{last}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Abilities, chains_of, grant_rules};
    use super::*;
    use crate::adapters::firewall::iptables::tests::{forward, grant, protection};

    #[test]
    fn what_users_may_open_behind_the_gate_is_closed_and_only_its_own_connections_live_on() {
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
            chain_rules(Family::V4, &protection),
            [
                "POSTERN-FWD -j POSTERN-FWD-GRANTS",
                "POSTERN-FWD -m conntrack --ctstate RELATED,ESTABLISHED --ctproto 6 --ctreplsrc 10.0.0.0/24 --ctreplsrcport 20:25 -j ACCEPT",
                "POSTERN-FWD -m conntrack --ctstate RELATED,ESTABLISHED --ctproto 1 --ctreplsrc 10.0.0.0/24 -j ACCEPT",
                "POSTERN-FWD -d 10.0.0.0/24 -p tcp -m tcp --dport 20:25 -m conntrack ! --ctstate ESTABLISHED -j DROP",
                "POSTERN-FWD -d 10.0.0.0/24 -p icmp -m icmp --icmp-type echo-request -m conntrack ! --ctstate ESTABLISHED -j DROP",
            ]
        );
        assert_eq!(chain_rules(Family::V6, &protection).len(), 3);
        protection.hide_behind = false;
        assert!(
            chain_rules(Family::V4, &protection)
                .iter()
                .all(|rule| !rule.contains("DROP"))
        );
    }

    #[test]
    fn a_forward_is_translated_for_its_client_alone_and_only_at_the_gates_own_addresses() {
        let mut through = grant(7, "al", "192.0.2.7/32", &[]);
        through.forwards = vec![
            forward("tcp/2222", "10.0.0.5", Some(22), true),
            forward("udp/500-510", "10.0.0.6", None, false),
        ];
        let rules = grant_rules(&through, Abilities::default()).unwrap();
        let comment = "-m comment --comment \"postern id=7 user=al until=1795341600000\"";
        let inner = format!(
            "-s 192.0.2.7/32 -d 10.0.0.5/32 -p tcp -m tcp --dport 22 -m conntrack --ctstate DNAT --ctorigdstport 2222 {comment}"
        );
        let local = "-m addrtype --dst-type LOCAL";
        assert_eq!(
            rules,
            [
                format!("POSTERN-FWD-GRANTS {inner} -j ACCEPT"),
                format!(
                    "POSTERN-DNAT -s 192.0.2.7/32 -p tcp -m tcp --dport 2222 {local} {comment} -j DNAT --to-destination 10.0.0.5:22"
                ),
                format!("POSTERN-SNAT {inner} -j MASQUERADE"),
                format!(
                    "POSTERN-FWD-GRANTS -s 192.0.2.7/32 -d 10.0.0.6/32 -p udp -m udp --dport 500:510 -m conntrack --ctstate DNAT --ctorigdstport 500:510 {comment} -j ACCEPT"
                ),
                format!(
                    "POSTERN-DNAT -s 192.0.2.7/32 -p udp -m udp --dport 500:510 {local} {comment} -j DNAT --to-destination 10.0.0.6"
                ),
            ]
        );
        assert_eq!(chains_of(&through), [FORWARD_GRANTS, DNAT, SNAT]);
        through.forwards = vec![forward("tcp/2222", "fd00::5", Some(22), false)];
        assert!(
            grant_rules(&through, Abilities::default())
                .unwrap_err()
                .contains("other address family")
        );
    }
}
