//! Reads the grants from the firewall itself, so that the demo does not rely on posternd's answer.

use crate::adapters::firewall::FirewallDriver;
use crate::adapters::firewall::nftables::{LiveTable, Nftables};
use crate::adapters::process;
use crate::admin::demo::world::World;
use crate::model::exit::{ExitError, FAILED};
use crate::model::grant::Grant;
use crate::model::run::{Call, Run};

pub(super) fn rules(world: &World) -> Result<Vec<String>, ExitError> {
    match world.daemon.backend() {
        "iptables" => iptables(),
        _ => nftables(),
    }
}

/// Grants of single ports are in the sets of a table of nf_tables, if the kernel has it. All others are rules.
fn iptables() -> Result<Vec<String>, ExitError> {
    let mut rules = if process::find("nft").is_some() {
        elements("postern_live").unwrap_or_default()
    } else {
        let grants = LiveTable::open().and_then(|mut table| table.list());
        listed("postern_live", &grants.unwrap_or_default())
    };
    for name in ["iptables", "ip6tables"] {
        let lines = lines(name, &["-S", "POSTERN-GRANTS"])?.into_iter();
        rules.extend(lines.filter(|line| line.starts_with("-A")));
    }
    Ok(rules)
}

/// From `nft` if it is installed, else by netlink.
fn nftables() -> Result<Vec<String>, ExitError> {
    if process::find("nft").is_some() {
        return elements("postern");
    }
    let grants = Nftables::open().and_then(|mut driver| driver.list());
    let grants = grants.map_err(|error| ExitError::new(FAILED, error))?;
    Ok(listed("postern", &grants))
}

fn listed(table: &str, grants: &[Grant]) -> Vec<String> {
    let line = |grant: &Grant| format!("table inet {table}: {grant}, until {}", grant.until);
    grants.iter().map(line).collect()
}

fn elements(table: &str) -> Result<Vec<String>, ExitError> {
    let all = lines("nft", &["list", "table", "inet", table])?.into_iter();
    let grants = all.filter(|line| line.contains("expires"));
    Ok(grants.map(|line| line.trim().to_owned()).collect())
}

fn lines(name: &str, arguments: &[&str]) -> Result<Vec<String>, ExitError> {
    let path = process::find(name)
        .ok_or_else(|| ExitError::new(FAILED, format!("the program {name} is missing")))?;
    let call = Call {
        program: &path,
        args: arguments,
        stdin: b"",
        most: crate::model::run::OUTPUT,
    };
    let ran = process::Programs::default()
        .run(&call)
        .map_err(|error| ExitError::new(FAILED, format!("{name}: {error}")))?;
    if ran.status != Some(0) {
        return Err(ExitError::new(
            FAILED,
            format!("{name} {}: {}", arguments.join(" "), ran.stderr.trim()),
        ));
    }
    Ok(ran.stdout.lines().map(str::to_owned).collect())
}
