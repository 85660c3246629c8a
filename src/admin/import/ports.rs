//! Lists of ports and networks as fwknopd writes them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::service::Ports;

/// What fwknopd opens without OPEN_PORTS.
const EVERY: [(&str, u16, u16); 2] = [("tcp", 1, u16::MAX), ("udp", 1, u16::MAX)];

/// A list such as `tcp/22, udp/53`; `None` if an entry is anything else.
pub(super) fn list(text: &str) -> Option<Vec<Ports>> {
    let entries = text.split(',').map(|entry| {
        let entry = entry.trim();
        let (protocol, port) = entry.split_once('/')?;
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
        let known = ["tcp", "udp"].contains(&protocol.to_ascii_lowercase().as_str());
        (known && is_port).then(|| entry.to_ascii_lowercase().parse().ok())?
    });
    entries.collect()
}

/// What a stanza opens: the ports of OPEN_PORTS or all, without those of RESTRICT_PORTS.
pub(super) fn opened(open: Option<&[Ports]>, restricted: &[Ports]) -> Vec<String> {
    let without = |one: &(&str, u16, u16)| cut(*one, restricted);
    match open {
        None => EVERY.iter().flat_map(without).collect(),
        Some(ports) => {
            let is_free = |port: &&Ports| !restricted.contains(port);
            ports
                .iter()
                .filter(is_free)
                .map(ToString::to_string)
                .collect()
        }
    }
}

/// A range of a protocol in pieces, without single ports.
fn cut((protocol, first, last): (&str, u16, u16), holes: &[Ports]) -> Vec<String> {
    let mut holes: Vec<u16> = holes
        .iter()
        .filter(|hole| hole.protocol_name() == protocol)
        .filter_map(|hole| Some(hole.range()?.0))
        .collect();
    holes.sort_unstable();
    let mut pieces = Vec::new();
    let mut piece = |from: u32, to: u32| {
        if from == to {
            pieces.push(format!("{protocol}/{from}"));
        } else if from < to {
            pieces.push(format!("{protocol}/{from}-{to}"));
        }
    };
    let mut from = u32::from(first);
    for hole in holes.into_iter().map(u32::from) {
        piece(from, hole.saturating_sub(1));
        from = from.max(hole + 1);
    }
    piece(from, u32::from(last));
    pieces
}

/// A list of IPv4 networks such as `192.0.2.0/24, 10.0.0.1`, or ANY; `None` if an entry is anything else.
pub(super) fn networks(text: &str) -> Option<Vec<Ipv4Net>> {
    let entries = text.split(',').map(|entry| network(entry.trim()));
    entries.collect()
}

fn network(text: &str) -> Option<Ipv4Net> {
    if text.eq_ignore_ascii_case("any") {
        return Some(Ipv4Net::default());
    }
    let (address, mask) = text.split_once('/').unwrap_or((text, "32"));
    let address: Ipv4Addr = address.parse().ok()?;
    let network = match mask.parse::<Ipv4Addr>() {
        Ok(mask) => Ipv4Net::with_netmask(address, mask).ok()?,
        Err(_) => Ipv4Net::new(address, mask.parse().ok()?).ok()?,
    };
    Some(network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restricted_ports_are_cut_out() {
        let ports = |text: &str| list(text).unwrap();
        for (open, restricted, expected) in [
            (None, "", "tcp/1-65535 udp/1-65535"),
            (None, "tcp/22", "tcp/1-21 tcp/23-65535 udp/1-65535"),
            (
                None,
                "tcp/2,tcp/1,udp/65535,udp/65533,tcp/2",
                "tcp/3-65535 udp/1-65532 udp/65534",
            ),
            (Some("tcp/22,udp/53"), "udp/53,tcp/1", "tcp/22"),
            (Some("tcp/22"), "tcp/22", ""),
        ] {
            let open = open.map(ports);
            let restricted = if restricted.is_empty() {
                Vec::new()
            } else {
                ports(restricted)
            };
            assert_eq!(opened(open.as_deref(), &restricted).join(" "), expected);
        }
    }

    #[test]
    fn wrong_ports_are_refused() {
        assert_eq!(list("TCP/22 ,udp/53").unwrap().len(), 2);
        for text in [
            "",
            "22",
            "tcp",
            "tcp/",
            "tcp/0",
            "tcp/022",
            "tcp/65536",
            "tcp/1-2",
            "icmp",
            "sctp/9",
            "tcp/22,",
        ] {
            assert_eq!(list(text), None, "{text}");
        }
    }

    #[test]
    fn networks_have_prefix_or_mask() {
        for (text, expected) in [
            ("ANY", "0.0.0.0/0"),
            ("any", "0.0.0.0/0"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/255.255.255.0", "10.1.2.0/24"),
        ] {
            assert_eq!(networks(text).unwrap()[0].to_string(), expected);
        }
        for text in [
            "",
            "10.1.2",
            "10.1.2.3/33",
            "10.1.2.3/255.0.255.0",
            "host",
            "::1",
            "010.1.2.3",
        ] {
            assert_eq!(networks(text), None, "{text}");
        }
    }
}
