//! Commands that repair a host. Runs nothing.
//!
//! A command must do what its finding says. The tests with a real kernel run some of them.

use crate::core::host_rules::Chain;
use crate::model::service::Ports;

pub(super) fn accept(chain: &Chain, services: &[Ports]) -> Vec<String> {
    let command = |service: &Ports| {
        if chain.table.is_nft() {
            format!("{} {} accept", insert(chain), nft(*service))
        } else {
            format!("{} {} -j ACCEPT", insert(chain), iptables(*service))
        }
    };
    services.iter().map(command).collect()
}

pub(super) fn established(chain: &Chain) -> String {
    let insert = insert(chain);
    if chain.table.is_nft() {
        format!("{insert} ct state established,related accept")
    } else {
        format!("{insert} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
    }
}

pub(super) fn drop_last(chain: &Chain) -> String {
    let (table, name) = (&chain.table, &chain.name);
    if table.is_nft() {
        format!("nft add rule {} {} {name} drop", table.family, table.name)
    } else if table.name == "filter" {
        format!("{} -A {name} -j DROP", table.program)
    } else {
        format!("{} -t {} -A {name} -j DROP", table.program, table.name)
    }
}

fn insert(chain: &Chain) -> String {
    let (table, name) = (&chain.table, &chain.name);
    if table.is_nft() {
        format!("nft insert rule {} {} {name}", table.family, table.name)
    } else if table.name == "filter" {
        format!("{} -I {name}", table.program)
    } else {
        format!("{} -t {} -I {name}", table.program, table.name)
    }
}

fn nft(service: Ports) -> String {
    let name = service.protocol_name();
    match service.range() {
        Some((first, last)) if first != last => format!("{name} dport {first}-{last}"),
        Some((first, _)) => format!("{name} dport {first}"),
        None => format!("{name} type echo-request"),
    }
}

fn iptables(service: Ports) -> String {
    match (service.protocol_name(), service.range()) {
        (name, Some((first, last))) if first != last => format!("-p {name} --dport {first}:{last}"),
        (name, Some((first, _))) => format!("-p {name} --dport {first}"),
        ("icmpv6", None) => "-p icmpv6 --icmpv6-type echo-request".to_owned(),
        (name, None) => format!("-p {name} --icmp-type echo-request"),
    }
}
