//! Reads what `iptables-save` and its siblings print, all tables, into chains.
//!
//! Pure. Unlike the driver's own reader it must make sense of rules that others wrote: what it does not understand is an unknown condition.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::rules::{
    Base, Chain, Condition, Family, Hook, Rule, Table, Test, To, Verdict, protocol,
};

/// What a save program printed.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) chains: Vec<Chain>,
    /// The tables that it showed whole, by name; others are for nft to show.
    pub(super) tables: Vec<String>,
}

/// Reads the output of a save program; `program` is its sibling that changes rules.
pub(super) fn read(program: &str, family: Family, output: &str) -> Saved {
    let mut saved = Saved::default();
    let mut incompatible: Vec<&str> = Vec::new();
    let mut table: Option<Table> = None;
    // The chains of the table that is being read: a host with containers has thousands.
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in output.lines() {
        if line.starts_with('#') {
            let quoted = line
                .split_once('`')
                .and_then(|(_, rest)| rest.split_once('\''))
                .filter(|(_, rest)| rest.contains("incompatible"));
            incompatible.extend(quoted.map(|(name, _)| name));
        } else if let Some(name) = line.strip_prefix('*') {
            let family = if family == Family::V4 { "ip" } else { "ip6" };
            table = (!incompatible.contains(&name)).then(|| Table {
                program: program.to_owned(),
                family,
                name: name.to_owned(),
            });
            places.clear();
            saved
                .tables
                .extend(table.as_ref().map(|table| table.name.clone()));
        } else if let (Some(table), Some(line)) = (&table, line.strip_prefix(':')) {
            if let Some(chain) = chain(table, line) {
                places.insert(chain.name.clone(), saved.chains.len());
                saved.chains.push(chain);
            }
        } else if let (Some(_), Some(line)) = (&table, line.strip_prefix("-A ")) {
            add(&mut saved.chains, &places, line);
        }
    }
    saved
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

fn add(chains: &mut [Chain], places: &HashMap<String, usize>, line: &str) {
    let words = words(line);
    let Some((name, rest)) = words.split_first() else {
        return;
    };
    if let Some(chain) = places
        .get(&name.text)
        .and_then(|place| chains.get_mut(*place))
    {
        let (conditions, verdict) = rule(rest, places);
        chain.rules.push(Rule {
            conditions,
            verdict,
            name: format!("the rule \"-A {line}\""),
        });
    }
}

struct Word {
    text: String,
    is_quoted: bool,
}

/// A flag, what follows it, and whether an exclamation mark stands before it.
struct Part<'a> {
    flag: &'a str,
    values: Vec<&'a str>,
    is_negated: bool,
}

fn rule(words: &[Word], chains: &HashMap<String, usize>) -> (Vec<Condition>, Verdict) {
    let parts = parts(words);
    let mut conditions = Vec::new();
    let mut verdict = Verdict::Pass;
    for part in &parts {
        let first = part.values.first().copied().unwrap_or_default();
        match part.flag {
            "-j" => verdict = target(first, &parts, chains),
            "-g" => verdict = Verdict::Goto(first.to_owned()),
            // A match without options decides by itself; the others are told by their options.
            "-m" if first == "socket" => conditions.push(Condition::is(Test::Unknown)),
            _ if is_of_the_target(part.flag) => {}
            _ => conditions.extend(test(part).map(|test| Condition {
                test,
                is_negated: part.is_negated,
            })),
        }
    }
    (conditions, verdict)
}

fn parts(words: &[Word]) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut is_negated = false;
    for word in words {
        match word.text.as_str() {
            "!" if !word.is_quoted => is_negated = true,
            flag if flag.starts_with('-') && !word.is_quoted => {
                parts.push(Part {
                    flag,
                    values: Vec::new(),
                    is_negated: std::mem::take(&mut is_negated),
                });
            }
            value => parts
                .iter_mut()
                .last()
                .into_iter()
                .for_each(|part| part.values.push(value)),
        }
    }
    parts
}

fn target(name: &str, parts: &[Part<'_>], chains: &HashMap<String, usize>) -> Verdict {
    let value = |flag: &str| {
        parts
            .iter()
            .find(|part| part.flag == flag)
            .and_then(|part| part.values.first())
            .copied()
            .unwrap_or_default()
    };
    match name {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" | "TARPIT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        "DNAT" => Verdict::Redirect(destined(value("--to-destination"))),
        "REDIRECT" => Verdict::Redirect(To {
            address: None,
            port: value("--to-ports").parse().ok(),
        }),
        "QUEUE" | "NFQUEUE" => Verdict::Queue,
        chain if chains.contains_key(chain) => Verdict::Jump(chain.to_owned()),
        _ => Verdict::Pass,
    }
}

/// `172.17.0.2:80`, `172.17.0.2`, `[fd00::2]:80`; of a range of either nothing is kept.
fn destined(text: &str) -> To {
    let whole = text.parse::<SocketAddr>().ok();
    let address = text.trim_matches(['[', ']']).parse().ok();
    To {
        address: whole.map(|to| to.ip()).or(address),
        port: whole.map(|to| to.port()),
    }
}

/// Options of targets, which are no conditions.
fn is_of_the_target(flag: &str) -> bool {
    const OPTIONS: [&str; 22] = [
        "--reject-with",
        "--to-destination",
        "--to-ports",
        "--to-source",
        "--random",
        "--random-fully",
        "--persistent",
        "--log-prefix",
        "--log-level",
        "--nflog-prefix",
        "--nflog-group",
        "--nflog-threshold",
        "--set-xmark",
        "--set-mark",
        "--save-mark",
        "--restore-mark",
        "--nfmask",
        "--ctmask",
        "--queue-num",
        "--queue-bypass",
        "--clamp-mss-to-pmtu",
        "--helper",
    ];
    OPTIONS.contains(&flag)
        || flag.starts_with("--log-")
        || flag.starts_with("--nflog-")
        || flag.starts_with("--queue-")
}

/// What an option asks of a packet; `None` for one that only says more about another.
fn test(part: &Part<'_>) -> Option<Test> {
    let first = part.values.first().copied().unwrap_or_default();
    Some(match part.flag {
        "-p" if first == "all" || first == "0" => Test::Always,
        "-p" => protocol(first).map_or(Test::Never, |number| Test::Protocol(vec![number])),
        "-s" | "--src-range" | "--mac-source" | "--src-group" | "--source-country" | "--src-cc" => {
            Test::Few
        }
        "-d" => destination(first),
        "-i" => Test::Interface(vec![first.to_owned()]),
        "--dport" | "--dports" => ports(first).map_or(Test::Unknown, Test::Port),
        "--ctorigdstport" => ports(first).map_or(Test::Unknown, Test::OriginalPort),
        "--sport" | "--sports" => Test::Few,
        "--ctstate" | "--state" => Test::State(
            first
                .to_ascii_lowercase()
                .split(',')
                .map(str::to_owned)
                .collect(),
        ),
        "--ctstatus" if first.contains("NAT") => Test::Never,
        "--ctdir" => {
            if first == "ORIGINAL" {
                Test::Always
            } else {
                Test::Never
            }
        }
        "--tcp-flags" => flags(part),
        "--icmp-type" => echo(first, &["8", "8/0", "echo-request", "any", "255"]),
        "--icmpv6-type" => echo(first, &["128", "128/0", "echo-request"]),
        "--dst-type" => {
            if first.split(',').any(|kind| kind == "LOCAL") {
                Test::Always
            } else {
                Test::Never
            }
        }
        "--src-type" => {
            if first.split(',').any(|kind| kind == "UNICAST") {
                Test::Always
            } else {
                Test::Never
            }
        }
        "--pkt-type" => {
            if first == "unicast" {
                Test::Always
            } else {
                Test::Never
            }
        }
        // A limit is not yet reached, and lists of addresses that were seen before do not hold an ordinary stranger.
        "--limit" | "--hashlimit-upto" | "--hashlimit" | "--connlimit-upto" | "--set" => {
            Test::Always
        }
        "--hashlimit-above" | "--connlimit-above" | "--rcheck" | "--update" | "--remove" => {
            Test::Never
        }
        "--match-set"
            if part
                .values
                .get(1)
                .is_some_and(|which| which.starts_with("src")) =>
        {
            Test::Few
        }
        // Of rpfilter: nothing in front of an ordinary stranger is invalid.
        "--invert" => Test::Never,
        "--mark" => mark(first),
        // An ordinary packet is whole, and has no extension headers.
        "-f" | "--rt-type" | "--rt-segsleft" | "--rt-len" | "--ahspi" | "--espspi" | "--fragid" => {
            Test::Never
        }
        "-m" | "--comment" | "--limit-burst" | "--name" | "--rsource" | "--rdest" | "--mask"
        | "--seconds" | "--hitcount" | "--reap" => {
            return None;
        }
        "--loose" | "--validmark" | "--accept-local" | "--connlimit-mask" | "--connlimit-saddr"
        | "--connlimit-daddr" => return None,
        flag if flag.starts_with("--hashlimit-") => return None,
        _ => Test::Unknown,
    })
}

/// An ordinary packet has mark 0.
fn mark(value: &str) -> Test {
    if value == "0x0" || value.starts_with("0x0/") {
        Test::Always
    } else {
        Test::Few
    }
}

fn echo(value: &str, names: &[&str]) -> Test {
    if names.contains(&value) {
        Test::Always
    } else {
        Test::Never
    }
}

fn flags(part: &Part<'_>) -> Test {
    let list = |index: usize| -> Vec<String> {
        let text = part
            .values
            .get(index)
            .copied()
            .unwrap_or_default()
            .to_ascii_lowercase();
        match text.as_str() {
            "none" => Vec::new(),
            "all" => ["fin", "syn", "rst", "psh", "ack", "urg"]
                .map(str::to_owned)
                .to_vec(),
            text => text.split(',').map(str::to_owned).collect(),
        }
    };
    Test::Flags {
        mask: list(0),
        set: list(1),
    }
}

fn destination(text: &str) -> Test {
    let network = text.parse::<IpNet>().ok().or_else(|| {
        text.parse()
            .ok()
            .map(|address: std::net::IpAddr| address.into())
    });
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

/// The words of a line; double quotes hold spaces together, a backslash takes the next letter as it is.
fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut is_quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == ' ' && !is_quoted {
            words.extend(word.take());
            continue;
        }
        let open = word.get_or_insert(Word {
            text: String::new(),
            is_quoted: false,
        });
        match letter {
            '"' => {
                is_quoted = !is_quoted;
                open.is_quoted = true;
            }
            '\\' => open.text.extend(letters.next()),
            letter => open.text.push(letter),
        }
    }
    words.extend(word);
    words
}
