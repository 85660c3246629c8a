//! The text of every rule that Postern writes. A line is `CHAIN MATCHES -j TARGET`; the caller puts `-A` or `-D` before it.

use ipnet::IpNet;

use super::chains::{INPUT, INPUT_GRANTS, service_chain};
use super::comment::Comment;
use super::forward;
use super::matches::{has_protocol, last_second, service};
use crate::adapters::firewall::FirewallError;
use crate::model::address::Family;
use crate::model::grant::Grant;
use crate::model::settings::Protection;

/// One rule for each service of a grant, and the rules of its port forwards. `kernel_ends` adds the end of the grant.
pub(super) fn grant_rules(grant: &Grant, kernel_ends: bool) -> Result<Vec<String>, FirewallError> {
    let comment = Comment::new(grant).ok_or_else(|| {
        FirewallError(format!(
            "grant {}: its user name is not 1 to 64 of A-Z a-z 0-9 . _ @ -",
            grant.id
        ))
    })?;
    let unsupported = |why: &str| FirewallError(format!("{grant}: {why}"));
    if grant.services.is_empty() && grant.forwards.is_empty() {
        return Err(unsupported("a grant without services opens nothing"));
    }
    let family = Family::of_network(grant.allow);
    let mut matches = format!("{} -s {}", service_chain(grant), grant.allow.trunc());
    if let Some(target) = grant.target {
        if Family::of(target) != family {
            return Err(unsupported(
                "its target has another address family than its allow address",
            ));
        }
        matches.push_str(&format!(" -d {}", IpNet::from(target)));
    }
    let stop = kernel_ends.then(|| last_second(grant.until)).flatten();
    let stop = stop.map_or(String::new(), |stop| format!(" -m time --datestop {stop}"));
    let end = format!("{stop} -m comment --comment \"{comment}\"");
    let mut rules: Vec<String> = grant
        .services
        .iter()
        .map(|ports| format!("{matches} {}{end} -j ACCEPT", service(family, *ports)))
        .collect();
    for forward in &grant.forwards {
        if Family::of(forward.host) != family {
            return Err(unsupported(
                "it forwards to a host of another address family than its allow address",
            ));
        }
        rules.extend(forward::grant_rules(grant, forward, &end));
    }
    Ok(rules)
}

pub(super) fn protection_rules(family: Family, protection: &Protection) -> Vec<String> {
    // A dropped knock causes no "port unreachable" (invariant 9). The packet socket sees it before netfilter does.
    let verdict = if protection.silence_knocks {
        "DROP"
    } else {
        "ACCEPT"
    };
    let knocks = protection
        .knock_ports
        .iter()
        .map(|port| format!("{INPUT} -p udp -m udp --dport {port} -j {verdict}"));
    let grants = format!("{INPUT} -j {INPUT_GRANTS}");
    // conntrack knows connections from before the installation: the monitor tells it about them first.
    let services = protection
        .services
        .iter()
        .filter(|ports| has_protocol(family, **ports))
        .map(|ports| format!("{INPUT} {}", service(family, *ports)))
        .flat_map(|matches| {
            [
                format!("{matches} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"),
                format!("{matches} -j DROP"),
            ]
        });
    knocks.chain([grants]).chain(services).collect()
}

#[cfg(test)]
mod tests {
    use super::super::chains::{DNAT, FORWARD_GRANTS, SNAT, chains_of};
    use super::*;
    use crate::adapters::firewall::iptables::tests::{forward, grant, protection};

    #[test]
    fn grant_has_one_rule_for_each_service() {
        let services = ["tcp/22", "udp/5000-5010", "icmp", "icmpv6"];
        let tail = "-m time --datestop 2026-11-22T09:59:59 -m comment --comment \"postern id=7 user=al@x until=1795341600000\" -j ACCEPT";
        assert_eq!(
            grant_rules(&grant(7, "al@x", "192.0.2.0/24", &services), true).unwrap(),
            [
                format!("POSTERN-GRANTS -s 192.0.2.0/24 -p tcp -m tcp --dport 22 {tail}"),
                format!("POSTERN-GRANTS -s 192.0.2.0/24 -p udp -m udp --dport 5000:5010 {tail}"),
                format!(
                    "POSTERN-GRANTS -s 192.0.2.0/24 -p icmp -m icmp --icmp-type echo-request {tail}"
                ),
                format!("POSTERN-GRANTS -s 192.0.2.0/24 -p 58 {tail}"),
            ]
        );
        let mut behind = grant(8, "bob", "2001:db8::7/128", &["tcp/443"]);
        behind.target = Some("2001:db8:1::5".parse().unwrap());
        assert_eq!(
            grant_rules(&behind, false).unwrap(),
            [
                "POSTERN-FWD-GRANTS -s 2001:db8::7/128 -d 2001:db8:1::5/128 -p tcp -m tcp --dport 443 \
                 -m comment --comment \"postern id=8 user=bob until=1795341600000\" -j ACCEPT"
            ]
        );
    }

    #[test]
    fn forward_serves_its_client_at_the_gate_only() {
        let mut through = grant(7, "al", "192.0.2.7/32", &[]);
        through.forwards = vec![
            forward("tcp/2222", "10.0.0.5", Some(22), true),
            forward("udp/500-510", "10.0.0.6", None, false),
        ];
        let comment = "-m comment --comment \"postern id=7 user=al until=1795341600000\"";
        let inner = format!(
            "-s 192.0.2.7/32 -d 10.0.0.5/32 -p tcp -m tcp --dport 22 -m conntrack --ctstate DNAT --ctorigdstport 2222 {comment}"
        );
        let local = "-m addrtype --dst-type LOCAL";
        assert_eq!(
            grant_rules(&through, false).unwrap(),
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
    }

    #[test]
    fn grant_that_has_no_safe_form_is_refused() {
        let plain = || grant(9, "a", "192.0.2.7/32", &["tcp/22"]);
        let mut unsafe_name = plain();
        unsafe_name.user = "a\" -j ACCEPT\n".to_owned();
        let mut other_target = plain();
        other_target.target = Some("fd00::5".parse().unwrap());
        let mut other_forward = plain();
        other_forward.forwards = vec![forward("tcp/2222", "fd00::5", Some(22), false)];
        let no_service = grant(9, "a", "192.0.2.7/32", &[]);
        for grant in [unsafe_name, other_target, other_forward, no_service] {
            assert!(grant_rules(&grant, true).is_err(), "{grant}");
        }
    }

    #[test]
    fn protection_keeps_established_connections() {
        let mut protection = protection(&["tcp/22", "icmp", "icmpv6"]);
        assert_eq!(
            protection_rules(Family::V4, &protection),
            [
                "POSTERN -p udp -m udp --dport 62201 -j DROP",
                "POSTERN -j POSTERN-GRANTS",
                "POSTERN -p tcp -m tcp --dport 22 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
                "POSTERN -p tcp -m tcp --dport 22 -j DROP",
                "POSTERN -p icmp -m icmp --icmp-type echo-request -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
                "POSTERN -p icmp -m icmp --icmp-type echo-request -j DROP",
            ]
        );
        let v6 = protection_rules(Family::V6, &protection);
        assert_eq!(v6.len(), 6, "{v6:?}");
        assert_eq!(
            v6[5],
            "POSTERN -p ipv6-icmp -m icmp6 --icmpv6-type echo-request -j DROP"
        );
        protection.silence_knocks = false;
        assert_eq!(
            protection_rules(Family::V4, &protection)[0],
            "POSTERN -p udp -m udp --dport 62201 -j ACCEPT",
            "a bound socket still receives its knocks"
        );
    }
}
