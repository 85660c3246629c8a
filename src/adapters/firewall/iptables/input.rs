//! Whole inputs for `iptables-restore --noflush`: each is one transaction for table filter, and one for table nat where that has a
//! part in it. A transaction is carried out entirely or not at all, and nat's comes last: it is what opens a forward.
//!
//! Owns the order of lines in an input: chains, their rules, the jumps to them. Pure.
//! Naming a chain of ours (`:POSTERN - [0:0]`) makes it or empties it; chains that are not named stay as they are.

use super::behind;
use super::list::{Table, Tables};
use super::rules::{
    Abilities, CHAINS, DNAT, FORWARD, FORWARD_GRANTS, Family, GRANT_CHAINS, INPUT, INPUT_GRANTS,
    NAT_CHAINS, NEW, NEW_NAT, PROBE, SNAT, grant_rules, protection_rules,
};
use crate::model::grant::Grant;
use crate::model::settings::Protection;

/// The lines of an input.
#[derive(Debug, Default)]
struct Lines {
    filter: Vec<String>,
    nat: Vec<String>,
}

/// What else than INPUT is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    /// Chains in FORWARD.
    pub(super) forwards: bool,
    /// Chains in table nat.
    pub(super) nat: bool,
}

/// Tables that were not there when Postern came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct New {
    pub(super) filter: bool,
    pub(super) nat: bool,
}

impl New {
    /// Of these tables, those that are missing.
    pub(super) fn before(tables: &Tables) -> Self {
        Self {
            filter: !tables.filter.exists(),
            nat: !tables.nat.exists() && tables.nat_trouble.is_none(),
        }
    }

    /// Of these tables, those that Postern made.
    pub(super) fn marked(tables: &Tables) -> Self {
        Self {
            filter: tables.filter.has(NEW),
            nat: tables.nat.has(NEW_NAT),
        }
    }
}

/// Deletions and additions, as they are.
pub(super) fn changes(lines: &[String]) -> String {
    let mut input = Lines::default();
    lines.iter().for_each(|line| input.push(line.clone()));
    input.text()
}

/// Puts everything in place, whatever is there: since each table is one transaction, there is no moment without protection,
/// and none in which a connection that is let through is not.
pub(super) fn installation(
    family: Family,
    tables: &Tables,
    protection: &Protection,
    live: &[&Grant],
    abilities: Abilities,
    new: New,
) -> Result<String, String> {
    let needs = Needs::of(family, protection, live);
    if let (true, Some(trouble)) = (needs.nat, &tables.nat_trouble) {
        return Err(trouble.clone());
    }
    let mut input = Lines::default();
    // The mark comes first, as where the probe made it.
    if new.filter || tables.filter.has(NEW) {
        input.push(declared(NEW));
    }
    [INPUT, INPUT_GRANTS]
        .into_iter()
        .for_each(|chain| input.push(declared(chain)));
    if needs.nat && (new.nat || tables.nat.has(NEW_NAT)) {
        input.push(declared(NEW_NAT));
    }
    if needs.forwards {
        [FORWARD, FORWARD_GRANTS]
            .into_iter()
            .for_each(|chain| input.push(declared(chain)));
    }
    if needs.nat {
        NAT_CHAINS
            .into_iter()
            .for_each(|chain| input.push(declared(chain)));
    }
    protection_rules(family, protection)
        .iter()
        .for_each(|rule| input.push(added(rule)));
    if needs.forwards {
        behind::chain_rules(family, protection)
            .iter()
            .for_each(|rule| input.push(added(rule)));
    }
    for grant in live {
        grant_rules(grant, abilities)?
            .iter()
            .for_each(|rule| input.push(added(rule)));
    }
    input.filter.extend(jump(&tables.filter, "INPUT", INPUT));
    if needs.forwards {
        input
            .filter
            .extend(jump(&tables.filter, "FORWARD", FORWARD));
    } else {
        input
            .filter
            .extend(without(&tables.filter, &[FORWARD, FORWARD_GRANTS]));
    }
    if needs.nat {
        input.nat.extend(jump(&tables.nat, "PREROUTING", DNAT));
        input.nat.extend(jump(&tables.nat, "POSTROUTING", SNAT));
    } else {
        input.nat.extend(without(&tables.nat, &NAT_CHAINS));
    }
    Ok(input.text())
}

impl Needs {
    pub(super) fn of(family: Family, protection: &Protection, live: &[&Grant]) -> Self {
        let is_own = |host: &std::net::IpAddr| Family::of(&(*host).into()) == family;
        let forwarded = live.iter().any(|grant| !grant.forwards.is_empty());
        Self {
            forwards: !protection.behind.is_empty()
                || forwarded
                || live.iter().any(|grant| grant.target.is_some()),
            nat: forwarded
                || protection
                    .forwards
                    .iter()
                    .any(|forward| is_own(&forward.host)),
        }
    }
}

/// Empties `chains`, by [`declared`] or [`emptied`], and fills them with the grants that belong there.
pub(super) fn rebuilding<'a>(
    chains: &[&str],
    empty: fn(&str) -> String,
    live: impl Iterator<Item = &'a Grant>,
    abilities: Abilities,
) -> Result<String, String> {
    let mut input = Lines::default();
    chains.iter().for_each(|chain| input.push(empty(chain)));
    for grant in live {
        let rules = grant_rules(grant, abilities)?;
        let own = rules.iter().filter(|rule| {
            rule.split(' ')
                .next()
                .is_some_and(|chain| chains.contains(&chain))
        });
        own.for_each(|rule| input.push(added(rule)));
    }
    Ok(input.text())
}

/// Takes all that is Postern's out; `None` where nothing is.
pub(super) fn removal(tables: &Tables) -> Option<String> {
    let filter: Vec<&str> = CHAINS.into_iter().chain([NEW]).collect();
    let nat: Vec<&str> = NAT_CHAINS.into_iter().chain([NEW_NAT]).collect();
    let input = Lines {
        filter: without(&tables.filter, &filter),
        nat: without(&tables.nat, &nat),
    };
    (!input.filter.is_empty() || !input.nat.is_empty()).then(|| input.text())
}

/// Tries out a match in a chain that nothing jumps to. Two transactions: within one, the legacy variant would never show the rule to the kernel.
/// A table that is new, and that this makes, is marked in the same moment, so that even a kill leaves none that nobody takes out again.
pub(super) fn probe(matches: &str, is_new: bool) -> String {
    let mut lines = vec![declared(PROBE), format!("-A {PROBE} {matches} -j RETURN")];
    lines.extend(is_new.then(|| declared(NEW)));
    let first = transaction("filter", &lines);
    let second = transaction("filter", &[format!("-F {PROBE}"), format!("-X {PROBE}")]);
    first + &second
}

/// Takes the mark of a new table out, where nothing else was put into it.
pub(super) fn unmarking() -> String {
    transaction("filter", &[format!("-X {NEW}")])
}

/// How many transactions an input is; one that was refused may have been carried out by half where it is several.
pub(super) fn transactions(text: &str) -> Option<u32> {
    u32::try_from(text.matches("COMMIT\n").count()).ok()
}

/// Whether rules are other ones after it, whatever was there before.
pub(super) fn changes_something(text: &str) -> bool {
    text.lines()
        .any(|line| line.starts_with("-A ") || line.starts_with("-D "))
}

/// The grant chains that these lines are about.
pub(super) fn chains_in(lines: &[String]) -> Vec<&'static str> {
    let is_meant = |chain: &&str| {
        lines
            .iter()
            .any(|line| line.split(' ').nth(1) == Some(*chain))
    };
    GRANT_CHAINS.into_iter().filter(is_meant).collect()
}

impl Lines {
    /// A line that is about a chain of ours goes to its table: `:CHAIN …` or `-A CHAIN …`.
    fn push(&mut self, line: String) {
        let chain = match line.strip_prefix(':') {
            Some(declared) => declared.split(' ').next(),
            None => line.split(' ').nth(1),
        };
        let is_nat = chain.is_some_and(|chain| NAT_CHAINS.contains(&chain) || chain == NEW_NAT);
        if is_nat {
            self.nat.push(line)
        } else {
            self.filter.push(line)
        }
    }

    fn text(&self) -> String {
        let tables = [("filter", &self.filter), ("nat", &self.nat)];
        tables
            .into_iter()
            .filter(|(_, lines)| !lines.is_empty())
            .map(|(name, lines)| transaction(name, lines))
            .collect()
    }
}

fn transaction(table: &str, lines: &[String]) -> String {
    format!("*{table}\n{}\nCOMMIT\n", lines.join("\n"))
}

/// Empties a chain, or makes it.
pub(super) fn declared(chain: &str) -> String {
    format!(":{chain} - [0:0]")
}

/// Empties a chain, and is refused where it is not there.
pub(super) fn emptied(chain: &str) -> String {
    format!("-F {chain}")
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
    let present: Vec<&str> = chains
        .iter()
        .copied()
        .filter(|chain| table.has(chain))
        .collect();
    let emptied = present.iter().map(|chain| declared(chain));
    let unhooked = table.jumps_to(&present).map(|rule| format!("-D {rule}"));
    let deleted = present.iter().map(|chain| format!("-X {chain}"));
    emptied.chain(unhooked).chain(deleted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::firewall::iptables::list::read;
    use crate::adapters::firewall::iptables::tests::{forward, grant, protection};

    fn table(input_rules: &[&str], chains: &[&str]) -> Tables {
        let chains: String = chains
            .iter()
            .map(|chain| format!(":{chain} - [0:0]\n"))
            .collect();
        let rules: String = input_rules
            .iter()
            .map(|rule| format!("-A INPUT {rule}\n"))
            .collect();
        read(&format!(
            "*filter\n:INPUT ACCEPT [0:0]\n{chains}{rules}COMMIT\n"
        ))
        .unwrap()
    }

    fn install_lines(table: &Tables, protection: &Protection) -> Vec<String> {
        let text = installation(
            Family::V4,
            table,
            protection,
            &[],
            Abilities::default(),
            New::default(),
        )
        .unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_jump_that_is_elsewhere_or_doubled_is_made_one_at_the_head() {
        let one = ["-D INPUT -j POSTERN", "-I INPUT 1 -j POSTERN"];
        let two = [
            "-D INPUT -j POSTERN",
            "-D INPUT -j POSTERN",
            "-I INPUT 1 -j POSTERN",
        ];
        let none: [&str; 0] = [];
        let cases: [(&[&str], &[&str]); 5] = [
            (&[], &one[1..]),
            (&["-j POSTERN", "-s 10.0.0.1/32 -j DROP"], &none),
            (&["-s 10.0.0.1/32 -j DROP", "-j POSTERN"], &one),
            (&["-j POSTERN", "-j POSTERN"], &two),
            (&["-i lo -j POSTERN", "-j POSTERN"], &one),
        ];
        for (rules, expected) in cases {
            let lines = install_lines(&table(rules, &["POSTERN"]), &protection(&[]));
            let jumps: Vec<&String> = lines
                .iter()
                .filter(|line| line.contains(" INPUT "))
                .collect();
            assert_eq!(jumps, expected, "{rules:?}");
        }
    }

    #[test]
    fn the_whole_input_of_a_first_install() {
        let behind = vec![("10.0.0.0/24".parse().unwrap(), "tcp/22".parse().unwrap())];
        let protection = Protection {
            behind,
            ..protection(&["tcp/22"])
        };
        let grant = grant(1, "al", "192.0.2.7/32", &["tcp/22"]);
        let text = installation(
            Family::V4,
            &Tables::default(),
            &protection,
            &[&grant],
            Abilities::default(),
            New::default(),
        )
        .unwrap();
        assert_eq!(
            text,
            "*filter\n:POSTERN - [0:0]\n:POSTERN-GRANTS - [0:0]\n:POSTERN-FWD - [0:0]\n:POSTERN-FWD-GRANTS - [0:0]\n\
             -A POSTERN -p udp -m udp --dport 62201 -j DROP\n\
             -A POSTERN -j POSTERN-GRANTS\n\
             -A POSTERN -p tcp -m tcp --dport 22 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n\
             -A POSTERN -p tcp -m tcp --dport 22 -j DROP\n\
             -A POSTERN-FWD -j POSTERN-FWD-GRANTS\n\
             -A POSTERN-FWD -m conntrack --ctstate RELATED,ESTABLISHED --ctproto 6 --ctreplsrc 10.0.0.0/24 --ctreplsrcport 22 -j ACCEPT\n\
             -A POSTERN-FWD -d 10.0.0.0/24 -p tcp -m tcp --dport 22 -m conntrack ! --ctstate ESTABLISHED -j DROP\n\
             -A POSTERN-GRANTS -s 192.0.2.7/32 -p tcp -m tcp --dport 22 -m comment --comment \"postern id=1 user=al until=1795341600000\" -j ACCEPT\n\
             -I INPUT 1 -j POSTERN\n-I FORWARD 1 -j POSTERN-FWD\nCOMMIT\n"
        );
    }

    #[test]
    fn forward_chains_that_are_no_longer_needed_go() {
        let table = read("*filter\n:FORWARD ACCEPT [0:0]\n:POSTERN-FWD - [0:0]\n-A FORWARD -j POSTERN-FWD\nCOMMIT\n").unwrap();
        let lines = install_lines(&table, &protection(&[]));
        assert_eq!(
            lines[5..],
            [
                "-I INPUT 1 -j POSTERN",
                ":POSTERN-FWD - [0:0]",
                "-D FORWARD -j POSTERN-FWD",
                "-X POSTERN-FWD",
                "COMMIT"
            ]
        );
    }

    #[test]
    fn a_forward_needs_table_nat_of_its_own_family_only_and_is_opened_last() {
        let needs = |family| {
            let forwards = vec![forward("tcp/2222", "10.0.0.5", Some(22), false)];
            Needs::of(
                family,
                &Protection {
                    forwards,
                    ..protection(&[])
                },
                &[],
            )
            .nat
        };
        assert!(needs(Family::V4) && !needs(Family::V6));
        let mut through = grant(1, "al", "192.0.2.7/32", &[]);
        through.forwards = vec![forward("tcp/2222", "10.0.0.5", Some(22), false)];
        let text = installation(
            Family::V4,
            &Tables::default(),
            &protection(&[]),
            &[&through],
            Abilities::default(),
            New::default(),
        )
        .unwrap();
        let (filter, nat) = text.split_once("*nat\n").unwrap();
        assert!(filter.contains("-A POSTERN-FWD-GRANTS") && transactions(&text) == Some(2));
        let nat: Vec<&str> = nat
            .lines()
            .map(|line| line.split(" -s").next().unwrap())
            .collect();
        assert_eq!(
            nat,
            [
                ":POSTERN-DNAT - [0:0]",
                ":POSTERN-SNAT - [0:0]",
                "-A POSTERN-DNAT",
                "-I PREROUTING 1 -j POSTERN-DNAT",
                "-I POSTROUTING 1 -j POSTERN-SNAT",
                "COMMIT"
            ]
        );
        let tables =
            read("*nat\n:POSTERN-DNAT - [0:0]\n-A PREROUTING -j POSTERN-DNAT\nCOMMIT\n").unwrap();
        let cleaned =
            "*nat\n:POSTERN-DNAT - [0:0]\n-D PREROUTING -j POSTERN-DNAT\n-X POSTERN-DNAT\nCOMMIT\n";
        assert!(
            install_lines(&tables, &protection(&[]))
                .join("\n")
                .ends_with(cleaned.trim_end()),
            "what is no longer needed goes"
        );
        assert_eq!(removal(&tables).unwrap(), cleaned);
    }

    #[test]
    fn removal_takes_what_is_there_and_only_what_is_ours() {
        assert_eq!(removal(&table(&["-j DROP"], &["DOCKER"])), None);
        assert_eq!(
            removal(&table(
                &["-i eth0 -j POSTERN", "-j POSTERN", "-j DROP"],
                &["POSTERN", "POSTERN-PROBE"]
            ))
            .unwrap(),
            "*filter\n:POSTERN - [0:0]\n:POSTERN-PROBE - [0:0]\n-D INPUT -i eth0 -j POSTERN\n-D INPUT -j POSTERN\n-X POSTERN\n-X POSTERN-PROBE\nCOMMIT\n"
        );
    }
}
