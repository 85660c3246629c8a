//! Rules of any firewall tool, reduced to what decides about a new connection.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;

use super::condition::{Condition, Test};
use crate::model::address::Family;
use crate::model::host_set::HostSet;

/// Destinations are translated at this priority, whatever the priority of the chain that says so.
const TRANSLATION_PRIORITY: i32 = -100;

/// Where the kernel enters a base chain. Hooks that no grant passes are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Hook {
    Prerouting,
    Input,
    Forward,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Table {
    /// The program that changes it: `nft`, or `iptables`, `ip6tables-legacy` and the like.
    pub(crate) program: String,
    /// The nftables family: `ip`, `ip6` or `inet`.
    pub(crate) family: &'static str,
    pub(crate) name: String,
}

impl Table {
    pub(crate) fn sees(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.family != "ip6",
            Family::V6 => self.family != "ip",
        }
    }

    /// Whether it is the nftables driver's own table.
    pub(crate) fn is_postern(&self) -> bool {
        self.is_nft() && self.family == "inet" && self.name == "postern"
    }

    /// Whether it is table filter of the variant that the plain names `iptables` and `ip6tables` run.
    pub(crate) fn is_plain_filter(&self) -> bool {
        // nft shows a table of iptables that iptables itself cannot show
        let programs = ["iptables", "ip6tables", "nft"];
        self.family != "inet" && self.name == "filter" && programs.contains(&self.program.as_str())
    }

    pub(crate) fn is_nft(&self) -> bool {
        self.program == "nft"
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nft() {
            write!(f, "nft table {} {}", self.family, self.name)
        } else {
            write!(f, "{} table {}", self.program, self.name)
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) table: Table,
    pub(crate) name: String,
    /// `None` if only other chains jump to it.
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

impl Chain {
    /// Whether a driver of Postern owns it.
    pub(crate) fn is_postern(&self) -> bool {
        let is_iptables = self.table.family != "inet" && self.name.starts_with("POSTERN");
        self.table.is_postern() || is_iptables
    }
}

/// How the kernel enters a base chain, and what happens to a packet at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) hook: Hook,
    /// It rewrites addresses and ports. It does not decide what passes.
    pub(crate) is_nat: bool,
    pub(crate) drops: bool,
    /// The kernel enters chains of a hook in this order.
    pub(crate) priority: i32,
}

impl Base {
    /// Whether its chain sees a packet before somebody may translate the destination.
    pub(super) fn is_before_translation(self) -> bool {
        self.hook == Hook::Prerouting && self.priority < TRANSLATION_PRIORITY
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) effect: Option<Effect>,
    pub(crate) verdict: Verdict,
    /// How an administrator finds it: its handle, its number in the chain, or the rule as iptables-save prints it.
    pub(crate) name: String,
    /// The number by which nf_tables knows it; 0 for a rule of legacy iptables.
    pub(crate) handle: u64,
    pub(crate) comment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    /// Continue in another chain, then return.
    Jump(String),
    /// Continue in another chain, and do not return.
    Goto(String),
    Return,
    Rewrite(NewDestination),
    /// A program in user space decides.
    Queue,
    /// Decides nothing: a counter, a log line, a mark.
    Continue,
}

/// What a rule changes about a packet for the rules behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// These bits of the packet mark get this value.
    Mark {
        mask: u32,
        value: u32,
    },
    /// These bits of the packet mark get a value that is not known.
    UnknownMark {
        mask: u32,
    },
    NoTracking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewDestination {
    /// `None` if it is not known, or this host.
    pub(crate) address: Option<IpAddr>,
    /// `None` if it is not known or stays the same.
    pub(crate) port: Option<u16>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) chains: Vec<Chain>,
}

impl Ruleset {
    /// The sets of sources that rules look up and that grants may be added to, with the family of their addresses.
    pub(crate) fn sets_for_grants(&self) -> BTreeMap<&HostSet, Family> {
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        let tests = rules.flat_map(|rule| &rule.conditions).map(|one| &one.test);
        tests
            .filter_map(|test| match test {
                Test::InSet { set, family, .. } => Some((set, *family)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn by_name(&self) -> HashMap<(&Table, &str), usize> {
        let chains = self.chains.iter().enumerate();
        chains
            .map(|(index, chain)| ((&chain.table, chain.name.as_str()), index))
            .collect()
    }
}

/// The IANA number of a protocol as iptables and nft name it.
pub(crate) fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "icmp" => Some(1),
        "igmp" => Some(2),
        "tcp" => Some(6),
        "udp" => Some(17),
        "dccp" => Some(33),
        "gre" => Some(47),
        "esp" => Some(50),
        "ah" => Some(51),
        "icmpv6" | "ipv6-icmp" => Some(58),
        "sctp" => Some(132),
        "udplite" => Some(136),
        number => number.parse().ok(),
    }
}
