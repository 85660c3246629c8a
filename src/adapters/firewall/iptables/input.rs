//! Whole inputs for `iptables-restore --noflush`.
//!
//! Each table is one transaction: all of it is carried out, or nothing. Table nat comes last, because it opens a port forward.
//! A line `:CHAIN - [0:0]` creates the chain or empties it. Chains without such a line stay as they are.

use super::chains::{
    CREATED_FILTER, CREATED_NAT, DNAT, FILTER_CHAINS, FORWARD, FORWARD_GRANTS, GRANT_CHAINS, INPUT,
    INPUT_GRANTS, MARK, NAT_CHAINS, NeededChains, PROBE, RAW_CHAINS, SENSED, SENSOR, SNAT,
};
use super::marks::marking;
use super::rules::{Form, grant_rules, protection_rules};
use super::save::{Table, Tables};
use super::{forward, sensor};
use crate::adapters::firewall::FirewallError;
use crate::model::address::Family;
use crate::model::grant::Grant;
use crate::model::settings::Protection;

#[derive(Debug, Default)]
struct Input {
    filter: Vec<String>,
    raw: Vec<String>,
    nat: Vec<String>,
}

impl Input {
    /// Adds a line about one of Postern's chains, `:CHAIN …` or `-A CHAIN …`, to its table.
    fn push(&mut self, line: String) {
        let chain = match line.strip_prefix(':') {
            Some(declared) => declared.split(' ').next(),
            None => line.split(' ').nth(1),
        };
        match chain {
            Some(DNAT | SNAT | CREATED_NAT) => self.nat.push(line),
            Some(SENSOR | SENSED) => self.raw.push(line),
            _ => self.filter.push(line),
        }
    }

    fn append(&mut self, rules: &[String]) {
        for rule in rules {
            self.push(format!("-A {rule}"));
        }
    }

    fn text(&self) -> String {
        [
            ("filter", &self.filter),
            ("raw", &self.raw),
            ("nat", &self.nat),
        ]
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(name, lines)| transaction(name, lines))
        .collect()
    }
}

fn transaction(table: &str, lines: &[String]) -> String {
    format!("*{table}\n{}\nCOMMIT\n", lines.join("\n"))
}

pub(super) fn changes(lines: &[String]) -> String {
    let mut input = Input::default();
    lines.iter().for_each(|line| input.push(line.clone()));
    input.text()
}

/// Installs everything, regardless of what is installed. A table is one transaction, so protection has no gap, and no established
/// connection is cut.
pub(super) fn installation(
    family: Family,
    tables: &Tables,
    protection: &Protection,
    live: &[&Grant],
    form: Form,
) -> Result<String, FirewallError> {
    let needed = NeededChains::new(family, protection, live);
    let unusable = [
        (needed.nat, &tables.nat_error),
        (needed.sensor, &tables.raw_error),
    ];
    if let Some((_, Some(error))) = unusable.iter().find(|(used, why)| *used && why.is_some()) {
        return Err(FirewallError::Unsupported(error.to_string()));
    }
    let mut chains = vec![INPUT, INPUT_GRANTS, MARK];
    if needed.forward {
        chains.extend([FORWARD, FORWARD_GRANTS]);
    }
    if needed.nat {
        chains.extend(NAT_CHAINS);
    }
    if needed.sensor {
        chains.extend(RAW_CHAINS);
    }
    let mut input = Input::default();
    chains.iter().for_each(|chain| input.push(declare(chain)));
    input.append(&[marking(protection.packet_mark, form.live)]);
    input.append(&protection_rules(family, protection, form));
    if needed.forward {
        input.append(&forward::protection_rules(family, protection, form.in_sets));
    }
    input.append(&sensor::rules(protection));
    for grant in live {
        input.append(&grant_rules(grant, form)?);
    }
    input.filter.extend(jump(&tables.filter, "INPUT", INPUT));
    input.filter.extend(if needed.forward {
        jump(&tables.filter, "FORWARD", FORWARD)
    } else {
        deletion(&tables.filter, &[FORWARD, FORWARD_GRANTS])
    });
    if needed.nat {
        input.nat.extend(jump(&tables.nat, "PREROUTING", DNAT));
        input.nat.extend(jump(&tables.nat, "POSTROUTING", SNAT));
    } else {
        input.nat.extend(deletion(&tables.nat, &NAT_CHAINS));
    }
    input.raw.extend(if needed.sensor {
        jump(&tables.raw, "PREROUTING", SENSOR)
    } else {
        deletion(&tables.raw, &RAW_CHAINS)
    });
    Ok(input.text())
}

/// Empties `chains`, by [`declare`] or [`flush`], and writes the grants that belong there.
pub(super) fn rewrite<'a>(
    chains: &[&str],
    empty: fn(&str) -> String,
    live: impl Iterator<Item = &'a Grant>,
    form: Form,
) -> Result<String, FirewallError> {
    let mut input = Input::default();
    chains.iter().for_each(|chain| input.push(empty(chain)));
    for grant in live {
        let mut rules = grant_rules(grant, form)?;
        rules.retain(|rule| {
            chains
                .iter()
                .any(|chain| rule.split(' ').next() == Some(chain))
        });
        input.append(&rules);
    }
    Ok(input.text())
}

pub(super) fn removal(tables: &Tables) -> Option<String> {
    let filter: Vec<&str> = FILTER_CHAINS.into_iter().chain([CREATED_FILTER]).collect();
    let nat: Vec<&str> = NAT_CHAINS.into_iter().chain([CREATED_NAT]).collect();
    let input = Input {
        filter: deletion(&tables.filter, &filter),
        raw: deletion(&tables.raw, &RAW_CHAINS),
        nat: deletion(&tables.nat, &nat),
    };
    Some(input.text()).filter(|text| !text.is_empty())
}

/// Tests a match in a chain that no rule jumps to.
///
/// It takes two transactions: within one, the legacy variant never shows the rule to the kernel.
pub(super) fn probe(matches: &str) -> String {
    let lines = [declare(PROBE), format!("-A {PROBE} {matches} -j RETURN")];
    let first = transaction("filter", &lines);
    let second = transaction("filter", &[flush(PROBE), format!("-X {PROBE}")]);
    first + &second
}

/// The number of transactions in an input. If there are several and one is refused, the others may be in place.
pub(super) fn transactions(text: &str) -> u32 {
    u32::try_from(text.matches("COMMIT\n").count()).unwrap_or(u32::MAX)
}

/// Whether an input always changes rules, regardless of what is installed.
pub(super) fn changes_rules(text: &str) -> bool {
    text.lines()
        .any(|line| line.starts_with("-A ") || line.starts_with("-D "))
}

pub(super) fn grant_chains_in(lines: &[String]) -> Vec<&'static str> {
    let mut chains = GRANT_CHAINS.to_vec();
    chains.retain(|chain| {
        lines
            .iter()
            .any(|line| line.split(' ').nth(1) == Some(chain))
    });
    chains
}

pub(super) fn declare(chain: &str) -> String {
    format!(":{chain} - [0:0]")
}

/// Empties a chain; refused if there is no such chain.
pub(super) fn flush(chain: &str) -> String {
    format!("-F {chain}")
}

/// Makes the jump the first and only one in `from`; nothing to do if it already is.
fn jump(table: &Table, from: &str, to: &str) -> Vec<String> {
    let jump = format!("-j {to}");
    let rules: Vec<bool> = table.rules(from).map(|rule| rule == jump).collect();
    let count = rules.iter().filter(|is_jump| **is_jump).count();
    if count == 1 && rules.first() == Some(&true) {
        return Vec::new();
    }
    // By text, not by number: if the rules moved since they were read, this fails and deletes no other rule.
    let mut lines = vec![format!("-D {from} {jump}"); count];
    lines.push(format!("-I {from} 1 {jump}"));
    lines
}

fn deletion(table: &Table, chains: &[&str]) -> Vec<String> {
    let mut present = chains.to_vec();
    present.retain(|chain| table.has(chain));
    let empty = present.iter().map(|chain| declare(chain));
    let jumps = table.jumps_to(&present).map(|rule| format!("-D {rule}"));
    let delete = present.iter().map(|chain| format!("-X {chain}"));
    empty.chain(jumps).chain(delete).collect()
}

#[cfg(test)]
mod tests {
    use super::super::save::read;
    use super::*;
    use crate::adapters::firewall::iptables::tests::protection;

    #[test]
    fn chains_without_a_use_are_deleted() {
        let tables = read(
            "*filter\n:FORWARD ACCEPT [0:0]\n:POSTERN-FWD - [0:0]\n-A FORWARD -j POSTERN-FWD\nCOMMIT\n\
             *nat\n:POSTERN-DNAT - [0:0]\n-A PREROUTING -j POSTERN-DNAT\nCOMMIT\n",
        )
        .unwrap();
        let filter = ":POSTERN-FWD - [0:0]\n-D FORWARD -j POSTERN-FWD\n-X POSTERN-FWD\nCOMMIT\n";
        let nat =
            "*nat\n:POSTERN-DNAT - [0:0]\n-D PREROUTING -j POSTERN-DNAT\n-X POSTERN-DNAT\nCOMMIT\n";
        let text =
            installation(Family::V4, &tables, &protection(&[]), &[], Form::default()).unwrap();
        assert!(
            text.ends_with(&format!("-I INPUT 1 -j POSTERN\n{filter}{nat}")),
            "{text}"
        );
        assert_eq!(removal(&tables).unwrap(), format!("*filter\n{filter}{nat}"));
    }
}
