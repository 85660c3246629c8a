//! The text of every rule that Postern writes. A line is `CHAIN MATCHES -j TARGET`; the caller puts `-A` or `-D` before it.

use ipnet::IpNet;

use super::chains::{INPUT, INPUT_GRANTS, MARK, service_chain};
use super::comment::Comment;
use super::forward;
use super::marks::{Marked, granted};
use super::matches::{has_protocol, last_second, log_some, reused_port, service};
use crate::adapters::firewall::FirewallError;
use crate::model::address::Family;
use crate::model::grant::Grant;
use crate::model::packet_mark::PacketMark;
use crate::model::settings::{BusyPort, Protection};

/// What the kernel can do about a grant by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Form {
    /// It ends the grant.
    pub(super) ends: bool,
    /// The grant counts for packets with this mark only.
    pub(super) live: Option<PacketMark>,
    /// Sets hold grants of single ports.
    pub(super) in_sets: bool,
}

/// One rule for each service of a grant, and the rules of its port forwards.
pub(super) fn grant_rules(grant: &Grant, form: Form) -> Result<Vec<String>, FirewallError> {
    let comment = Comment::new(grant).ok_or_else(|| {
        FirewallError::Unsupported(format!(
            "grant {}: its user name is not 1 to 64 of A-Z a-z 0-9 . _ @ -",
            grant.id
        ))
    })?;
    let unsupported = |why: &str| FirewallError::Unsupported(format!("{grant}: {why}"));
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
    let stop = form.ends.then(|| last_second(grant.until)).flatten();
    let stop = stop.map_or(String::new(), |stop| format!(" -m time --datestop {stop}"));
    let end = format!("{stop} -m comment --comment \"{comment}\"");
    let mut rules: Vec<String> = grant
        .services
        .iter()
        .map(|ports| format!("{matches} {}{end} -g {MARK}", service(family, *ports)))
        .collect();
    for forward in &grant.forwards {
        if !forward.takes(family) {
            return Err(unsupported(
                "it forwards to a host of another address family than its allow address",
            ));
        }
        rules.extend(forward::grant_rules(grant, forward, form.live, &end));
    }
    Ok(rules)
}

pub(super) fn protection_rules(family: Family, protection: &Protection, form: Form) -> Vec<String> {
    // A dropped knock causes no "port unreachable" (invariant 9). The packet socket sees it before netfilter does.
    let verdict = if protection.silence_knocks {
        "DROP"
    } else {
        "ACCEPT"
    };
    let knocks = protection.knock_ports.iter().flat_map(|port| {
        let to = format!("{INPUT} -p udp -m udp --dport {port}");
        // What a socket of this host receives is left to the host.
        let mut rules = match protection.busy_port(*port) {
            Some(BusyPort {
                is_local: false, ..
            }) => return vec![format!("{to} -j RETURN")],
            Some(BusyPort { is_local: true, .. }) => vec![format!("{to} -i lo -j RETURN")],
            None => Vec::new(),
        };
        rules.push(format!("{to} -m conntrack --ctstate ESTABLISHED -j RETURN"));
        rules.push(format!("{to} -j {verdict}"));
        rules
    });
    let marked = Marked::where_host_cuts_established(protection.marking.established);
    let mark = protection.packet_mark;
    let grants = granted(INPUT, INPUT_GRANTS, mark, marked, form.in_sets);
    let sequences = protection.sequence_ports.iter();
    let sequences = sequences.filter(|ports| has_protocol(family, **ports));
    let sequences = sequences.flat_map(|ports| {
        let matches = format!("{INPUT} {}", service(family, *ports));
        let known = format!("{matches} -m conntrack --ctstate ESTABLISHED -j RETURN");
        // What a socket of this host receives is left to the host.
        let used = protection.busy_sequence_ports.iter();
        let used = used.filter(move |used| ports.overlap(**used).is_some());
        let used = used.map(move |used| format!("{INPUT} {} -j RETURN", service(family, *used)));
        let drop = format!("{matches} -j DROP");
        [known].into_iter().chain(used).chain([drop])
    });
    // The host's own rules decide about established connections. conntrack knows those from before the installation: the monitor tells it
    // about them first.
    let services = protection
        .services
        .iter()
        .filter(|ports| has_protocol(family, **ports))
        .flat_map(|ports| {
            let matches = format!("{INPUT} {}", service(family, *ports));
            let known = "-m conntrack --ctstate ESTABLISHED -j RETURN";
            let known = format!("{matches} {known}");
            let reused = reused_port(&matches, *ports).into_iter().chain([known]);
            let log = log_some(&matches, protection.nflog_group);
            reused.chain(log).chain([format!("{matches} -j DROP")])
        });
    // A knock port may also be a granted service's.
    grants
        .chain(knocks)
        .chain(sequences)
        .chain(services)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::firewall::iptables::chains::FORWARD;
    use crate::adapters::firewall::iptables::tests::{forward as forward_to, grant, protection};
    use crate::model::settings::Marking;

    #[test]
    fn established_packets_skip_the_grants() {
        let compared = |marking| {
            let mut protection = protection(&["tcp/22"]);
            protection.marking = marking;
            protection.behind = vec![("10.0.0.0/8".parse().unwrap(), "tcp/22".parse().unwrap())];
            let rules = [
                protection_rules(Family::V4, &protection, Form::default()),
                forward::protection_rules(Family::V4, &protection, false),
            ];
            rules.map(|rules| {
                let jumps = rules.into_iter().filter(|rule| rule.ends_with("-GRANTS"));
                let text: Vec<String> = jumps.collect();
                text.join("; ")
            })
        };
        let skip = |chain: &str| {
            format!(
                "{chain} -m conntrack ! --ctstate ESTABLISHED -j {chain}-GRANTS; \
                 {chain} -p tcp -m tcp --syn -m conntrack --ctstate ESTABLISHED -j {chain}-GRANTS"
            )
        };
        let all = |chain: &str| format!("{chain} -j {chain}-GRANTS");
        let marking = Marking::default();
        assert_eq!(compared(marking), [skip(INPUT), skip(FORWARD)]);
        // Where the host cuts such a connection, its packets need the mark.
        let cut = Marking {
            established: true,
            ..marking
        };
        assert_eq!(compared(cut), [all(INPUT), skip(FORWARD)]);
        let cut = Marking {
            established_behind: true,
            ..marking
        };
        assert_eq!(compared(cut), [skip(INPUT), all(FORWARD)]);
    }

    #[test]
    fn grant_that_has_no_safe_form_is_refused() {
        let plain = || grant(9, "a", "192.0.2.7/32", &["tcp/22"]);
        let mut other_target = plain();
        other_target.target = Some("fd00::5".parse().unwrap());
        let mut other_forward = plain();
        other_forward.forwards = vec![forward_to("tcp/2222", "fd00::5", Some(22), false)];
        let no_service = grant(9, "a", "192.0.2.7/32", &[]);
        for grant in [other_target, other_forward, no_service] {
            assert!(grant_rules(&grant, Form::default()).is_err(), "{grant}");
        }
    }
}
