//! Reads what `iptables-save` prints: the chains and rules of table filter, and the grants among them.
//!
//! Owns the question what stands in the firewall. What it cannot read is an error that names the line, never left out:
//! a grant that is not seen would never be closed. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use super::comment::Comment;
use super::rules::{FORWARD_GRANTS, Family, INPUT_GRANTS};
use crate::grant::Grant;
use crate::service::Ports;

/// Table filter of one family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    pub(super) chains: Vec<String>,
    /// Each as `CHAIN MATCHES -j TARGET`, in order.
    pub(super) rules: Vec<String>,
}

impl Table {
    pub(super) fn has(&self, chain: &str) -> bool {
        self.chains.iter().any(|known| known == chain)
    }

    /// Rules of one chain, without its name.
    pub(super) fn of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a str> {
        self.rules.iter().filter_map(move |rule| rule.strip_prefix(chain)?.strip_prefix(' '))
    }

    /// Rules in chains of others that jump to one of `chains`.
    pub(super) fn jumps_to<'a>(&'a self, chains: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let is_ours = |name: &str| chains.contains(&name);
        self.rules.iter().map(String::as_str).filter(move |rule| {
            let words: Vec<&str> = rule.split(' ').collect();
            let leads_to_us = words.windows(2).any(|pair| matches!(pair, ["-j" | "-g", chain] if is_ours(chain)));
            leads_to_us && words.first().is_some_and(|chain| !is_ours(chain))
        })
    }
}

/// Reads the output of `iptables-save -t filter`, whole or not at all.
pub(super) fn read(output: &str) -> Result<Table, String> {
    let mut table = Table::default();
    let mut is_open = false;
    for line in output.lines() {
        match line.split_at_checked(1) {
            Some(("#", note)) if note.contains("is incompatible") => {
                return Err(format!("\"{}\": the table holds rules that only nft can show; set backend = \"nftables\"", line.trim()));
            }
            None if line.is_empty() => {}
            Some(("#", _)) => {}
            Some(("*", "filter")) if !is_open => is_open = true,
            Some(("C", "OMMIT")) if is_open => is_open = false,
            Some((":", chain)) if is_open => table.chains.extend(chain.split(' ').next().map(str::to_owned)),
            _ => match line.strip_prefix("-A ") {
                Some(rule) if is_open => table.rules.push(rule.to_owned()),
                _ => return Err(format!("\"{}\" is not what iptables-save prints", said(line))),
            },
        }
    }
    if is_open { Err("the output ends in the middle of the table".to_owned()) } else { Ok(table) }
}

/// The grants in Postern's chains, in the order of their first rules; rules with one id are one grant.
pub(super) fn grants(family: Family, table: &Table) -> Result<Vec<Grant>, String> {
    let mut grants: Vec<Grant> = Vec::new();
    for chain in [INPUT_GRANTS, FORWARD_GRANTS] {
        for rule in table.of(chain) {
            let unreadable = |why: &str| format!("the rule \"-A {chain} {}\" is not one that Postern wrote: {why}", said(rule));
            let part = grant(family, rule).map_err(|why| unreadable(&why))?;
            match grants.iter_mut().find(|known| known.id == part.id) {
                None => grants.push(part),
                Some(known) if is_same_but_for_services(known, &part) => known.services.extend(part.services),
                Some(_) => return Err(unreadable("another rule with its id says otherwise")),
            }
        }
    }
    Ok(grants)
}

fn is_same_but_for_services(one: &Grant, other: &Grant) -> bool {
    one.user == other.user && one.allow == other.allow && one.target == other.target && one.until == other.until
}

/// One rule as a grant with one service.
fn grant(family: Family, rule: &str) -> Result<Grant, String> {
    let mut allow = match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    };
    let (mut target, mut protocol, mut ports, mut comment, mut verdict): (Option<IpAddr>, _, _, _, _) =
        (None, None, None, None, None::<String>);
    let words = words(rule).ok_or("its quotes do not match")?;
    let mut words = words.into_iter();
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| format!("{flag} has no value"))?;
        let wrong = || format!("{flag} {value}");
        match flag.as_str() {
            "-s" => allow = network(&value).ok_or_else(wrong)?,
            "-d" => target = Some(network(&value).filter(|net| net.prefix_len() == net.max_prefix_len()).ok_or_else(wrong)?.addr()),
            "-p" => protocol = Some(protocol_name(&value).ok_or_else(wrong)?),
            "--dport" => ports = Some(value),
            "--comment" => comment = Some(value.parse::<Comment>().map_err(|_| format!("its comment is \"{}\"", said(&value)))?),
            "--icmp-type" if value == "8" => {}
            "--icmpv6-type" if value == "128" => {}
            "-m" | "--datestop" => {}
            "-j" => verdict = Some(value),
            _ => return Err(wrong()),
        }
    }
    let comment = comment.ok_or("it has no comment")?;
    let protocol = protocol.ok_or("it names no protocol")?;
    if verdict.as_deref() != Some("ACCEPT") {
        return Err("it does not accept".to_owned());
    }
    let text = ports.map_or_else(|| protocol.to_owned(), |ports| format!("{protocol}/{}", ports.replace(':', "-")));
    let service: Ports = text.parse().map_err(|_| format!("{text} is no service"))?;
    Ok(Grant { id: comment.id, user: comment.user().to_owned(), allow, target, services: vec![service], until: comment.until })
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
}

fn protocol_name(text: &str) -> Option<&'static str> {
    match text {
        "tcp" | "6" => Some("tcp"),
        "udp" | "17" => Some("udp"),
        "sctp" | "132" => Some("sctp"),
        "icmp" | "1" => Some("icmp"),
        "ipv6-icmp" | "icmpv6" | "58" => Some("icmpv6"),
        _ => None,
    }
}

/// The words of a rule; double quotes hold spaces together, a backslash takes the next byte as it is.
fn words(rule: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    let mut letters = rule.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().push(letters.next()?),
            ' ' if !is_quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    (!is_quoted).then_some(words)
}

/// Text of others, fit for one line of a log.
pub(super) fn said(text: &str) -> String {
    text.chars().take(200).map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rules::{Abilities, grant_rules};
    use super::*;
    use crate::backend::iptables::tests::grant as sample;

    fn table(rules: &[&str]) -> Table {
        let lines: String = rules.iter().map(|rule| format!("-A {rule}\n")).collect();
        read(&format!("# Generated\n*filter\n:INPUT ACCEPT [0:0]\n:POSTERN-GRANTS - [0:0]\n{lines}COMMIT\n# Completed\n")).unwrap()
    }

    const TAIL: &str = "-m comment --comment \"postern id=7 user=al until=5\" -j ACCEPT";

    #[test]
    fn rules_of_one_id_are_one_grant() {
        let table = table(&[
            "INPUT -s 10.0.0.1/32 -j ACCEPT",
            &format!("POSTERN-GRANTS -s 192.0.2.7/32 -p tcp -m tcp --dport 22 -m time --datestop 2026-11-22T11:16:05 {TAIL}"),
            &format!("POSTERN-GRANTS -s 192.0.2.7/32 -p icmp -m icmp --icmp-type 8 {TAIL}"),
            &format!("POSTERN-GRANTS -s 192.0.2.7/32 -p ipv6-icmp {TAIL}"),
        ]);
        let mut expected = sample(7, "al", "192.0.2.7/32", &["tcp/22", "icmp", "icmpv6"]);
        expected.until = crate::time::Timestamp::from_millis(5);
        assert_eq!(grants(Family::V4, &table), Ok(vec![expected]));
    }

    #[test]
    fn a_rule_for_everyone_has_no_source() {
        let table = table(&[&format!("POSTERN-GRANTS -p tcp -m tcp --dport 22 {TAIL}")]);
        assert_eq!(grants(Family::V6, &table).unwrap()[0].allow, "::/0".parse().unwrap());
    }

    #[test]
    fn a_rule_in_our_chains_that_is_not_ours_is_an_error_that_names_it() {
        for rule in [
            "-s 192.0.2.7/32 -j ACCEPT".to_owned(),
            "-p tcp -m tcp --dport 22 -m comment --comment mine -j ACCEPT".to_owned(),
            format!("-p gre {TAIL}"),
            format!("-p tcp -m tcp --dport 22 -i eth0 {TAIL}"),
            format!("! -s 192.0.2.7/32 -p tcp -m tcp --dport 22 {TAIL}"),
            format!("-p tcp -m tcp --dport 22 {}", TAIL.replace("ACCEPT", "DROP")),
            format!("-p tcp -m tcp --dport \"22 {TAIL}"),
        ] {
            let error = grants(Family::V4, &table(&[&format!("POSTERN-GRANTS {rule}")])).unwrap_err();
            assert!(error.contains(rule.get(..10).unwrap()), "{error}");
        }
        let two = [format!("POSTERN-GRANTS -p tcp --dport 1 {TAIL}"), format!("POSTERN-GRANTS -s 10.0.0.1/32 -p tcp --dport 1 {TAIL}")];
        assert!(grants(Family::V4, &table(&[&two[0], &two[1]])).unwrap_err().contains("says otherwise"));
    }

    #[test]
    fn half_an_output_garbage_and_incompatible_tables_are_errors() {
        for output in [
            "*filter\n:INPUT ACCEPT [0:0]\n",
            "hello\n",
            "*nat\nCOMMIT\n",
            "-A INPUT -j ACCEPT\n",
            "é",
            "# Table `filter' is incompatible, use 'nft' tool.\n",
        ] {
            assert!(read(output).is_err(), "{output}");
        }
        assert_eq!(read(""), Ok(Table::default()));
    }

    #[test]
    fn jumps_to_us_are_found_wherever_others_put_them() {
        let table = table(&["INPUT -j POSTERN", "INPUT -i eth0 -g POSTERN", "POSTERN -j POSTERN-GRANTS", "INPUT -j POSTERNS"]);
        let jumps: Vec<&str> = table.jumps_to(&["POSTERN", "POSTERN-GRANTS"]).collect();
        assert_eq!(jumps, ["INPUT -j POSTERN", "INPUT -i eth0 -g POSTERN"]);
        assert_eq!(table.of("POSTERN").collect::<Vec<_>>(), ["-j POSTERN-GRANTS"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(id: u64, user in "[A-Za-z0-9._@-]{1,64}", address: u32, prefix in 0_u8..=32, first in 1_u16.., more in 0_u16..100, time: bool) {
            let services = [format!("udp/{first}-{}", first.saturating_add(more)), "tcp/22".to_owned(), "sctp/9".to_owned()];
            let services: Vec<&str> = services.iter().map(String::as_str).collect();
            let grant = sample(id, &user, &format!("{}/{prefix}", std::net::Ipv4Addr::from(address)), &services);
            let rules = grant_rules(&grant, Abilities { time }).unwrap();
            let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
            let expected = Grant { allow: grant.allow.trunc(), ..grant };
            prop_assert_eq!(grants(Family::V4, &table(&rules)), Ok(vec![expected]));
        }

        #[test]
        fn no_output_makes_it_panic(output in "(\\*filter\n)?([-:#*A-Z \"\\\\a-z=0-9]{0,40}\n){0,5}") {
            let _ = read(&output).and_then(|table| grants(Family::V4, &table));
        }
    }
}
