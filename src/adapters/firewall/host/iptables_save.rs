//! Reads what `iptables-save` and its siblings print into chains.
//!
//! The rules come from others. An option that is not known becomes an unknown condition.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::nft_match::ALL_FLAGS;
use crate::adapters::firewall::rule_words::{Word, words};
use crate::core::host_rules::{
    Base, Chain, Condition, Hook, NewDestination, Rule, Table, Test, Verdict, protocol_number,
};
use crate::model::address::Family;

#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) chains: Vec<Chain>,
    pub(crate) tables: Vec<String>,
}

/// Reads the output of a save program; `program` is its sibling that changes rules.
pub(crate) fn read(program: &str, family: Family, output: &str) -> Saved {
    let mut saved = Saved::default();
    let mut incompatible: Vec<&str> = Vec::new();
    let mut table: Option<Table> = None;
    // The chains of the current table. A host with containers has thousands.
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in output.lines() {
        if line.starts_with('#') {
            incompatible.extend(incompatible_table(line));
        } else if let Some(name) = line.strip_prefix('*') {
            table = (!incompatible.contains(&name)).then(|| Table {
                program: program.to_owned(),
                family: nft_family(family),
                name: name.to_owned(),
            });
            places.clear();
            saved.tables.extend(table.as_ref().map(|_| name.to_owned()));
        } else if let Some(table) = &table {
            if let Some(line) = line.strip_prefix(':') {
                if let Some(chain) = chain(table, line) {
                    places.insert(chain.name.clone(), saved.chains.len());
                    saved.chains.push(chain);
                }
            } else if let Some(line) = line.strip_prefix("-A ") {
                add_rule(&mut saved.chains, &places, line);
            }
        }
    }
    saved
}

pub(super) fn nft_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The table's name in ``# Table `filter' contains incompatible base-chains``.
fn incompatible_table(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once('`')?.1.split_once('\'')?;
    rest.contains("incompatible").then_some(name)
}

fn chain(table: &Table, line: &str) -> Option<Chain> {
    let mut words = line.split(' ');
    let (name, policy) = (words.next()?, words.next()?);
    let hook = match name {
        "PREROUTING" => Some(Hook::Prerouting),
        "INPUT" => Some(Hook::Input),
        "FORWARD" => Some(Hook::Forward),
        _ => None,
    };
    let base = hook.filter(|_| policy != "-").map(|hook| Base {
        hook,
        is_nat: table.name == "nat",
        drops: policy == "DROP",
    });
    Some(Chain {
        table: table.clone(),
        name: name.to_owned(),
        base,
        rules: Vec::new(),
    })
}

fn add_rule(chains: &mut [Chain], places: &HashMap<String, usize>, line: &str) {
    let words = words(line).unwrap_or_default();
    let Some((name, rest)) = words.split_first() else {
        return;
    };
    let place = places.get(&name.text).copied();
    if let Some(chain) = place.and_then(|place| chains.get_mut(place)) {
        let (conditions, verdict) = rule(rest, places);
        chain.rules.push(Rule {
            conditions,
            verdict,
            name: format!("the rule \"-A {line}\""),
        });
    }
}

/// An option with its values. An exclamation mark before it negates it.
struct RuleOption<'a> {
    flag: &'a str,
    values: Vec<&'a str>,
    is_negated: bool,
}

impl RuleOption<'_> {
    fn value(&self, index: usize) -> &str {
        self.values.get(index).copied().unwrap_or_default()
    }
}

fn rule(words: &[Word], chains: &HashMap<String, usize>) -> (Vec<Condition>, Verdict) {
    let options = options(words);
    let mut conditions = Vec::new();
    let mut verdict = Verdict::Continue;
    for option in &options {
        match option.flag {
            "-j" => verdict = target(option.value(0), &options, chains),
            "-g" => verdict = Verdict::Goto(option.value(0).to_owned()),
            // This match has no options and decides by itself.
            "-m" if option.value(0) == "socket" => conditions.push(Condition::unknown()),
            flag if belongs_to_target(flag) => {}
            _ => conditions.extend(test(option).map(|test| Condition {
                test,
                is_negated: option.is_negated,
            })),
        }
    }
    (conditions, verdict)
}

fn options(words: &[Word]) -> Vec<RuleOption<'_>> {
    let mut options: Vec<RuleOption<'_>> = Vec::new();
    let mut is_negated = false;
    for word in words {
        match word.text.as_str() {
            "!" if !word.is_quoted => is_negated = true,
            flag if flag.starts_with('-') && !word.is_quoted => options.push(RuleOption {
                flag,
                values: Vec::new(),
                is_negated: std::mem::take(&mut is_negated),
            }),
            value => {
                if let Some(option) = options.last_mut() {
                    option.values.push(value);
                }
            }
        }
    }
    options
}

fn target(name: &str, options: &[RuleOption<'_>], chains: &HashMap<String, usize>) -> Verdict {
    let value = |flag: &str| {
        let option = options.iter().find(|option| option.flag == flag);
        option.map(|option| option.value(0)).unwrap_or_default()
    };
    match name {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" | "TARPIT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        "DNAT" => Verdict::Rewrite(new_destination(value("--to-destination"))),
        "REDIRECT" => Verdict::Rewrite(NewDestination {
            address: None,
            port: value("--to-ports").parse().ok(),
        }),
        "QUEUE" | "NFQUEUE" => Verdict::Queue,
        chain if chains.contains_key(chain) => Verdict::Jump(chain.to_owned()),
        _ => Verdict::Continue,
    }
}

/// Reads `172.17.0.2:80`, `172.17.0.2` and `[fd00::2]:80`. A range counts as unknown.
fn new_destination(text: &str) -> NewDestination {
    let whole = text.parse::<SocketAddr>().ok();
    let address = text.trim_matches(['[', ']']).parse().ok();
    NewDestination {
        address: whole.map(|to| to.ip()).or(address),
        port: whole.map(|to| to.port()),
    }
}

fn belongs_to_target(flag: &str) -> bool {
    matches!(
        flag,
        "--reject-with"
            | "--to-destination"
            | "--to-ports"
            | "--to-source"
            | "--random"
            | "--random-fully"
            | "--persistent"
            | "--set-xmark"
            | "--set-mark"
            | "--save-mark"
            | "--restore-mark"
            | "--nfmask"
            | "--ctmask"
            | "--clamp-mss-to-pmtu"
            | "--helper"
    ) || ["--log-", "--nflog-", "--queue-"]
        .iter()
        .any(|prefix| flag.starts_with(prefix))
}

/// What an option tests; `None` if it only refines another option.
fn test(option: &RuleOption<'_>) -> Option<Test> {
    let first = option.value(0);
    Some(match option.flag {
        "-p" if first == "all" || first == "0" => Test::Always,
        "-p" => protocol_number(first).map_or(Test::Never, |number| Test::Protocol(vec![number])),
        "-s" | "--src-range" | "--mac-source" | "--src-group" | "--source-country" | "--src-cc"
        | "--sport" | "--sports" => Test::Few,
        "-d" => destination(first),
        "-i" => Test::Interface(vec![first.to_owned()]),
        "--dport" | "--dports" => ports(first).map_or(Test::Unknown, Test::Port),
        "--ctorigdstport" => ports(first).map_or(Test::Unknown, Test::OriginalPort),
        "--ctstate" | "--state" => Test::State(list(&first.to_ascii_lowercase())),
        "--ctstatus" if first.contains("NAT") => Test::Never,
        "--ctdir" => Test::constant(first == "ORIGINAL"),
        "--tcp-flags" => Test::Flags {
            mask: flags(option.value(0)),
            set: flags(option.value(1)),
        },
        "--icmp-type" => Test::constant(matches!(
            first,
            "8" | "8/0" | "echo-request" | "any" | "255"
        )),
        "--icmpv6-type" => Test::constant(matches!(first, "128" | "128/0" | "echo-request")),
        "--dst-type" => Test::constant(first.split(',').any(|kind| kind == "LOCAL")),
        "--src-type" => Test::constant(first.split(',').any(|kind| kind == "UNICAST")),
        "--pkt-type" => Test::constant(first == "unicast"),
        // An ordinary stranger is below every limit, and in no list of recent addresses.
        "--limit" | "--hashlimit-upto" | "--hashlimit" | "--connlimit-upto" | "--set" => {
            Test::Always
        }
        "--hashlimit-above" | "--connlimit-above" | "--rcheck" | "--update" | "--remove" => {
            Test::Never
        }
        "--match-set" if option.value(1).starts_with("src") => Test::Few,
        // rpfilter: an ordinary stranger's packet has a valid way back.
        "--invert" => Test::Never,
        // An ordinary packet has mark 0.
        "--mark" if first == "0x0" || first.starts_with("0x0/") => Test::Always,
        "--mark" => Test::Few,
        // An ordinary packet is no fragment, and has no extension headers.
        "-f" | "--rt-type" | "--rt-segsleft" | "--rt-len" | "--ahspi" | "--espspi" | "--fragid" => {
            Test::Never
        }
        "-m" | "--comment" | "--limit-burst" | "--name" | "--rsource" | "--rdest" | "--mask"
        | "--seconds" | "--hitcount" | "--reap" | "--loose" | "--validmark" | "--accept-local"
        | "--connlimit-mask" | "--connlimit-saddr" | "--connlimit-daddr" => return None,
        flag if flag.starts_with("--hashlimit-") => return None,
        _ => Test::Unknown,
    })
}

fn flags(text: &str) -> Vec<String> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Vec::new(),
        "all" => ALL_FLAGS.map(str::to_owned).to_vec(),
        text => list(text),
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn destination(text: &str) -> Test {
    let address = || text.parse().ok().map(|address: IpAddr| address.into());
    let network = text.parse::<IpNet>().ok().or_else(address);
    network.map_or(Test::Unknown, |network| Test::Destination(vec![network]))
}

fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    text.split(',')
        .map(|range| match range.split_once(':') {
            Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
            None => range.parse().ok().map(|port| (port, port)),
        })
        .collect()
}
