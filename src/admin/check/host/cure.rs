//! Commands that repair a host, for the tool that owns the rules. Runs nothing.
//!
//! A command must do what its finding says. The tests with a real kernel run some of them.

use super::view::HostView;
use crate::core::host_rules::Chain;
use crate::model::service::Ports;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Ufw,
    Firewalld,
    Unknown,
}

fn owner(view: &HostView<'_>, chain: &Chain) -> Owner {
    let is_ufws = |other: &Chain| {
        other.table == chain.table
            && (other.name.starts_with("ufw-") || other.name.starts_with("ufw6-"))
    };
    if chain.table.is_nft() && chain.table.name == "firewalld" {
        Owner::Firewalld
    } else if view.host.rules.chains.iter().any(is_ufws) {
        Owner::Ufw
    } else {
        Owner::Unknown
    }
}

/// Commands of the tool that owns the chain; they accept services there.
pub(super) fn accept_by_owner(
    view: &HostView<'_>,
    chain: &Chain,
    services: &[Ports],
) -> Vec<String> {
    // Neither tool has a command for ICMP.
    if services.iter().any(|service| service.range().is_none()) {
        return accept(chain, services);
    }
    let services_as = |command: &str, separator| -> Vec<String> {
        let services = services.iter();
        services
            .map(|service| format!("{command}{}", port_and_protocol(*service, separator)))
            .collect()
    };
    match owner(view, chain) {
        Owner::Ufw => services_as("ufw allow ", ':'),
        Owner::Firewalld => {
            let mut commands = services_as("firewall-cmd --permanent --add-port=", '-');
            commands.push("firewall-cmd --reload".to_owned());
            commands
        }
        Owner::Unknown => accept(chain, services),
    }
}

pub(super) fn how_to_keep(view: &HostView<'_>, chain: &Chain) -> &'static str {
    match owner(view, chain) {
        Owner::Ufw => "ufw keeps the rule",
        Owner::Firewalld => "firewalld keeps the rule",
        Owner::Unknown if chain.table.is_nft() => {
            "to keep the rule, write it into the table's file, such as /etc/nftables.conf"
        }
        Owner::Unknown => "to keep the rule, save it with the host's rules",
    }
}

/// `22/tcp`, or a range with this separator.
fn port_and_protocol(service: Ports, separator: char) -> String {
    let name = service.protocol_name();
    match service.range() {
        Some((first, last)) if first != last => format!("{first}{separator}{last}/{name}"),
        Some((first, _)) => format!("{first}/{name}"),
        None => service.to_string(),
    }
}

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
