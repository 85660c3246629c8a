//! Reads the output of `iptables-save`: the chains and rules of the tables with Postern's chains.
//!
//! A line that it cannot read is an error. If it skipped the line, a grant could stay open unseen.

use super::chains::{DNAT, FORWARD, FORWARD_GRANTS, INPUT, INPUT_GRANTS, SENSED, SENSOR, SNAT};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tables {
    pub(super) filter: Table,
    pub(super) nat: Table,
    pub(super) raw: Table,
    /// Why table nat can be neither read nor written.
    pub(super) nat_error: Option<SaveError>,
    /// The same for table raw.
    pub(super) raw_error: Option<SaveError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    chains: Vec<String>,
    /// Each as `CHAIN MATCHES -j TARGET`, in order.
    rules: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SaveError {
    #[error("\"{0}\": only nft can show the rules of this table; set backend = \"nftables\"")]
    Incompatible(String),
    #[error("\"{0}\" is not a line that iptables-save prints")]
    UnknownLine(String),
    #[error("its output ends in the middle of a table")]
    Truncated,
}

impl Table {
    pub(super) fn has(&self, chain: &str) -> bool {
        self.chains.iter().any(|known| known == chain)
    }

    pub(super) fn rules<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a str> {
        self.rules
            .iter()
            .filter_map(move |rule| rule.strip_prefix(chain)?.strip_prefix(' '))
    }

    /// The rules in other chains that jump to one of `chains`.
    pub(super) fn jumps_to<'a>(&'a self, chains: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        self.rules.iter().map(String::as_str).filter(move |rule| {
            let words: Vec<&str> = rule.split(' ').collect();
            let jumps = words
                .windows(2)
                .any(|pair| matches!(pair, ["-j" | "-g", chain] if chains.contains(chain)));
            jumps && words.first().is_some_and(|chain| !chains.contains(chain))
        })
    }
}

impl Tables {
    pub(super) fn has(&self, chain: &str) -> bool {
        self.filter.has(chain) || self.nat.has(chain) || self.raw.has(chain)
    }

    pub(super) fn rules<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a str> {
        let table = match chain {
            DNAT | SNAT => &self.nat,
            SENSOR | SENSED => &self.raw,
            _ => &self.filter,
        };
        table.rules(chain)
    }

    pub(super) fn is_reached(&self, chain: &str) -> bool {
        let is_linked = |grants: &str, from: &str| {
            let mut rules = self.filter.rules(from);
            grants != chain || rules.any(|rule| leads_to(rule, chain))
        };
        self.has(chain)
            && self.place(chain).is_some()
            && is_linked(INPUT_GRANTS, INPUT)
            && is_linked(FORWARD_GRANTS, FORWARD)
    }

    /// Whether it is reached before all rules of others.
    pub(super) fn is_first(&self, chain: &str) -> bool {
        self.is_reached(chain) && self.place(chain) == Some(0)
    }

    /// The place of the jump to Postern's chains in the built-in chain that leads to `chain`.
    fn place(&self, chain: &str) -> Option<usize> {
        let (table, from, to) = match chain {
            DNAT => (&self.nat, "PREROUTING", DNAT),
            SNAT => (&self.nat, "POSTROUTING", SNAT),
            SENSOR => (&self.raw, "PREROUTING", SENSOR),
            FORWARD_GRANTS => (&self.filter, "FORWARD", FORWARD),
            _ => (&self.filter, "INPUT", INPUT),
        };
        table.rules(from).position(|rule| is_jump(rule, to))
    }
}

/// Also a jump of some packets only.
fn leads_to(rule: &str, to: &str) -> bool {
    let before = rule.strip_suffix(to);
    before.is_some_and(|before| before == "-j " || before.ends_with(" -j "))
}

fn is_jump(rule: &str, to: &str) -> bool {
    rule.strip_prefix("-j ") == Some(to)
}

pub(super) fn read(output: &str) -> Result<Tables, SaveError> {
    let mut tables = Tables::default();
    let mut open: Option<&str> = None;
    for line in output.lines().filter(|line| !line.is_empty()) {
        let unknown = || SaveError::UnknownLine(printable(line));
        if let Some(note) = line.strip_prefix('#') {
            if note.contains("is incompatible") {
                let error = SaveError::Incompatible(line.trim().to_owned());
                match quoted(note) {
                    Some("filter") | None => return Err(error),
                    Some("nat") => tables.nat_error = Some(error),
                    Some("raw") => tables.raw_error = Some(error),
                    Some(_) => {}
                }
            }
            continue;
        }
        let table = match open {
            None => {
                open = Some(line.strip_prefix('*').ok_or_else(unknown)?);
                continue;
            }
            Some(_) if line == "COMMIT" => {
                open = None;
                continue;
            }
            Some("filter") => &mut tables.filter,
            Some("nat") => &mut tables.nat,
            Some("raw") => &mut tables.raw,
            Some(_) => continue,
        };
        if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next();
            table.chains.extend(name.map(str::to_owned));
        } else {
            let rule = line.strip_prefix("-A ").ok_or_else(unknown)?;
            table.rules.push(rule.to_owned());
        }
    }
    match open {
        None => Ok(tables),
        Some(_) => Err(SaveError::Truncated),
    }
}

/// The name of the table in a note such as ``Table `nat' is incompatible``.
fn quoted(note: &str) -> Option<&str> {
    note.split('`').nth(1)?.split('\'').next()
}

/// At most 200 characters of foreign text, fit for one line of a log.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_is_not_whole_is_refused() {
        for output in [
            "*filter\n:INPUT ACCEPT [0:0]\n",
            "hello\n",
            "*nat\nhello\nCOMMIT\n",
            "-A INPUT -j ACCEPT\n",
            "é",
            "# Table `filter' is incompatible, use 'nft' tool.\n",
        ] {
            assert!(read(output).is_err(), "{output}");
        }
        assert_eq!(read(""), Ok(Tables::default()));
    }

    #[test]
    fn other_tables_are_skipped() {
        let output = "*mangle\n:X - [0:0]\n-A X -j DROP\nCOMMIT\n*nat\n:POSTERN-DNAT - [0:0]\n-A PREROUTING -j POSTERN-DNAT\nCOMMIT\n\
                      *filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n# Table `raw' is incompatible, use 'nft' tool.\n";
        let tables = read(output).unwrap();
        assert!(tables.is_reached(DNAT) && !tables.has("X"));
        assert!(tables.filter.has("INPUT") && tables.nat_error.is_none());
        let tables = read("# Table `nat' is incompatible, use 'nft' tool.\n").unwrap();
        assert!(tables.nat_error.is_some());
    }

    #[test]
    fn jumps_of_others_are_found() {
        let output = "*filter\n-A INPUT -j POSTERN\n-A INPUT -i eth0 -g POSTERN\n\
                      -A POSTERN -j POSTERN-GRANTS\n-A INPUT -j POSTERNS\nCOMMIT\n";
        let table = read(output).unwrap().filter;
        let jumps: Vec<&str> = table.jumps_to(&["POSTERN", "POSTERN-GRANTS"]).collect();
        assert_eq!(jumps, ["INPUT -j POSTERN", "INPUT -i eth0 -g POSTERN"]);
        assert!(table.rules("POSTERN").eq(["-j POSTERN-GRANTS"]));
    }
}
