//! What this host goes by: the names that a client may have put in place of the gate's. Reads files of the system; asks no server.

use std::path::Path;

use crate::adapters::files;

/// Most names and addresses; a gate with many addresses is known by its name.
const MOST: usize = 64;

/// The host's names, in what `/etc/hosts` and `/etc/resolv.conf` make of them, and its addresses.
pub(super) fn names() -> Vec<String> {
    let read = |path: &str| files::read_system(Path::new(path)).unwrap_or_default();
    let hostname = read("/proc/sys/kernel/hostname").trim().to_owned();
    let mut names = of(&hostname, &read("/etc/hosts"), &read("/etc/resolv.conf"));
    let interfaces = pnet::datalink::interfaces();
    names.extend(
        interfaces
            .iter()
            .flat_map(|interface| &interface.ips)
            .map(|network| network.ip().to_string()),
    );
    names.truncate(MOST);
    names
}

fn of(hostname: &str, hosts: &str, resolver: &str) -> Vec<String> {
    let mut names = vec![hostname.to_owned(), "localhost".to_owned()];
    let words = |line: &str| {
        line.split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for line in hosts.lines().map(words) {
        if line.iter().skip(1).any(|name| name == hostname) {
            names.extend(line.into_iter().skip(1));
        }
    }
    for line in resolver.lines().map(words) {
        if line
            .first()
            .is_some_and(|word| word == "search" || word == "domain")
        {
            names.extend(
                line.iter()
                    .skip(1)
                    .map(|domain| format!("{hostname}.{domain}")),
            );
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_and_the_resolver_say_what_a_host_is_called_besides() {
        let hosts = "127.0.0.1 localhost\n192.0.2.1\tgate.example.org gate # the gate\n192.0.2.2 other.example.org other\n";
        let names = of(
            "gate",
            hosts,
            "nameserver 192.0.2.53\nsearch example.net example.com\n",
        );
        assert_eq!(
            names,
            [
                "gate",
                "localhost",
                "gate.example.org",
                "gate",
                "gate.example.net",
                "gate.example.com"
            ]
        );
    }
}
