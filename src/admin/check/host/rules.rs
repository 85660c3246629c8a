//! What a rule set comes to, whichever tool wrote it: chains, and rules reduced to what decides about a new connection.
//!
//! Owns the words that the readers (`nft`, `iptables`) and the walk share. Reads nothing, decides nothing. A condition that cannot be
//! put into these words is kept as [`Test::Unknown`], never left out.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn is_of(self, network: &IpNet) -> bool {
        matches!(
            (self, network),
            (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_))
        )
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Where the kernel enters a base chain; hooks that no grant passes are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting,
    Input,
    Forward,
}

/// Which table: who shows it, whose packets it sees, its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Table {
    /// The program that changes it: `nft`, or `iptables`, `ip6tables-legacy` and the like.
    pub(super) program: String,
    /// As nft says it: `ip`, `ip6` or `inet`.
    pub(super) family: &'static str,
    pub(super) name: String,
}

impl Table {
    pub(super) fn sees(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.family != "ip6",
            Family::V6 => self.family != "ip",
        }
    }

    pub(super) fn is_nft(&self) -> bool {
        self.program == "nft"
    }
}

/// As an administrator would look for it.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nft() {
            write!(f, "nft table {} {}", self.family, self.name)
        } else {
            write!(f, "{} table {}", self.program, self.name)
        }
    }
}

/// A chain with its rules, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) table: Table,
    pub(super) name: String,
    /// `None` for one that is only jumped to.
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

/// How the kernel enters a chain, and what becomes of a packet that gets to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) hook: Hook,
    /// It rewrites addresses and ports; what it lets pass is not decided there.
    pub(super) is_nat: bool,
    pub(super) drops: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// All of them must hold.
    pub(super) conditions: Vec<Condition>,
    pub(super) verdict: Verdict,
    /// How to find it: the rule as iptables-save prints it, or its handle.
    pub(super) name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// Drop or reject.
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// Its destination is rewritten.
    Redirect(To),
    /// A program in user space decides.
    Queue,
    /// Nothing is decided: a counter, a log line, a mark.
    Pass,
}

/// A new destination; `None` is one that is not known, or for the address this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct To {
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) test: Test,
    pub(super) is_negated: bool,
}

impl Condition {
    pub(super) fn is(test: Test) -> Self {
        Self {
            test,
            is_negated: false,
        }
    }
}

/// What a condition asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Always,
    Never,
    Family(Family),
    /// IANA numbers.
    Protocol(Vec<u8>),
    /// Ranges of destination ports.
    Port(Vec<(u16, u16)>),
    /// The same before any rewriting.
    OriginalPort(Vec<(u16, u16)>),
    /// The states of connection tracking, in small letters.
    State(Vec<String>),
    /// Names; `+` or `*` at the end stands for anything.
    Interface(Vec<String>),
    Destination(Vec<IpNet>),
    /// TCP flags: those looked at, and those of them that must be set.
    Flags {
        mask: Vec<String>,
        set: Vec<String>,
    },
    /// Something that holds for some peers or packets only, such as a source network or a mark: an ordinary stranger's does not have it.
    Few,
    /// Not understood.
    Unknown,
}

/// All chains of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub(super) chains: Vec<Chain>,
}

impl Ruleset {
    pub(super) fn find(&self, table: &Table, name: &str) -> Option<usize> {
        self.chains
            .iter()
            .position(|chain| chain.name == name && chain.table == *table)
    }
}

/// IANA number of a protocol as iptables and nft name it.
pub(super) fn protocol(name: &str) -> Option<u8> {
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
