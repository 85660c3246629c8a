//! The matches of a rule: protocol and ports, and the time at which the kernel ends the rule.

use crate::adapters::firewall::{LOGGED_AT_ONCE, LOGGED_BYTES, LOGGED_EACH_SECOND};
use crate::model::address::Family;
use crate::model::service::Ports;
use crate::model::time::Timestamp;

/// iptables refuses years from 2039 on. Without `--datestop` the kernel uses this second.
const LAST_SECOND: u64 = i32::MAX as u64;

/// Protocol and ports as options of iptables.
///
/// Of ICMP only the echo request: path MTU discovery and IPv6 neighbour discovery need the other types. ICMP of the other
/// family is written by its number. Such a rule matches no packet, but the grant is then read back whole.
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
        (name, Some(range)) => format!("-p {name} -m {name} --dport {}", port_range(range)),
        (name, None) => format!("-p {name}"),
    }
}

/// To the kernel a packet that asks for a new TCP connection is established too if its addresses and ports are those of
/// a connection that it has not forgotten.
pub(super) fn reused_port(matches: &str, ports: Ports) -> Option<String> {
    let is_tcp = ports.protocol_name() == "tcp";
    is_tcp.then(|| format!("{matches} --syn -m conntrack --ctstate ESTABLISHED -j DROP"))
}

/// Sends the headers of some packets to a group of NFLOG: a few of each second.
pub(super) fn log_some(matches: &str, group: Option<u16>) -> Option<String> {
    group.map(|group| {
        format!(
            "{matches} -m limit --limit {LOGGED_EACH_SECOND}/sec --limit-burst {LOGGED_AT_ONCE} \
             -j NFLOG --nflog-group {group} --nflog-size {LOGGED_BYTES}"
        )
    })
}

pub(super) fn port_range((first, last): (u16, u16)) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}:{last}")
    }
}

pub(super) fn has_protocol(family: Family, ports: Ports) -> bool {
    !matches!(
        (family, ports.protocol_name()),
        (Family::V4, "icmpv6") | (Family::V6, "icmp")
    )
}

/// The last second, in UTC, in which a rule matches: the value of `--datestop`. `None` if iptables cannot express it; then
/// only the monitor ends the grant.
///
/// The kernel lets packets through while `floor(now) <= datestop`, so until the instant `datestop + 1 s`. With
/// `datestop = ceil(until) - 1` that instant is `ceil(until)`: never before `until`, and less than a second after it.
pub(super) fn last_second(until: Timestamp) -> Option<String> {
    let second = until.as_millis().div_ceil(1000).saturating_sub(1);
    let time = jiff::Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
    (second <= LAST_SECOND).then(|| time.strftime("%Y-%m-%dT%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(until: u64) -> Option<String> {
        last_second(Timestamp::from_millis(until))
    }

    #[test]
    fn kernel_ends_a_grant_within_a_second() {
        let base = 1_795_341_600_000;
        let near_base = (base - 1500..base + 1500).step_by(7);
        for until in near_base.chain([base - 1, base, base + 1, 1000, 2_147_483_648_000]) {
            let second: jiff::Timestamp = format!("{}Z", stop(until).unwrap()).parse().unwrap();
            let end = (u64::try_from(second.as_second()).unwrap() + 1) * 1000;
            let late = end.checked_sub(until);
            assert!(late.is_some_and(|late| late < 1000), "{until}: {late:?}");
        }
        assert_eq!(stop(base).unwrap(), "2026-11-22T09:59:59");
        assert_eq!(stop(base + 1).unwrap(), "2026-11-22T10:00:00");
        assert_eq!(stop(2_147_483_648_001), None);
        assert_eq!(stop(u64::MAX), None);
    }
}
