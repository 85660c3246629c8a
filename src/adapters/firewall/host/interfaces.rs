//! The interfaces that strangers come in by, and the host's addresses.

use std::collections::BTreeSet;
use std::path::Path;

use ipnet::IpNet;

use crate::adapters::files;
use crate::adapters::netlink::Links;
use crate::model::settings::Interfaces;

/// How the host is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Network {
    /// The interfaces that strangers come in by; one empty name if there is none.
    pub(crate) interfaces: Vec<String>,
    pub(crate) addresses: Vec<IpNet>,
    /// The networks that an interface is in.
    pub(crate) connected: Vec<(IpNet, String)>,
}

impl Network {
    /// The interface by which packets to a network leave; `None` if a router decides.
    pub(crate) fn interface_to(&self, target: IpNet) -> Option<&str> {
        let around = self
            .connected
            .iter()
            .filter(|(one, _)| one.contains(&target));
        let nearest = around.max_by_key(|(one, _)| one.prefix_len());
        let is_split = self
            .connected
            .iter()
            .any(|(one, _)| target.contains(one) && *one != target);
        nearest.filter(|_| !is_split).map(|(_, name)| name.as_str())
    }
}

pub(crate) fn read(configured: &Interfaces) -> Network {
    let mut network = Network::default();
    let mut names = Vec::new();
    for interface in pnet::datalink::interfaces() {
        if interface.is_loopback() {
            continue;
        }
        for own in &interface.ips {
            // pnet has network types of its own.
            let Ok(own) = own.to_string().parse::<IpNet>() else {
                continue;
            };
            network.addresses.push(IpNet::from(own.addr()));
            if own.prefix_len() < own.max_prefix_len() {
                network
                    .connected
                    .push((own.trunc(), interface.name.clone()));
            }
        }
        names.push(interface.name);
    }
    network.interfaces = outer(names, &kernel_names(configured));
    network
}

/// Rules compare the name that an interface has, never an alternative one.
fn kernel_names(configured: &Interfaces) -> Interfaces {
    let (Interfaces::Named(names), Ok(mut links)) = (configured, Links::open()) else {
        return configured.clone();
    };
    let mut kernel_name = |name: &String| {
        let index = links.index(name).ok().flatten();
        index.and_then(|index| links.name(index))
    };
    let names = names
        .iter()
        .map(|name| kernel_name(name).unwrap_or_else(|| name.clone()));
    Interfaces::Named(names.collect())
}

/// The interfaces of the config, else those of the default routes, else all.
fn outer(all: Vec<String>, configured: &Interfaces) -> Vec<String> {
    let read = |path: &str| files::read_system(Path::new(path)).unwrap_or_default();
    let wanted: BTreeSet<String> = match configured {
        Interfaces::Named(names) => names.iter().cloned().collect(),
        Interfaces::Any => default_routes(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
            .into_iter()
            .collect(),
    };
    let mut chosen: Vec<String> = all
        .iter()
        .filter(|name| wanted.contains(*name))
        .cloned()
        .collect();
    if chosen.is_empty() {
        chosen = all;
    }
    if chosen.is_empty() {
        chosen.push(String::new());
    }
    chosen
}

/// Columns of IPv4: interface, destination, gateway, ... Columns of IPv6: destination, prefix length, ..., interface.
fn default_routes(v4: &str, v6: &str) -> Vec<String> {
    let of_v4 = v4.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        (words.next()? == "00000000").then_some(name)
    });
    let of_v6 = v6.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.nth(1)? == "00").then(|| words.next_back())?
    });
    of_v4
        .chain(of_v6)
        .filter(|name| *name != "lo")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_network_chooses_the_way_out() {
        let connected = [("10.0.0.0/8", "lan"), ("10.1.0.0/24", "virbr0")];
        let network = Network {
            connected: connected
                .map(|(net, name)| (net.parse().unwrap(), name.to_owned()))
                .to_vec(),
            ..Network::default()
        };
        for (target, name) in [
            ("10.1.0.7/32", Some("virbr0")),
            ("10.1.0.0/24", Some("virbr0")),
            ("10.2.0.0/16", Some("lan")),
            ("10.0.0.0/8", None),
            ("192.0.2.7/32", None),
        ] {
            assert_eq!(
                network.interface_to(target.parse().unwrap()),
                name,
                "{target}"
            );
        }
    }

    #[test]
    fn default_routes_choose_the_interfaces() {
        let v4 = "Iface\tDestination\tGateway\neth0\t00000000\t010200C0\t0003\neth1\t000200C0\t00000000\n";
        let v6 = "00000000000000000000000000000000 00 0000 00 fe80 00000400 1 0 00000003 ppp0\n\
                  00000000000000000000000000000000 00 0000 00 0000 ffffffff 1 0 00200200 lo\n\
                  20010db8000000000000000000000000 40 0000 00 0000 00000100 1 0 00000001 eth1\n";
        assert_eq!(default_routes(v4, v6), ["eth0", "ppp0"]);
        let named = |name: &str| Interfaces::Named(vec![name.into()]);
        let all = || vec!["eth0".into(), "eth1".into()];
        assert_eq!(outer(all(), &named("eth1")), ["eth1"]);
        assert_eq!(outer(Vec::new(), &named("ppp0")), [""]);
    }
}
