//! Reads what `iptables-save` prints: the chains and rules of tables filter and nat.
//!
//! Owns the question what stands in the firewall; what of it is a grant is read in `grants`. What it cannot read is an error that
//! names the line, never left out: a grant that is not seen would never be closed. Pure.

/// What stands in the firewall, of one family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tables {
    pub(super) filter: Table,
    pub(super) nat: Table,
    /// Why table nat cannot be read, or written to.
    pub(super) nat_trouble: Option<String>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    pub(super) chains: Vec<String>,
    /// Whether a chain of the kernel's own lets nothing through by itself.
    pub(super) has_policy: bool,
    /// Each as `CHAIN MATCHES -j TARGET`, in order.
    pub(super) rules: Vec<String>,
}

impl Table {
    /// Whether it is there at all.
    pub(super) fn exists(&self) -> bool {
        !self.chains.is_empty()
    }

    /// Whether it is there and holds nothing that anybody put into it.
    pub(super) fn is_bare(&self) -> bool {
        const OWN: [&str; 5] = ["INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"];
        self.exists()
            && !self.has_policy
            && self.rules.is_empty()
            && self
                .chains
                .iter()
                .all(|chain| OWN.contains(&chain.as_str()))
    }

    pub(super) fn has(&self, chain: &str) -> bool {
        self.chains.iter().any(|known| known == chain)
    }

    /// Rules of one chain, without its name.
    pub(super) fn of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a str> {
        self.rules
            .iter()
            .filter_map(move |rule| rule.strip_prefix(chain)?.strip_prefix(' '))
    }

    /// Rules in chains of others that jump to one of `chains`.
    pub(super) fn jumps_to<'a>(&'a self, chains: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let is_ours = |name: &str| chains.contains(&name);
        self.rules.iter().map(String::as_str).filter(move |rule| {
            let words: Vec<&str> = rule.split(' ').collect();
            let leads_to_us = words
                .windows(2)
                .any(|pair| matches!(pair, ["-j" | "-g", chain] if is_ours(chain)));
            leads_to_us && words.first().is_some_and(|chain| !is_ours(chain))
        })
    }
}

impl Tables {
    pub(super) fn has(&self, chain: &str) -> bool {
        self.filter.has(chain) || self.nat.has(chain)
    }
}

/// Reads the output of `iptables-save`, whole or not at all. Other tables than filter and nat are stepped over.
pub(super) fn read(output: &str) -> Result<Tables, String> {
    let mut tables = Tables::default();
    let mut open: Option<&str> = None;
    for line in output.lines() {
        match line.split_at_checked(1) {
            Some(("#", note)) if note.contains("is incompatible") => {
                let trouble = format!(
                    "\"{}\": the table holds rules that only nft can show; set backend = \"nftables\"",
                    line.trim()
                );
                match note
                    .split('`')
                    .nth(1)
                    .and_then(|rest| rest.split('\'').next())
                {
                    Some("filter") | None => return Err(trouble),
                    Some("nat") => tables.nat_trouble = Some(trouble),
                    Some(_) => {}
                }
            }
            None if line.is_empty() => {}
            Some(("#", _)) => {}
            Some(("*", name)) if open.is_none() => open = Some(name),
            Some(("C", "OMMIT")) if open.is_some() => open = None,
            _ => {
                let table = match open {
                    Some("filter") => &mut tables.filter,
                    Some("nat") => &mut tables.nat,
                    Some(_) => continue,
                    None => return Err(unknown(line)),
                };
                match (line.strip_prefix(':'), line.strip_prefix("-A ")) {
                    (Some(chain), _) => {
                        let mut words = chain.split(' ');
                        table.chains.extend(words.next().map(str::to_owned));
                        table.has_policy |= words.next() == Some("DROP");
                    }
                    (_, Some(rule)) => table.rules.push(rule.to_owned()),
                    _ => return Err(unknown(line)),
                }
            }
        }
    }
    if open.is_some() {
        Err("the output ends in the middle of the table".to_owned())
    } else {
        Ok(tables)
    }
}

fn unknown(line: &str) -> String {
    format!("\"{}\" is not what iptables-save prints", said(line))
}

/// Text of others, fit for one line of a log.
pub(super) fn said(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_output_garbage_and_incompatible_tables_are_errors() {
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
    fn the_other_tables_are_stepped_over_and_an_unreadable_nat_is_remembered() {
        let output = "*mangle\n:X - [0:0]\n-A X -j DROP\nCOMMIT\n*nat\n:POSTERN-DNAT - [0:0]\n-A PREROUTING -j POSTERN-DNAT\nCOMMIT\n\
                      *filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n# Table `raw' is incompatible, use 'nft' tool.\n";
        let tables = read(output).unwrap();
        assert_eq!(
            (
                tables.filter.chains.len(),
                tables.nat.rules.len(),
                &tables.nat_trouble
            ),
            (1, 1, &None)
        );
        assert!(tables.has("POSTERN-DNAT") && !tables.has("X"));
        assert!(
            read("# Table `nat' is incompatible, use 'nft' tool.\n")
                .unwrap()
                .nat_trouble
                .is_some()
        );
    }

    #[test]
    fn jumps_to_us_are_found_wherever_others_put_them() {
        let rules = [
            "INPUT -j POSTERN",
            "INPUT -i eth0 -g POSTERN",
            "POSTERN -j POSTERN-GRANTS",
            "INPUT -j POSTERNS",
        ];
        let table = Table {
            chains: Vec::new(),
            has_policy: false,
            rules: rules.map(str::to_owned).into(),
        };
        let jumps: Vec<&str> = table.jumps_to(&["POSTERN", "POSTERN-GRANTS"]).collect();
        assert_eq!(jumps, ["INPUT -j POSTERN", "INPUT -i eth0 -g POSTERN"]);
        assert_eq!(
            table.of("POSTERN").collect::<Vec<_>>(),
            ["-j POSTERN-GRANTS"]
        );
    }
}
