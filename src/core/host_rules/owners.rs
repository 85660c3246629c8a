//! Which programs manage a table, by the names that they give to tables and chains.

use super::rules::{Ruleset, Table};

/// Names of nft tables.
const TABLES: [(&str, &str); 6] = [
    ("firewalld", "firewalld"),
    ("fw4", "OpenWrt"),
    ("f2b-table", "fail2ban"),
    ("libvirt_network", "libvirt"),
    ("kube-proxy", "kube-proxy"),
    ("docker-bridges", "Docker"),
];

/// The beginnings of the names of chains.
const CHAINS: [(&str, &str); 10] = [
    ("ufw-", "ufw"),
    ("ufw6-", "ufw"),
    ("shorewall", "Shorewall"),
    ("DOCKER", "Docker"),
    ("NETAVARK", "Podman"),
    ("LIBVIRT_", "libvirt"),
    ("KUBE-", "kube-proxy"),
    ("cali-", "Calico"),
    ("ts-", "Tailscale"),
    ("f2b-", "fail2ban"),
];

/// The program that gives such names to its chains.
pub(super) fn owner_of(chain: &str) -> Option<&'static str> {
    let mut known = CHAINS.iter();
    known
        .find(|(start, _)| chain.starts_with(start))
        .map(|(_, owner)| *owner)
}

impl Ruleset {
    /// The programs that have chains in a table; none if the names tell nothing.
    pub(crate) fn owners(&self, table: &Table) -> Vec<&'static str> {
        let by_table = TABLES.iter().filter(|(name, _)| table.name == *name);
        let has_chain = |start: &str| {
            let mut chains = self.chains.iter();
            chains.any(|chain| chain.table == *table && chain.name.starts_with(start))
        };
        let by_chain = CHAINS.iter().filter(|(start, _)| has_chain(start));
        let mut owners: Vec<&str> = by_table.chain(by_chain).map(|(_, owner)| *owner).collect();
        owners.dedup();
        owners
    }
}
