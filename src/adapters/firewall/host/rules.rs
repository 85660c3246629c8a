//! The rules of the host: nf_tables over netlink, and legacy iptables through its save program.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::iptables_save;
use super::nf_tables::{self, Owners, Scope};
use crate::adapters::files;
use crate::adapters::firewall::{FirewallError, xtables_module};
use crate::adapters::netlink::NetlinkError;
use crate::core::host_rules::{Chain, Ruleset};
use crate::model::address::Family;
use crate::model::run::{Call, Run};

/// Limit for a listing in bytes.
const MAX_LISTING: usize = 64 << 20;

/// They name the tables of legacy iptables.
const LEGACY_TABLES: [&str; 2] = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];

pub(crate) struct Tools<'a> {
    pub(crate) run: &'a mut dyn Run,
    pub(crate) find: fn(&str) -> Option<PathBuf>,
}

/// The rules that decide what passes; a table that cannot be read is an error.
pub(crate) fn read_rules(tools: &mut Tools<'_>) -> Result<Ruleset, FirewallError> {
    let mut unseen = Vec::new();
    let chains = read_in(Scope::Filters, tools, &mut unseen);
    match unseen.into_iter().next() {
        None => Ok(Ruleset { chains }),
        Some(why) => Err(FirewallError::Program(why)),
    }
}

/// All rules, also those that translate addresses.
pub(super) fn read(tools: &mut Tools<'_>, unseen: &mut Vec<String>) -> Vec<Chain> {
    read_in(Scope::All, tools, unseen)
}

fn read_in(scope: Scope, tools: &mut Tools<'_>, unseen: &mut Vec<String>) -> Vec<Chain> {
    let mut chains = match nf_tables_chains(scope, tools) {
        Ok(chains) => chains,
        Err(error) => {
            unseen.push(format!("cannot read nft rules: {error}"));
            Vec::new()
        }
    };
    for (family, name, tables) in [
        (Family::V4, "iptables", LEGACY_TABLES[0]),
        (Family::V6, "ip6tables", LEGACY_TABLES[1]),
    ] {
        // the program could create tables that the kernel does not have
        if is_listed(tables) {
            match legacy_chains(family, name, tools) {
                Ok(found) => chains.extend(found),
                Err(why) => unseen.push(format!("cannot read the legacy rules of {name}: {why}")),
            }
        }
    }
    chains
}

/// Whether the kernel has rules of legacy iptables, which cause no events.
pub(crate) fn has_legacy_tables() -> bool {
    LEGACY_TABLES.iter().any(|path| is_listed(path))
}

fn is_listed(path: &str) -> bool {
    files::read_system(Path::new(path)).is_ok_and(|text| !text.trim().is_empty())
}

fn nf_tables_chains(scope: Scope, tools: &Tools<'_>) -> Result<Vec<Chain>, NetlinkError> {
    let find = tools.find;
    let owners = Owners {
        iptables: &|family| variant(find, family.pick("iptables", "ip6tables"), "nft"),
        interfaces: interface_names(),
    };
    let open = || nf_tables::open().map_err(NetlinkError::Lost);
    match nf_tables::read_unchanged(open, scope, &owners) {
        Err(NetlinkError::Lost(error)) if has_no_nf_tables(&error) => Ok(Vec::new()),
        Err(error) if error.is_all(Errno::INVAL) || error.is_all(Errno::OPNOTSUPP) => {
            Ok(Vec::new())
        }
        read => read,
    }
}

fn has_no_nf_tables(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT)
    )
}

fn interface_names() -> HashMap<u32, String> {
    let interfaces = pnet::datalink::interfaces().into_iter();
    interfaces.map(|one| (one.index, one.name)).collect()
}

fn legacy_chains(family: Family, name: &str, tools: &mut Tools<'_>) -> Result<Vec<Chain>, String> {
    let changer = variant(tools.find, name, "legacy")
        .ok_or_else(|| format!("{name}-legacy-save is not installed"))?;
    let path = (tools.find)(&format!("{changer}-save"))
        .ok_or_else(|| format!("{changer}-save is not installed"))?;
    let text = output(tools, &path).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(iptables_save::read(&changer, family, &text))
}

/// The program that changes tables of a variant, `nft` or `legacy`: the plain name if it is of that variant.
fn variant(find: fn(&str) -> Option<PathBuf>, name: &str, wanted: &str) -> Option<String> {
    let resolved = |name: String| find(&name).and_then(|path| path.canonicalize().ok());
    let plain = resolved(format!("{name}-save"));
    let named = resolved(format!("{name}-{wanted}-save"));
    let other = if wanted == "nft" { "legacy" } else { "nft" };
    let is_of = |path: &PathBuf, variant: &str| path.to_string_lossy().contains(variant);
    match (plain, named) {
        (Some(plain), Some(named)) if plain == named => Some(name.to_owned()),
        (_, Some(_)) => Some(format!("{name}-{wanted}")),
        // the programs before there were variants are legacy
        (Some(plain), None)
            if is_of(&plain, wanted) || wanted == "legacy" && !is_of(&plain, other) =>
        {
            Some(name.to_owned())
        }
        (_, None) => None,
    }
}

fn output(tools: &mut Tools<'_>, program: &Path) -> Result<String, String> {
    let call = Call {
        program,
        args: &[],
        stdin: b"",
        most: MAX_LISTING,
    };
    let ran = tools.run.run(&call).map_err(|error| error.to_string())?;
    if ran.status == Some(0) {
        Ok(ran.stdout)
    } else {
        let module = xtables_module::missing(&ran.stderr);
        let first = ran.stderr.lines().next().unwrap_or("it failed");
        Err(module.unwrap_or_else(|| first.to_owned()))
    }
}
