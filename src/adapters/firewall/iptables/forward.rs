//! The rules for hosts behind the gate: protection, established connections, and port forwards, also to the gate itself.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::chains::{DNAT, FORWARD, FORWARD_GRANTS, INPUT_GRANTS, MARK, SNAT};
use super::marks::{Marked, granted, if_live};
use super::matches::{has_protocol, log_some, port_range, reused_port, service};
use crate::model::address::Family;
use crate::model::catalog::Forward;
use crate::model::grant::Grant;
use crate::model::packet_mark::PacketMark;
use crate::model::service::Ports;
use crate::model::settings::Protection;

/// The rules of [`FORWARD`], in order: grants, replies, protection.
pub(super) fn protection_rules(
    family: Family,
    protection: &Protection,
    in_sets: bool,
) -> Vec<String> {
    let own = protection.behind.iter().filter(|(network, ports)| {
        Family::of_network(*network) == family && has_protocol(family, *ports)
    });
    let marked = Marked::where_host_cuts_established(protection.marking.established_behind);
    let mark = protection.packet_mark;
    let mut rules: Vec<String> = granted(FORWARD, FORWARD_GRANTS, mark, marked, in_sets).collect();
    let known = own.clone();
    if protection.hide_behind {
        rules.extend(own.clone().filter_map(|(network, ports)| {
            let matches = format!("{FORWARD} -d {network} {}", service(family, *ports));
            reused_port(&matches, *ports)
        }));
    }
    rules.extend(known.flat_map(|(network, ports)| replies(family, network, *ports)));
    if protection.hide_behind {
        rules.extend(own.flat_map(|(network, ports)| {
            let matches = closed(family, network, *ports);
            let log = log_some(&matches, protection.nflog_group).into_iter();
            log.chain([format!("{matches} -j DROP")])
        }));
    }
    rules
}

/// What hosts behind the gate answer from these ports. The host's own rules decide about all other forwarded packets, also
/// those of clients whose grant is over.
fn replies(family: Family, network: &IpNet, ports: Ports) -> [String; 2] {
    let port = port_match("--ctreplsrcport", ports);
    let protocol = ports.protocol();
    let icmp = family.pick("icmp", "ipv6-icmp");
    // Only ICMP errors: other related packets open connections.
    [("", "ESTABLISHED"), (icmp, "RELATED")].map(|(carried, state)| {
        let carried = match carried {
            "" => String::new(),
            carried => format!("-p {carried} "),
        };
        format!(
            "{FORWARD} {carried}-m conntrack --ctstate {state} --ctproto {protocol} --ctreplsrc {network}{port} --ctdir REPLY -j ACCEPT"
        )
    })
}

fn port_match(option: &str, ports: Ports) -> String {
    let port = |range| format!(" {option} {}", port_range(range));
    ports.range().map(port).unwrap_or_default()
}

/// The host's own rules decide about established connections. A host behind the gate may itself have sent the request from
/// such a port, as time servers and tunnels do.
fn closed(family: Family, network: &IpNet, ports: Ports) -> String {
    format!(
        "{FORWARD} -d {network} {} -m conntrack ! --ctstate ESTABLISHED",
        service(family, ports)
    )
}

/// The rules of a grant for one port forward. `end` is the matches for the end and the comment. Only connections that came to
/// the gate's own port are accepted where it leads.
pub(super) fn grant_rules(
    grant: &Grant,
    forward: &Forward,
    live: Option<PacketMark>,
    end: &str,
) -> Vec<String> {
    let family = Family::of_network(grant.allow);
    let from = grant.allow.trunc();
    let gate_port = port_match("--ctorigdstport", forward.at);
    let to = forward
        .host
        .map(|host| format!("-d {} ", IpNet::from(host)));
    let inner = format!(
        "-s {from} {}{} -m conntrack --ctstate DNAT{gate_port}{end}",
        to.unwrap_or_default(),
        service(family, forward.inner())
    );
    let (enters, target) = match (forward.host, forward.port) {
        (Some(host), Some(port)) => {
            let place = SocketAddr::new(host, port);
            (FORWARD_GRANTS, format!("DNAT --to-destination {place}"))
        }
        (Some(host), None) => (FORWARD_GRANTS, format!("DNAT --to-destination {host}")),
        (None, port) => {
            let port = port.unwrap_or_default();
            (INPUT_GRANTS, format!("REDIRECT --to-ports {port}"))
        }
    };
    let outer = format!(
        "-s {from} {} -m addrtype --dst-type LOCAL{}{end}",
        service(family, forward.at),
        if_live(live)
    );
    let mut rules = vec![
        format!("{enters} {inner} -g {MARK}"),
        format!("{DNAT} {outer} -j {target}"),
    ];
    if forward.masquerade {
        rules.push(format!("{SNAT} {inner} -j MASQUERADE"));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn related_replies_are_icmp_errors_only() {
        let network = "10.0.0.0/24".parse().unwrap();
        let [known, related] = replies(Family::V6, &network, "tcp/80".parse().unwrap());
        assert!(known.contains("--ctstate ESTABLISHED --ctproto"), "{known}");
        assert!(
            related.contains("-p ipv6-icmp -m conntrack --ctstate RELATED "),
            "{related}"
        );
    }
}
