//! Names that a client may have in its profile in place of the gate's: other spellings, and other names of the host.
//!
//! Reads files of the system. Asks no server.

use std::path::Path;

use postern_proto::GateName;

use crate::adapters::files;

const MOST: usize = 64;

/// The host's names, by `/etc/hosts` and `/etc/resolv.conf`, too, and its addresses.
pub(super) fn of_host() -> Vec<String> {
    let read = |path: &str| files::read_system(Path::new(path)).unwrap_or_default();
    let hostname = read("/proc/sys/kernel/hostname").trim().to_owned();
    let mut names = named_by(&hostname, &read("/etc/hosts"), &read("/etc/resolv.conf"));
    let interfaces = pnet::datalink::interfaces();
    let networks = interfaces.iter().flat_map(|interface| &interface.ips);
    names.extend(networks.map(|network| network.ip().to_string()));
    names.truncate(MOST);
    names
}

fn named_by(hostname: &str, hosts: &str, resolver: &str) -> Vec<String> {
    let mut names = vec![hostname.to_owned(), "localhost".to_owned()];
    let words = |line: &str| {
        let words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    for line in hosts.lines().map(words) {
        if line.iter().skip(1).any(|name| name == hostname) {
            names.extend(line.into_iter().skip(1));
        }
    }
    for line in resolver.lines().map(words) {
        if let [word, domains @ ..] = line.as_slice()
            && (word == "search" || word == "domain")
        {
            names.extend(domains.iter().map(|domain| format!("{hostname}.{domain}")));
        }
    }
    names
}

/// Other spellings of the gate's name, and of these other names, each once.
pub fn likely<'a>(gate: &'a GateName, others: impl IntoIterator<Item = &'a str>) -> Vec<GateName> {
    let mut names: Vec<GateName> = Vec::new();
    let mut add = |name: &str| {
        if let Ok(name) = GateName::new(name)
            && name != *gate
            && !names.contains(&name)
        {
            names.push(name);
        }
    };
    for name in std::iter::once(gate.as_str()).chain(others) {
        let bare = name.trim().trim_end_matches('.');
        let label = bare.split('.').next().unwrap_or(bare);
        let is_address = bare.parse::<std::net::IpAddr>().is_ok();
        let labels = [label.to_owned(), label.to_lowercase(), capital(label)];
        let spellings = [
            bare.to_owned(),
            bare.to_lowercase(),
            bare.to_uppercase(),
            capital(bare),
            capitals(bare),
            format!("{bare}."),
        ];
        if is_address {
            add(bare);
            continue;
        }
        spellings.iter().chain(&labels).for_each(|name| add(name));
    }
    names
}

fn capitals(name: &str) -> String {
    name.split('.').map(capital).collect::<Vec<_>>().join(".")
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(gate: &str, others: &[&str]) -> Vec<String> {
        let names = likely(&GateName::new(gate).unwrap(), others.iter().copied());
        names.iter().map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn other_spellings_of_the_name_are_tried() {
        let names = said("Gate.example.org", &[]);
        for other in [
            "gate.example.org",
            "GATE.EXAMPLE.ORG",
            "Gate.Example.Org",
            "Gate.example.org.",
            "Gate",
            "gate",
        ] {
            let is_tried = names.iter().any(|name| name == other);
            assert!(is_tried, "{other} is not in {names:?}");
        }
        assert!(!names.iter().any(|name| name == "Gate.example.org"));
        assert!(said("gate.example.org.", &[]).contains(&"gate.example.org".to_owned()));
    }

    #[test]
    fn other_host_names_are_tried_once() {
        let (gate, others) = (
            "gate.example.org",
            ["web1.example.org", "web1", "192.0.2.1", "2001:db8::1"],
        );
        let given = [&others[..], &["192.0.2.1", "", gate]].concat();
        let names = said(gate, &given);
        for other in others {
            let found = names.iter().filter(|name| *name == other).count();
            assert_eq!(found, 1, "{other} in {names:?}");
        }
        assert!(!names.contains(&"192".to_owned()), "{names:?}");
        assert!(!names.contains(&"192.0.2.1.".to_owned()), "{names:?}");
        let of_long = said("g", &[&"x".repeat(300)]);
        assert!(of_long.iter().all(|name| name.len() <= 255));
    }

    #[test]
    fn names_come_from_hosts_file_and_resolver() {
        let hosts = "127.0.0.1 localhost\n192.0.2.1\tgate.example.org gate # the gate\n192.0.2.2 other.example.org other\n";
        let resolver = "nameserver 192.0.2.53\nsearch example.net example.com\n";
        let names = named_by("gate", hosts, resolver).join(" ");
        let expected = "gate localhost gate.example.org gate gate.example.net gate.example.com";
        assert_eq!(names, expected);
    }
}
