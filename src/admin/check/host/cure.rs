//! The commands that mend a host: exact, for the tool that owns the rules in question.
//!
//! Pure; runs nothing. A command here must do what its finding says: the real-kernel tests run some of them.

use super::judge::World;
use super::rules::Chain;
use crate::model::service::Ports;

/// Who writes the rules of a table.
enum Owner {
    Ufw,
    Firewalld,
    Nobody,
}

fn owner(world: &World<'_>, chain: &Chain) -> Owner {
    let mut chains = world
        .facts
        .rules
        .chains
        .iter()
        .filter(|other| other.table == chain.table);
    if chain.table.is_nft() && chain.table.name == "firewalld" {
        Owner::Firewalld
    } else if chains.any(|other| other.name.starts_with("ufw-") || other.name.starts_with("ufw6-"))
    {
        Owner::Ufw
    } else {
        Owner::Nobody
    }
}

/// Lets services through, in the words of whoever writes the chain's rules.
pub(super) fn accepting(world: &World<'_>, chain: &Chain, services: &[Ports]) -> Vec<String> {
    let has_ports = services.iter().all(|service| service.range().is_some());
    match owner(world, chain) {
        Owner::Ufw if has_ports => services
            .iter()
            .map(|service| format!("ufw allow {}", range(*service, ':')))
            .collect(),
        Owner::Firewalld if has_ports => {
            let added = services.iter().map(|service| {
                format!(
                    "firewall-cmd --permanent --add-port={}",
                    range(*service, '-')
                )
            });
            added.chain(["firewall-cmd --reload".to_owned()]).collect()
        }
        Owner::Ufw | Owner::Firewalld | Owner::Nobody => accept(chain, services),
    }
}

/// Where such a command, or its like, has to be written down so that it lasts.
pub(super) fn where_kept(world: &World<'_>, chain: &Chain) -> &'static str {
    match owner(world, chain) {
        Owner::Ufw => "ufw keeps it",
        Owner::Firewalld => "firewalld keeps it",
        Owner::Nobody if chain.table.is_nft() => {
            "write it into the file that the table comes from, such as /etc/nftables.conf"
        }
        Owner::Nobody => "save it where the host's rules are saved",
    }
}

/// `22/tcp`, and a range with this letter.
fn range(service: Ports, letter: char) -> String {
    match service.range() {
        Some((first, last)) if first != last => {
            format!("{first}{letter}{last}/{}", service.protocol_name())
        }
        Some((first, _)) => format!("{first}/{}", service.protocol_name()),
        None => service.to_string(),
    }
}

/// Lets services through at the head of a chain.
pub(super) fn accept(chain: &Chain, services: &[Ports]) -> Vec<String> {
    let (table, name) = (&chain.table, &chain.name);
    if table.is_nft() {
        return services
            .iter()
            .map(|service| {
                format!(
                    "nft insert rule {} {} {name} {} accept",
                    table.family,
                    table.name,
                    nft(*service)
                )
            })
            .collect();
    }
    services
        .iter()
        .map(|service| format!("{} {} -j ACCEPT", insert(chain), iptables(*service)))
        .collect()
}

/// Lets established connections through at the head of a chain.
pub(super) fn established(chain: &Chain) -> String {
    let (table, name) = (&chain.table, &chain.name);
    if table.is_nft() {
        return format!(
            "nft insert rule {} {} {name} ct state established,related accept",
            table.family, table.name
        );
    }
    format!(
        "{} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        insert(chain)
    )
}

fn insert(chain: &Chain) -> String {
    let table = if chain.table.name == "filter" {
        String::new()
    } else {
        format!(" -t {}", chain.table.name)
    };
    format!("{}{table} -I {}", chain.table.program, chain.name)
}

fn nft(service: Ports) -> String {
    match service.range() {
        Some((first, last)) if first != last => {
            format!("{} dport {first}-{last}", service.protocol_name())
        }
        Some((first, _)) => format!("{} dport {first}", service.protocol_name()),
        None => format!("{} type echo-request", service.protocol_name()),
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
