//! Reads what `iptables-save` and its siblings print into chains.
//!
//! The rules come from others. An option that is not known becomes an unknown condition.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::adapters::firewall::rule_words::{Word, words};
use crate::core::host_rules::{
    Base, Chain, Condition, Effect, Hook, NewDestination, Rule, Table, Test, Verdict,
    networks_between, protocol_number,
};
use crate::model::address::Family;

const ALL_FLAGS: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];

/// Targets that decide nothing.
pub(super) const CONTINUING: [&str; 27] = [
    "MARK",
    "CONNMARK",
    "CT",
    "NOTRACK",
    "LOG",
    "NFLOG",
    "ULOG",
    "TCPMSS",
    "TRACE",
    "AUDIT",
    "SET",
    "CLASSIFY",
    "DSCP",
    "TOS",
    "TTL",
    "HL",
    "HMARK",
    "CHECKSUM",
    "SECMARK",
    "CONNSECMARK",
    "IDLETIMER",
    "LED",
    "RATEEST",
    "TCPOPTSTRIP",
    "TEE",
    "ECN",
    "ACCOUNT",
];

/// Reads the output of a save program; `program` is its sibling that changes rules.
pub(crate) fn read(program: &str, family: Family, output: &str) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut table: Option<Table> = None;
    // The chains of the current table. A host with containers has thousands.
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in output.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = Some(Table {
                program: program.to_owned(),
                family: family.pick("ip", "ip6"),
                name: name.to_owned(),
            });
            places.clear();
        } else if let Some(table) = &table {
            if let Some(line) = line.strip_prefix(':') {
                if let Some(chain) = chain(table, line) {
                    places.insert(chain.name.clone(), chains.len());
                    chains.push(chain);
                }
            } else if let Some(line) = line.strip_prefix("-A ") {
                add_rule(&mut chains, &places, line);
            }
        }
    }
    chains
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
        priority: priority(&table.name),
    });
    Some(Chain {
        table: table.clone(),
        name: name.to_owned(),
        base,
        rules: Vec::new(),
    })
}

fn priority(table: &str) -> i32 {
    match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" => -100,
        "security" => 50,
        _ => 0,
    }
}

fn add_rule(chains: &mut [Chain], places: &HashMap<String, usize>, line: &str) {
    let words = words(line);
    let chain = match &words {
        Some(words) => words.first().map(|name| name.text.as_str()),
        None => line.split(' ').next(),
    };
    let place = chain.and_then(|name| places.get(name).copied());
    if let Some(chain) = place.and_then(|place| chains.get_mut(place)) {
        let rest = words.as_ref().and_then(|words| words.get(1..));
        // A line that has no words may be any rule.
        let (conditions, effect, verdict) = rest.map_or_else(unknown, |rest| rule(rest, places));
        let rest = rest.unwrap_or_default();
        let comment = rest
            .iter()
            .zip(rest.iter().skip(1))
            .find(|(option, _)| option.text == "--comment" && !option.is_quoted)
            .map(|(_, value)| value.text.clone());
        chain.rules.push(Rule {
            conditions,
            effect,
            verdict,
            name: format!("the rule \"-A {line}\""),
            handle: 0,
            comment,
        });
    }
}

/// It may accept, drop, or do nothing.
fn unknown() -> (Vec<Condition>, Option<Effect>, Verdict) {
    (vec![Condition::unknown()], None, Verdict::Queue)
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

fn rule(
    words: &[Word],
    chains: &HashMap<String, usize>,
) -> (Vec<Condition>, Option<Effect>, Verdict) {
    let options = options(words);
    let mut conditions = Vec::new();
    let mut verdict = Verdict::Continue;
    let mut effect = None;
    for option in &options {
        match option.flag {
            "-j" => match target(option.value(0), &options, chains) {
                Some(target) => {
                    verdict = target;
                    effect = effect_of(option.value(0), &options);
                }
                None => {
                    conditions.push(Condition::unknown());
                    verdict = Verdict::Queue;
                }
            },
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
    (conditions, effect, verdict)
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

/// `None` if it is not known what the target does.
fn target(
    name: &str,
    options: &[RuleOption<'_>],
    chains: &HashMap<String, usize>,
) -> Option<Verdict> {
    let value = |flag: &str| {
        let option = options.iter().find(|option| option.flag == flag);
        option.map(|option| option.value(0)).unwrap_or_default()
    };
    Some(match name {
        chain if chains.contains_key(chain) => Verdict::Jump(chain.to_owned()),
        "ACCEPT" | "SNAT" | "MASQUERADE" | "NETMAP" => Verdict::Accept,
        "DROP" | "REJECT" | "TARPIT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        "DNAT" => Verdict::Rewrite(new_destination(value("--to-destination"))),
        "REDIRECT" => Verdict::Rewrite(NewDestination {
            address: None,
            port: value("--to-ports").parse().ok(),
        }),
        "QUEUE" | "NFQUEUE" | "TPROXY" | "SYNPROXY" => Verdict::Queue,
        name if CONTINUING.contains(&name) => Verdict::Continue,
        _ => return None,
    })
}

fn effect_of(target: &str, options: &[RuleOption<'_>]) -> Option<Effect> {
    let has = |flag: &str| options.iter().any(|option| option.flag == flag);
    match target {
        "MARK" => {
            let option = options.iter().find(|option| option.flag == "--set-xmark");
            Some(
                option
                    .and_then(|option| value_and_mask(option.value(0)))
                    // the kernel clears the bits of the mask, and flips those of the value
                    .filter(|(value, mask)| value & !mask == 0)
                    .map_or(Effect::UnknownMark { mask: u32::MAX }, |(value, mask)| {
                        Effect::Mark { mask, value }
                    }),
            )
        }
        "CONNMARK" if has("--restore-mark") => Some(Effect::UnknownMark { mask: u32::MAX }),
        "NOTRACK" => Some(Effect::NoTracking),
        "CT" if has("--notrack") => Some(Effect::NoTracking),
        _ => None,
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
        "-s" => network(first).map_or(Test::Unknown, |one| Test::Source(vec![one])),
        "--src-range" => range(first).map_or(Test::Unknown, Test::Source),
        "-d" => network(first).map_or(Test::Unknown, |one| Test::Destination(vec![one])),
        "--dst-range" => range(first).map_or(Test::Unknown, Test::Destination),
        "--mac-source" | "--src-group" | "--source-country" | "--src-cc" => Test::SomeSources,
        "--sport" | "--sports" => Test::Few,
        "-i" => Test::Interface(vec![first.to_owned()]),
        "-o" => Test::OutInterface(vec![first.to_owned()]),
        "--dport" | "--dports" => ports(first).map_or(Test::Unknown, Test::Port),
        "--ctorigdstport" => ports(first).map_or(Test::Unknown, Test::OriginalPort),
        "--ctstate" | "--state" => Test::State(list(&first.to_ascii_lowercase())),
        "--ctstatus" if first == "DNAT" => Test::State(vec!["dnat".to_owned()]),
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
        "--dst-type" if first == "LOCAL" => Test::ToThisHost,
        "--dst-type" => Test::Unknown,
        "--src-type" => Test::constant(first.split(',').any(|kind| kind == "UNICAST")),
        "--pkt-type" => Test::constant(first == "unicast"),
        // An ordinary stranger is below every limit, and in no list of recent addresses.
        "--limit" | "--hashlimit-upto" | "--hashlimit" | "--connlimit-upto" | "--set" => {
            Test::Always
        }
        "--hashlimit-above" | "--connlimit-above" => Test::Never,
        "--rcheck" | "--update" | "--remove" => Test::SomeSources,
        "--match-set" if option.value(1).starts_with("src") => Test::SomeSources,
        // rpfilter: an ordinary stranger's packet has a valid way back.
        "--invert" => Test::Never,
        "--mark" => mark(first).unwrap_or(Test::Unknown),
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

/// `0x1` or `0x1/0xff`.
fn mark(text: &str) -> Option<Test> {
    let (value, mask) = value_and_mask(text)?;
    Some(Test::Mark { value, mask })
}

fn value_and_mask(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    Some((number(value)?, number(mask)?))
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

fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse().ok().map(|address: IpAddr| address.into());
    text.parse::<IpNet>().ok().or_else(address)
}

/// `192.0.2.1-192.0.2.9`.
fn range(text: &str) -> Option<Vec<IpNet>> {
    let (first, last) = text.split_once('-')?;
    networks_between(first.parse().ok()?, last.parse().ok()?)
}

fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    text.split(',')
        .map(|range| match range.split_once(':') {
            Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
            None => range.parse().ok().map(|port| (port, port)),
        })
        .collect()
}
