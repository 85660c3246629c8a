//! A rule of Postern in the host's own chains, and how it is told from the rules of the host.

use std::fmt;

use super::condition::{Condition, Test};
use super::rules::{Chain, Rule, Table, Verdict};
use crate::model::address::Family;
use crate::model::packet_mark::PacketMark;
use crate::model::service::Ports;

const COMMENT: &str = "postern";
const PUBLISHED: &str = " published";

/// A rule that accepts a service of packets that have the packet mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AcceptRule {
    pub(crate) service: Ports,
    pub(crate) port: PortOf,
    pub(crate) mark: PacketMark,
}

/// Which port of a packet a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PortOf {
    Packet,
    /// The one that the packet was sent to, before somebody translated it.
    Sender,
}

impl AcceptRule {
    /// `postern 0x2400/0x3c00 tcp/22`, or `postern 0x2400/0x3c00 tcp/8080 published`
    pub(crate) fn comment(self) -> String {
        let published = match self.port {
            PortOf::Packet => "",
            PortOf::Sender => PUBLISHED,
        };
        format!("{COMMENT} {} {}{published}", self.mark, self.service)
    }

    pub(crate) fn from_comment(comment: &str) -> Option<Self> {
        let rest = comment.strip_prefix(COMMENT)?.strip_prefix(' ')?;
        let (rest, port) = match rest.strip_suffix(PUBLISHED) {
            Some(rest) => (rest, PortOf::Sender),
            None => (rest, PortOf::Packet),
        };
        let mut words = rest.split(' ');
        let rule = Self {
            port,
            mark: words.next()?.parse().ok()?,
            service: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(rule)
    }
}

impl fmt::Display for AcceptRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, mark) = (self.service.protocol_name(), self.mark);
        let port = match self.port {
            PortOf::Packet => format!("{name} dport"),
            PortOf::Sender => format!("meta l4proto {name} ct original proto-dst"),
        };
        match self.service.range() {
            Some((first, last)) if first != last => write!(f, "{port} {first}-{last} ")?,
            Some((first, _)) => write!(f, "{port} {first} ")?,
            None => write!(f, "meta l4proto {name} ")?,
        }
        write!(
            f,
            "meta mark & {:#x} == {:#x} accept",
            mark.mask, mark.value
        )
    }
}

/// What nft lists of a table of iptables, and loads again, has no comments.
pub(super) fn own(table: &Table, rule: &Rule, mark: PacketMark) -> Option<AcceptRule> {
    if let Some(comment) = &rule.comment {
        return AcceptRule::from_comment(comment);
    }
    let is_of_iptables = table.family != "inet" && table.name == "filter";
    let has_mark = |condition: &Condition| {
        let PacketMark { value, mask } = mark;
        *condition == Condition::is(Test::Mark { value, mask })
    };
    let is_own =
        is_of_iptables && rule.verdict == Verdict::Accept && rule.conditions.iter().any(has_mark);
    let service = is_own.then(|| service(table, &rule.conditions))??;
    let is_original = |one: &Condition| matches!(one.test, Test::OriginalPort(_));
    let port = if rule.conditions.iter().any(is_original) {
        PortOf::Sender
    } else {
        PortOf::Packet
    };
    Some(AcceptRule {
        service,
        port,
        mark,
    })
}

fn service(table: &Table, conditions: &[Condition]) -> Option<Ports> {
    let protocol = conditions
        .iter()
        .find_map(|condition| match &condition.test {
            Test::Protocol(numbers) => postern_proto::Protocol::from_number(*numbers.first()?),
            _ => None,
        });
    let ports = conditions
        .iter()
        .find_map(|condition| match &condition.test {
            Test::Port(ranges) | Test::OriginalPort(ranges) => ranges.first().copied(),
            _ => None,
        });
    let Some((protocol, (first, last))) = protocol.zip(ports) else {
        let is_ipv6 = table.sees(Family::V6);
        return if is_ipv6 { "icmpv6" } else { "icmp" }.parse().ok();
    };
    let service = postern_proto::Service::new(protocol, first, last);
    service.ok().map(Ports::from)
}

/// The rules of a chain that are not Postern's.
pub(super) fn rules_of_host(chain: &Chain, mark: PacketMark) -> impl Iterator<Item = &Rule> {
    let is_postern = chain.is_postern();
    let is_own = move |rule: &&Rule| is_postern || own(&chain.table, rule, mark).is_some();
    chain.rules.iter().filter(move |rule| !is_own(rule))
}
