//! Reads the grants from the firewall itself, so that the demo does not rely on posternd's answer.

use crate::adapters::firewall::FirewallDriver;
use crate::adapters::process;
use crate::admin::demo::world::World;
use crate::model::exit::{ExitError, FAILED};
use crate::model::run::{Call, Run};

pub(super) fn rules(world: &World) -> Result<Vec<String>, ExitError> {
    if world.backend() == "iptables" {
        iptables()
    } else {
        nftables()
    }
}

fn iptables() -> Result<Vec<String>, ExitError> {
    let mut rules = Vec::new();
    for name in ["iptables", "ip6tables"] {
        rules.extend(
            lines(name, &["-S", "POSTERN-GRANTS"])?
                .into_iter()
                .filter(|line| line.starts_with("-A")),
        );
    }
    Ok(rules)
}

/// From `nft` if it is installed, else by netlink.
fn nftables() -> Result<Vec<String>, ExitError> {
    if process::find("nft").is_some() {
        let all = lines("nft", &["list", "table", "inet", "postern"])?;
        return Ok(all
            .into_iter()
            .filter(|line| line.contains("expires"))
            .map(|line| line.trim().to_owned())
            .collect());
    }
    let mut driver = crate::adapters::firewall::nftables::Nftables::open()
        .map_err(|error| ExitError::new(FAILED, error))?;
    let grants = driver
        .list()
        .map_err(|error| ExitError::new(FAILED, error))?;
    Ok(grants
        .iter()
        .map(|grant| format!("table inet postern: {grant}, until {}", grant.until))
        .collect())
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
