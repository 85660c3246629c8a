//! Looks at the host: rules by programs that only read, listeners and routes from /proc, addresses from the kernel.
//!
//! Changes nothing and judges nothing. What could not be looked at is a note, never passed over. Carries out invariant 6 through `program`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::rules::{Chain, Family, Ruleset};
use super::{iptables, nft};
use crate::adapters::files;
use crate::adapters::process::{self, Programs};
use crate::model::run::{Call, Run};
use crate::model::settings::{Interfaces, Settings};

/// Most bytes of a listing; a large set of addresses is listed element by element.
const LISTING: usize = 64 << 20;
const DEADLINE: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) rules: Ruleset,
    /// By which strangers come in; one without a name where there is none.
    pub(super) interfaces: Vec<String>,
    /// This host's addresses, without those of loopback.
    pub(super) addresses: Vec<IpNet>,
    /// Sockets that wait for TCP connections.
    pub(super) listeners: Vec<SocketAddr>,
    /// Whether `ip6tables-restore` is installed.
    pub(super) has_ip6tables: bool,
    /// What could not be looked at, and why.
    pub(super) unseen: Vec<String>,
}

impl Facts {
    /// Whether packets of this family can come from outside.
    pub(super) fn has(&self, family: Family) -> bool {
        self.addresses.iter().any(|address| family.is_of(address))
    }
}

/// Looks at everything.
pub(super) fn facts(settings: &Settings) -> Facts {
    let mut facts = Facts {
        has_ip6tables: process::find("ip6tables-restore").is_some(),
        ..Facts::default()
    };
    let mut programs = Programs::with_deadline(DEADLINE);
    facts.rules = Ruleset {
        chains: chains(&mut programs, &mut facts.unseen),
    };
    for interface in pnet::datalink::interfaces()
        .iter()
        .filter(|interface| !interface.is_loopback())
    {
        facts.interfaces.push(interface.name.clone());
        facts.addresses.extend(
            interface
                .ips
                .iter()
                .filter_map(|network| network.ip().to_string().parse::<IpAddr>().ok())
                .map(IpNet::from),
        );
    }
    facts.interfaces = outer(facts.interfaces, &settings.gate.interfaces);
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match files::read_system(Path::new(path)) {
            Ok(text) => facts.listeners.extend(listeners(&text)),
            // A kernel without IPv6 has no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => facts.unseen.push(format!(
                "could not look at listening sockets: {path}: {error}"
            )),
        }
    }
    facts
}

fn chains(run: &mut dyn Run, unseen: &mut Vec<String>) -> Vec<Chain> {
    let mut shown: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut chains = Vec::new();
    for (program, family, path) in savers(unseen) {
        match output(run, &path, &[]) {
            Ok(text) => {
                let saved = iptables::read(&program, family, &text);
                if text.contains("(nf_tables)") {
                    let family = if family == Family::V4 { "ip" } else { "ip6" };
                    shown.entry(family).or_default().extend(saved.tables);
                }
                chains.extend(saved.chains);
            }
            Err(why) => unseen.push(format!("could not look at the rules of {program}: {why}")),
        }
    }
    match process::find("nft")
        .ok_or_else(|| "the program nft is not installed; apt-get install nftables".to_owned())
    {
        Err(why) => unseen.push(format!("could not look at nft rules: {why}")),
        Ok(path) => {
            match output(run, &path, &["-j", "list", "ruleset"]).and_then(|text| nft::read(&text)) {
                Ok(listed) => chains.extend(nft::without(listed, &shown)),
                Err(why) => unseen.push(format!(
                    "could not look at nft rules: {}: {why}",
                    path.display()
                )),
            }
        }
    }
    chains
}

/// The save programs of both variants, each once, with the name of the program that changes what they show. The variant that
/// `iptables` itself is goes by its plain name. The legacy one is left alone where the kernel has no legacy tables: to ask could make them.
fn savers(unseen: &mut Vec<String>) -> Vec<(String, Family, PathBuf)> {
    let mut savers = Vec::new();
    for (family, name, tables) in [
        (Family::V4, "iptables", "ip_tables_names"),
        (Family::V6, "ip6tables", "ip6_tables_names"),
    ] {
        let resolved =
            |name: String| process::find(&name).and_then(|path| path.canonicalize().ok());
        let plain = resolved(format!("{name}-save"));
        let has_legacy_tables = files::read_system(&Path::new("/proc/net").join(tables))
            .is_ok_and(|text| !text.trim().is_empty());
        for variant in ["nft", "legacy"] {
            let Some(path) = process::find(&format!("{name}-{variant}-save")) else {
                if variant == "legacy"
                    && has_legacy_tables
                    && process::find(&format!("{name}-nft-save")).is_some()
                {
                    unseen.push(format!("could not look at the legacy rules of {name}: {name}-legacy-save is not installed"));
                }
                continue;
            };
            if variant == "nft" || has_legacy_tables {
                let is_plain =
                    plain.is_some() && plain == resolved(format!("{name}-{variant}-save"));
                savers.push((
                    if is_plain {
                        name.to_owned()
                    } else {
                        format!("{name}-{variant}")
                    },
                    family,
                    path,
                ));
            }
        }
        let is_asked = savers.iter().any(|(_, asked, _)| *asked == family);
        if let Some(path) = process::find(&format!("{name}-save")).filter(|_| !is_asked) {
            savers.push((name.to_owned(), family, path));
        }
    }
    savers
}

fn output(run: &mut dyn Run, program: &Path, args: &[&str]) -> Result<String, String> {
    let ran = run
        .run(&Call {
            program,
            args,
            stdin: b"",
            most: LISTING,
        })
        .map_err(|error| error.to_string())?;
    if ran.status == Some(0) {
        Ok(ran.stdout)
    } else {
        Err(ran.stderr.lines().next().unwrap_or("it failed").to_owned())
    }
}

/// The interfaces that strangers come by: those of the config, else those of the default routes, else all.
fn outer(all: Vec<String>, configured: &Interfaces) -> Vec<String> {
    let read = |path: &str| files::read_system(Path::new(path)).unwrap_or_default();
    let wanted: BTreeSet<String> = match configured {
        Interfaces::Named(names) => names.iter().cloned().collect(),
        Interfaces::Any => default_routes(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
            .into_iter()
            .collect(),
    };
    let chosen: Vec<String> = all
        .iter()
        .filter(|name| wanted.contains(*name))
        .cloned()
        .collect();
    let chosen = if chosen.is_empty() { all } else { chosen };
    if chosen.is_empty() {
        vec![String::new()]
    } else {
        chosen
    }
}

/// Columns of v4: interface, destination, gateway, ...; of v6: destination, prefix length, ..., interface.
fn default_routes(v4: &str, v6: &str) -> Vec<String> {
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let of_v4 = v4
        .lines()
        .map(words)
        .filter(|words| words.get(1).is_some_and(|to| to == "00000000"));
    let of_v6 = v6
        .lines()
        .map(words)
        .filter(|words| words.get(1).is_some_and(|length| length == "00"));
    let names = of_v4
        .filter_map(|words| words.first().cloned())
        .chain(of_v6.filter_map(|words| words.last().cloned()));
    names.filter(|name| name != "lo").collect()
}

/// The rows of /proc/net/tcp or tcp6 in state LISTEN (0A). Addresses are 32-bit words in the machine's order.
fn listeners(text: &str) -> Vec<SocketAddr> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (local, state) = (words.nth(1)?, words.nth(1)?);
        let (address, port) = local.split_once(':')?;
        (state == "0A").then_some(())?;
        Some(SocketAddr::new(
            address_of(address)?,
            u16::from_str_radix(port, 16).ok()?,
        ))
    };
    text.lines().skip(1).filter_map(row).collect()
}

fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let start = index.checked_mul(8)?;
        u32::from_str_radix(hex.get(start..start.checked_add(8)?)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_as_the_kernel_writes_them() {
        let v4 = "  sl  local_address rem_address   st tx_queue\n   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   1: 0100007F:1F90 00000000:0000 0A 0\n   2: 0202000A:0016 0702000A:C001 01 0\n";
        assert_eq!(
            listeners(v4),
            [
                "0.0.0.0:22".parse().unwrap(),
                "127.0.0.1:8080".parse().unwrap()
            ]
        );
        let v6 = "  sl  local_address\n   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0\n   1: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0\n";
        assert_eq!(
            listeners(v6),
            [
                "[::]:22".parse().unwrap(),
                "[2001:db8::1]:80".parse().unwrap()
            ]
        );
    }

    #[test]
    fn default_routes_of_both_families_name_their_interfaces() {
        let v4 = "Iface\tDestination\tGateway\neth0\t00000000\t010200C0\t0003\neth1\t000200C0\t00000000\n";
        let v6 = "00000000000000000000000000000000 00 0000 00 fe80 00000400 1 0 00000003 ppp0\n\
                  00000000000000000000000000000000 00 0000 00 0000 ffffffff 1 0 00200200 lo\n\
                  20010db8000000000000000000000000 40 0000 00 0000 00000100 1 0 00000001 eth1\n";
        assert_eq!(default_routes(v4, v6), ["eth0", "ppp0"]);
        assert_eq!(
            outer(
                vec!["eth0".into(), "eth1".into()],
                &Interfaces::Named(vec!["eth1".into()])
            ),
            ["eth1"]
        );
        assert_eq!(
            outer(Vec::new(), &Interfaces::Named(vec!["ppp0".into()])),
            [""]
        );
    }
}
