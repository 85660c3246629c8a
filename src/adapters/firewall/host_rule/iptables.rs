//! Rules in the host's iptables chains, through `iptables-restore --noflush` of the variant that owns them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::adapters::firewall::{FirewallError, xtables_module};
use crate::core::host_rules::accept_rules::{Action, Change};
use crate::core::host_rules::{AcceptRule, PortOf};
use crate::model::run::{Call, OUTPUT, Run};

pub(super) fn change(
    changes: &[&Change],
    run: &mut dyn Run,
    find: fn(&str) -> Option<PathBuf>,
) -> Result<(), FirewallError> {
    let mut inputs: BTreeMap<&str, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for change in changes {
        inputs
            .entry(&change.table.program)
            .or_default()
            .entry(&change.table.name)
            .or_default()
            .push(line(change));
    }
    for (program, tables) in inputs {
        let name = format!("{program}-restore");
        let path = find(&name)
            .ok_or_else(|| FirewallError::Unsupported(format!("{name} is not installed")))?;
        let text: String = tables
            .iter()
            .map(|(table, lines)| format!("*{table}\n{}\nCOMMIT\n", lines.join("\n")))
            .collect();
        let call = Call {
            program: &path,
            args: &["--noflush", "-w", "3"],
            stdin: text.as_bytes(),
            most: OUTPUT,
        };
        let failed = |why: &str| FirewallError::Program(format!("{}: {why}", path.display()));
        let ran = run.run(&call).map_err(|error| failed(&error.to_string()))?;
        if ran.status != Some(0) {
            let module = xtables_module::missing(&ran.stderr);
            let first = || ran.stderr.lines().next().map(str::to_owned);
            let why = module.or_else(first);
            return Err(failed(why.as_deref().unwrap_or("it failed")));
        }
    }
    Ok(())
}

/// `-A CHAIN MATCHES -j ACCEPT`, with `-I` or `-D` as needed.
pub(crate) fn line(change: &Change) -> String {
    let (chain, rule) = (&change.chain, matches(change.rule));
    match change.action {
        Action::Delete { .. } => format!("-D {chain} {rule}"),
        Action::Insert { is_last: true, .. } => format!("-A {chain} {rule}"),
        Action::Insert { number, .. } => format!("-I {chain} {number} {rule}"),
    }
}

fn matches(rule: AcceptRule) -> String {
    let (name, mark) = (rule.service.protocol_name(), rule.mark);
    let port = match rule.port {
        PortOf::Packet => format!("-p {name} -m {name} --dport"),
        PortOf::Sender => format!("-p {name} -m conntrack --ctorigdstport"),
    };
    let service = match rule.service.range() {
        Some((first, last)) if first != last => format!("{port} {first}:{last}"),
        Some((first, _)) => format!("{port} {first}"),
        None if name == "icmpv6" => "-p ipv6-icmp -m icmp6 --icmpv6-type 128".to_owned(),
        None => "-p icmp -m icmp --icmp-type 8".to_owned(),
    };
    format!(
        "{service} -m mark --mark {mark} -m comment --comment \"{}\" -j ACCEPT",
        rule.comment()
    )
}
