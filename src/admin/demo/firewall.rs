//! Reads the grants from the firewall itself, so that the demo does not rely on posternd's answer.

use crate::adapters::firewall::FirewallDriver;
use crate::adapters::firewall::nftables::Nftables;
use crate::adapters::process;
use crate::admin::demo::world::World;
use crate::model::exit::{ExitError, FAILED};
use crate::model::grant::Grant;
use crate::model::run::{Call, Run};

pub(super) fn rules(world: &World) -> Result<Vec<String>, ExitError> {
    match world.backend() {
        "iptables" => iptables(),
        _ => nftables(),
    }
}

fn iptables() -> Result<Vec<String>, ExitError> {
    let mut rules = Vec::new();
    for name in ["iptables", "ip6tables"] {
        let lines = lines(name, &["-S", "POSTERN-GRANTS"])?.into_iter();
        rules.extend(lines.filter(|line| line.starts_with("-A")));
    }
    Ok(rules)
}

/// From `nft` if it is installed, else by netlink.
fn nftables() -> Result<Vec<String>, ExitError> {
    if process::find("nft").is_some() {
        let all = lines("nft", &["list", "table", "inet", "postern"])?.into_iter();
        let grants = all.filter(|line| line.contains("expires"));
        return Ok(grants.map(|line| line.trim().to_owned()).collect());
    }
    let grants = Nftables::open().and_then(|mut driver| driver.list());
    let grants = grants.map_err(|error| ExitError::new(FAILED, error))?;
    let line = |grant: &Grant| format!("table inet postern: {grant}, until {}", grant.until);
    Ok(grants.iter().map(line).collect())
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
