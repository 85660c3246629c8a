//! The text of every rule that Postern writes, for one family; the chains it writes them to.
//!
//! Owns what a grant and a protection look like in the language of `iptables-restore`. Pure: runs nothing, reads nothing.
//! A line here is `CHAIN MATCHES -j TARGET`; the caller puts `-A` or `-D` before it.

use ipnet::IpNet;

use super::behind;
use super::comment::Comment;
use crate::model::grant::Grant;
use crate::model::service::Ports;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

/// Reached by the first rule of INPUT.
pub(super) const INPUT: &str = "POSTERN";
/// Grants that reach the gate itself.
pub(super) const INPUT_GRANTS: &str = "POSTERN-GRANTS";
/// Reached by the first rule of FORWARD, where some user may reach hosts behind the gate.
pub(super) const FORWARD: &str = "POSTERN-FWD";
/// Grants that reach hosts behind the gate.
pub(super) const FORWARD_GRANTS: &str = "POSTERN-FWD-GRANTS";
/// For trying out matches; nothing jumps there.
pub(super) const PROBE: &str = "POSTERN-PROBE";
/// All of table filter, those that jump before those that are jumped to.
pub(super) const CHAINS: [&str; 5] = [INPUT, INPUT_GRANTS, FORWARD, FORWARD_GRANTS, PROBE];
/// An empty chain that nothing jumps to: table filter was not there before Postern, and shall not be there after it.
pub(super) const NEW: &str = "POSTERN-NEW";
/// The same for table nat.
pub(super) const NEW_NAT: &str = "POSTERN-NEW-NAT";
/// In table nat, reached by the first rule of PREROUTING, where some service forwards.
pub(super) const DNAT: &str = "POSTERN-DNAT";
/// In table nat, reached by the first rule of POSTROUTING.
pub(super) const SNAT: &str = "POSTERN-SNAT";
/// All of table nat.
pub(super) const NAT_CHAINS: [&str; 2] = [DNAT, SNAT];
/// Where grants stand, in both tables.
pub(super) const GRANT_CHAINS: [&str; 4] = [INPUT_GRANTS, FORWARD_GRANTS, DNAT, SNAT];

/// The last second that xt_time can be told: iptables refuses years from 2039 on, and the kernel's own default is this second.
const LAST_SECOND: u64 = i32::MAX as u64;

/// IPv4 or IPv6: each has programs, chains and rules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// What some kernels lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Abilities {
    /// `-m time`: the kernel ends a grant by itself.
    pub(super) time: bool,
}

impl Family {
    pub(super) fn of(network: &IpNet) -> Self {
        match network {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    /// Whether there is such a protocol in this family.
    pub(super) fn knows(self, ports: Ports) -> bool {
        !matches!(
            (self, ports.protocol_name()),
            (Self::V4, "icmpv6") | (Self::V6, "icmp")
        )
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// The chain of table filter that a grant's services stand in.
fn chain_of(grant: &Grant) -> &'static str {
    if grant.target.is_some() {
        FORWARD_GRANTS
    } else {
        INPUT_GRANTS
    }
}

/// The chains that a grant's rules stand in.
pub(super) fn chains_of(grant: &Grant) -> Vec<&'static str> {
    let mut chains = Vec::new();
    if !grant.services.is_empty() {
        chains.push(chain_of(grant));
    }
    if !grant.forwards.is_empty() {
        chains.extend([FORWARD_GRANTS, DNAT]);
    }
    if grant.forwards.iter().any(|forward| forward.masquerade) {
        chains.push(SNAT);
    }
    chains
}

/// One rule for each service of a grant, and those of its forwards. Refused, with the reason, where it cannot be written safely and whole.
pub(super) fn grant_rules(grant: &Grant, abilities: Abilities) -> Result<Vec<String>, String> {
    let comment = Comment::of(grant).map_err(|_| {
        format!(
            "grant {}: its user's name is not 1 to 64 of A-Z a-z 0-9 . _ @ -",
            grant.id
        )
    })?;
    if grant.services.is_empty() && grant.forwards.is_empty() {
        return Err(format!("{grant}: a grant without services opens nothing"));
    }
    let mut matches = format!("{} -s {}", chain_of(grant), grant.allow.trunc());
    if let Some(target) = grant.target {
        if target.is_ipv4() != grant.allow.addr().is_ipv4() {
            return Err(format!(
                "{grant}: the target is of the other address family"
            ));
        }
        matches.push_str(&format!(" -d {}", IpNet::from(target)));
    }
    let end = abilities
        .time
        .then(|| datestop(grant.until))
        .flatten()
        .map(|stop| format!(" -m time --datestop {stop}"))
        .unwrap_or_default();
    let family = Family::of(&grant.allow);
    let until = format!("{end} -m comment --comment \"{comment}\"");
    let mut rules: Vec<String> = grant
        .services
        .iter()
        .map(|ports| format!("{matches} {}{until} -j ACCEPT", service(family, *ports)))
        .collect();
    for forward in &grant.forwards {
        if forward.host.is_ipv4() != grant.allow.addr().is_ipv4() {
            return Err(format!(
                "{grant}: the host that it forwards to is of the other address family"
            ));
        }
        rules.extend(behind::forward_rules(grant, forward, &until));
    }
    Ok(rules)
}

/// The last second, UTC, in which a grant's rule matches; `None` where xt_time cannot say it, and only the monitor ends the grant.
///
/// The kernel lets packets through while `floor(now) <= datestop`, that is until the instant `datestop + 1 s`. With
/// `datestop = ceil(until) - 1` this instant is `ceil(until)`: never before `until`, and less than a second after it.
pub(super) fn datestop(until: Timestamp) -> Option<String> {
    let second = until.as_millis().div_ceil(1000).saturating_sub(1);
    let time = jiff::Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
    (second <= LAST_SECOND).then(|| time.strftime("%Y-%m-%dT%H:%M:%S").to_string())
}

/// Ports in iptables' words. Of ICMP only the echo request: to filter the rest would break path MTU discovery, and in IPv6 finding
/// neighbours. ICMP of the other family is written by its number alone; it matches nothing that exists, but keeps the grant whole.
pub(super) fn service(family: Family, ports: Ports) -> String {
    match (ports.protocol_name(), ports.range()) {
        ("icmp", _) if family == Family::V4 => {
            "-p icmp -m icmp --icmp-type echo-request".to_owned()
        }
        ("icmp", _) => "-p 1".to_owned(),
        ("icmpv6", _) if family == Family::V6 => {
            "-p ipv6-icmp -m icmp6 --icmpv6-type echo-request".to_owned()
        }
        ("icmpv6", _) => "-p 58".to_owned(),
        (name, Some((first, last))) if first == last => {
            format!("-p {name} -m {name} --dport {first}")
        }
        (name, Some((first, last))) => format!("-p {name} -m {name} --dport {first}:{last}"),
        (name, None) => format!("-p {name}"),
    }
}

/// The rules of [`INPUT`], in order: knock ports, grants, protection.
pub(super) fn protection_rules(family: Family, protection: &Protection) -> Vec<String> {
    let mut rules = Vec::new();
    // A dropped knock draws no "port unreachable" (invariant 9); the packet socket sees it before netfilter does.
    let verdict = if protection.silence_knocks {
        "DROP"
    } else {
        "ACCEPT"
    };
    rules.extend(
        protection
            .knock_ports
            .iter()
            .map(|port| format!("{INPUT} -p udp -m udp --dport {port} -j {verdict}")),
    );
    rules.push(format!("{INPUT} -j {INPUT_GRANTS}"));
    for ports in &protection.services {
        rules.extend(protected(family, *ports));
    }
    rules
}

fn protected(family: Family, ports: Ports) -> Vec<String> {
    if !family.knows(ports) {
        return Vec::new();
    }
    let matches = format!("{INPUT} {}", service(family, ports));
    // Connections that are older than connection tracking were made known to it before this stands.
    vec![
        format!("{matches} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"),
        format!("{matches} -j DROP"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::firewall::iptables::tests::{grant, protection};

    const ALL: Abilities = Abilities { time: true };

    /// When the kernel stops letting packets through, by its own reckoning.
    fn kernel_end(until: u64) -> u64 {
        let stop = datestop(Timestamp::from_millis(until)).unwrap();
        let second = format!("{stop}Z")
            .parse::<jiff::Timestamp>()
            .unwrap()
            .as_second();
        (u64::try_from(second).unwrap() + 1) * 1000
    }

    #[test]
    fn the_kernel_ends_a_grant_never_early_and_less_than_a_second_late() {
        let base = 1_795_341_600_000;
        for until in (base - 1500..base + 1500).step_by(7).chain([
            base - 1,
            base,
            base + 1,
            1000,
            2_147_483_648_000,
        ]) {
            let late = kernel_end(until)
                .checked_sub(until)
                .unwrap_or_else(|| panic!("{until} ends early"));
            assert!(late < 1000, "{until} ends {late} ms late");
        }
        assert_eq!(
            datestop(Timestamp::from_millis(base)).unwrap(),
            "2026-11-22T09:59:59"
        );
        assert_eq!(
            datestop(Timestamp::from_millis(base + 1)).unwrap(),
            "2026-11-22T10:00:00"
        );
    }

    #[test]
    fn what_xt_time_cannot_say_is_not_said() {
        assert_eq!(
            datestop(Timestamp::from_millis(2_147_483_648_000)).unwrap(),
            "2038-01-19T03:14:07"
        );
        assert_eq!(datestop(Timestamp::from_millis(2_147_483_648_001)), None);
        assert_eq!(datestop(Timestamp::from_millis(u64::MAX)), None);
    }

    #[test]
    fn a_grant_is_one_rule_for_each_service_and_names_itself() {
        let rules = grant_rules(
            &grant(
                7,
                "al@x",
                "192.0.2.0/24",
                &["tcp/22", "udp/5000-5010", "icmp", "icmpv6"],
            ),
            ALL,
        )
        .unwrap();
        let tail = "-m time --datestop 2026-11-22T09:59:59 -m comment --comment \"postern id=7 user=al@x until=1795341600000\" -j ACCEPT";
        assert_eq!(
            rules,
            [
                format!("POSTERN-GRANTS -s 192.0.2.0/24 -p tcp -m tcp --dport 22 {tail}"),
                format!("POSTERN-GRANTS -s 192.0.2.0/24 -p udp -m udp --dport 5000:5010 {tail}"),
                format!(
                    "POSTERN-GRANTS -s 192.0.2.0/24 -p icmp -m icmp --icmp-type echo-request {tail}"
                ),
                format!("POSTERN-GRANTS -s 192.0.2.0/24 -p 58 {tail}"),
            ]
        );
    }

    #[test]
    fn a_grant_behind_the_gate_goes_to_the_forward_chain_only() {
        let mut behind = grant(8, "bob", "2001:db8::7/128", &["tcp/443"]);
        behind.target = Some("2001:db8:1::5".parse().unwrap());
        let rules = grant_rules(&behind, Abilities::default()).unwrap();
        assert_eq!(
            rules,
            [
                "POSTERN-FWD-GRANTS -s 2001:db8::7/128 -d 2001:db8:1::5/128 -p tcp -m tcp --dport 443 \
              -m comment --comment \"postern id=8 user=bob until=1795341600000\" -j ACCEPT"
            ]
        );
        behind.target = Some("10.0.0.5".parse().unwrap());
        assert!(
            grant_rules(&behind, ALL)
                .unwrap_err()
                .contains("other address family")
        );
    }

    #[test]
    fn a_grant_that_cannot_be_written_safely_is_refused() {
        assert!(
            grant_rules(
                &grant(9, "a\" -j ACCEPT\n", "192.0.2.7/32", &["tcp/22"]),
                ALL
            )
            .is_err()
        );
        assert!(grant_rules(&grant(9, "a", "192.0.2.7/32", &[]), ALL).is_err());
    }

    #[test]
    fn protection_lets_established_connections_live_and_touches_only_echo_requests_of_its_family() {
        let protection = protection(&["tcp/22", "icmp", "icmpv6"]);
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
        assert_eq!(
            v6.last().unwrap(),
            "POSTERN -p ipv6-icmp -m icmp6 --icmpv6-type echo-request -j DROP"
        );
        assert_eq!(v6.len(), 6, "{v6:?}");
    }

    #[test]
    fn a_bound_socket_still_receives_its_knocks() {
        let protection = Protection {
            silence_knocks: false,
            ..protection(&[])
        };
        assert_eq!(
            protection_rules(Family::V4, &protection)[0],
            "POSTERN -p udp -m udp --dport 62201 -j ACCEPT"
        );
    }
}
