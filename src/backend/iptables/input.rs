//! Whole inputs for `iptables-restore --noflush`: each is one transaction, carried out entirely or not at all.
//!
//! Owns the order of lines in an input: chains, their rules, the jumps to them. Pure.
//! Naming a chain of ours (`:POSTERN - [0:0]`) makes it or empties it; chains that are not named stay as they are.

use super::list::Table;
use super::rules::{
    Abilities, CHAINS, FORWARD, FORWARD_GRANTS, Family, INPUT, INPUT_GRANTS, PROBE, chain_of, forward_rules, grant_rules, protection_rules,
};
use crate::grant::Grant;
use crate::settings::Protection;

/// Deletions and additions, as they are.
pub(super) fn changes(lines: &[String]) -> String {
    transaction(lines)
}

/// Puts everything in place, whatever is there: since it is one transaction, there is no moment without protection,
/// and none in which a connection that is let through is not.
pub(super) fn installation(
    family: Family,
    table: &Table,
    protection: &Protection,
    live: &[&Grant],
    abilities: Abilities,
) -> Result<String, String> {
    let forwards = needs_forwarding(protection, live);
    let chains: &[&str] = if forwards { &[INPUT, INPUT_GRANTS, FORWARD, FORWARD_GRANTS] } else { &[INPUT, INPUT_GRANTS] };
    let mut lines: Vec<String> = chains.iter().map(|chain| declared(chain)).collect();
    lines.extend(protection_rules(family, protection).iter().map(|rule| added(rule)));
    if forwards {
        lines.extend(forward_rules().iter().map(|rule| added(rule)));
    }
    for grant in live {
        lines.extend(grant_rules(grant, abilities)?.iter().map(|rule| added(rule)));
    }
    lines.extend(jump(table, "INPUT", INPUT));
    if forwards {
        lines.extend(jump(table, "FORWARD", FORWARD));
    } else {
        lines.extend(without(table, &[FORWARD, FORWARD_GRANTS]));
    }
    Ok(transaction(&lines))
}

/// Whether the forward chains are needed.
pub(super) fn needs_forwarding(protection: &Protection, live: &[&Grant]) -> bool {
    protection.forwards || live.iter().any(|grant| grant.target.is_some())
}

/// Empties `chains` and fills them with the grants that belong there.
pub(super) fn rebuilding<'a>(chains: &[&str], live: impl Iterator<Item = &'a Grant>, abilities: Abilities) -> Result<String, String> {
    let mut lines: Vec<String> = chains.iter().map(|chain| declared(chain)).collect();
    for grant in live.filter(|grant| chains.contains(&chain_of(grant))) {
        lines.extend(grant_rules(grant, abilities)?.iter().map(|rule| added(rule)));
    }
    Ok(transaction(&lines))
}

/// Takes all that is Postern's out; `None` where nothing is.
pub(super) fn removal(table: &Table) -> Option<String> {
    let lines = without(table, &CHAINS);
    (!lines.is_empty()).then(|| transaction(&lines))
}

/// Tries out a match in a chain that nothing jumps to. Two transactions: within one, the legacy variant would never show the rule to the kernel.
pub(super) fn probe(matches: &str) -> String {
    let first = transaction(&[declared(PROBE), format!("-A {PROBE} {matches} -j RETURN")]);
    let second = transaction(&[format!("-F {PROBE}"), format!("-X {PROBE}")]);
    first + &second
}

fn transaction(lines: &[String]) -> String {
    format!("*filter\n{}\nCOMMIT\n", lines.join("\n"))
}

fn declared(chain: &str) -> String {
    format!(":{chain} - [0:0]")
}

fn added(rule: &str) -> String {
    format!("-A {rule}")
}

/// Makes the jump the first rule of `from` and the only one, where it is not.
fn jump(table: &Table, from: &str, to: &str) -> Vec<String> {
    let jump = format!("-j {to}");
    let here: Vec<bool> = table.of(from).map(|rule| rule == jump).collect();
    let count = here.iter().filter(|is_jump| **is_jump).count();
    if count == 1 && here.first() == Some(&true) {
        return Vec::new();
    }
    // By text, not by number: the rules may have moved since they were read, and then this fails instead of deleting another's rule.
    let mut lines = vec![format!("-D {from} {jump}"); count];
    lines.push(format!("-I {from} 1 {jump}"));
    lines
}

/// Deletes the jumps to those of `chains` that are there, and the chains.
fn without(table: &Table, chains: &[&str]) -> Vec<String> {
    let present: Vec<&str> = chains.iter().copied().filter(|chain| table.has(chain)).collect();
    let emptied = present.iter().map(|chain| declared(chain));
    let unhooked = table.jumps_to(&present).map(|rule| format!("-D {rule}"));
    let deleted = present.iter().map(|chain| format!("-X {chain}"));
    emptied.chain(unhooked).chain(deleted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::iptables::list::read;
    use crate::backend::iptables::tests::{grant, protection};

    fn table(input_rules: &[&str], chains: &[&str]) -> Table {
        let chains: String = chains.iter().map(|chain| format!(":{chain} - [0:0]\n")).collect();
        let rules: String = input_rules.iter().map(|rule| format!("-A INPUT {rule}\n")).collect();
        read(&format!("*filter\n:INPUT ACCEPT [0:0]\n{chains}{rules}COMMIT\n")).unwrap()
    }

    fn install_lines(table: &Table, forwards: bool) -> Vec<String> {
        let protection = Protection { forwards, ..protection(&[]) };
        let text = installation(Family::V4, table, &protection, &[], Abilities::default()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_jump_that_is_elsewhere_or_doubled_is_made_one_at_the_head() {
        let one = ["-D INPUT -j POSTERN", "-I INPUT 1 -j POSTERN"];
        let two = ["-D INPUT -j POSTERN", "-D INPUT -j POSTERN", "-I INPUT 1 -j POSTERN"];
        let none: [&str; 0] = [];
        let cases: [(&[&str], &[&str]); 5] = [
            (&[], &one[1..]),
            (&["-j POSTERN", "-s 10.0.0.1/32 -j DROP"], &none),
            (&["-s 10.0.0.1/32 -j DROP", "-j POSTERN"], &one),
            (&["-j POSTERN", "-j POSTERN"], &two),
            (&["-i lo -j POSTERN", "-j POSTERN"], &one),
        ];
        for (rules, expected) in cases {
            let lines = install_lines(&table(rules, &["POSTERN"]), false);
            let jumps: Vec<&String> = lines.iter().filter(|line| line.contains(" INPUT ")).collect();
            assert_eq!(jumps, expected, "{rules:?}");
        }
    }

    #[test]
    fn the_whole_input_of_a_first_install() {
        let protection = Protection { forwards: true, ..protection(&["tcp/22"]) };
        let grant = grant(1, "al", "192.0.2.7/32", &["tcp/22"]);
        let text = installation(Family::V4, &Table::default(), &protection, &[&grant], Abilities::default()).unwrap();
        assert_eq!(
            text,
            "*filter\n:POSTERN - [0:0]\n:POSTERN-GRANTS - [0:0]\n:POSTERN-FWD - [0:0]\n:POSTERN-FWD-GRANTS - [0:0]\n\
             -A POSTERN -p udp -m udp --dport 62201 -j DROP\n\
             -A POSTERN -j POSTERN-GRANTS\n\
             -A POSTERN -p tcp -m tcp --dport 22 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n\
             -A POSTERN -p tcp -m tcp --dport 22 -j DROP\n\
             -A POSTERN-FWD -j POSTERN-FWD-GRANTS\n\
             -A POSTERN-FWD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n\
             -A POSTERN-GRANTS -s 192.0.2.7/32 -p tcp -m tcp --dport 22 -m comment --comment \"postern id=1 user=al until=1795341600000\" -j ACCEPT\n\
             -I INPUT 1 -j POSTERN\n-I FORWARD 1 -j POSTERN-FWD\nCOMMIT\n"
        );
    }

    #[test]
    fn forward_chains_that_are_no_longer_needed_go() {
        let table = read("*filter\n:FORWARD ACCEPT [0:0]\n:POSTERN-FWD - [0:0]\n-A FORWARD -j POSTERN-FWD\nCOMMIT\n").unwrap();
        let lines = install_lines(&table, false);
        assert_eq!(lines[5..], ["-I INPUT 1 -j POSTERN", ":POSTERN-FWD - [0:0]", "-D FORWARD -j POSTERN-FWD", "-X POSTERN-FWD", "COMMIT"]);
    }

    #[test]
    fn removal_takes_what_is_there_and_only_what_is_ours() {
        assert_eq!(removal(&table(&["-j DROP"], &["DOCKER"])), None);
        assert_eq!(
            removal(&table(&["-i eth0 -j POSTERN", "-j POSTERN", "-j DROP"], &["POSTERN", "POSTERN-PROBE"])).unwrap(),
            "*filter\n:POSTERN - [0:0]\n:POSTERN-PROBE - [0:0]\n-D INPUT -i eth0 -j POSTERN\n-D INPUT -j POSTERN\n-X POSTERN\n-X POSTERN-PROBE\nCOMMIT\n"
        );
    }
}
