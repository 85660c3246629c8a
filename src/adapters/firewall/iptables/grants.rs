//! Reads the grants back from the rules in Postern's chains, and tells which rule there Postern did not write.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::chains::{DNAT, FORWARD_GRANTS, GRANT_CHAINS, INPUT_GRANTS, MARK, SNAT};
use super::comment::Comment;
use super::save::{Tables, printable};
use crate::adapters::firewall::rule_words::words;
use crate::model::address::Family;
use crate::model::catalog::Forward;
use crate::model::grant::{Grant, GrantId};
use crate::model::service::Ports;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Postern did not write the rule \"-A {chain} {rule}\": {reason}")]
pub(super) struct ForeignRule {
    chain: &'static str,
    rule: String,
    reason: RuleError,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum RuleError {
    #[error("its quotes do not match")]
    Quotes,
    #[error("{0} has no value")]
    NoValue(String),
    #[error("{0}")]
    Argument(String),
    #[error("its comment is \"{0}\"")]
    Comment(String),
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its target \"{0}\" does not fit its matches and chain")]
    Target(String),
    #[error("\"{0}\" is not a {1}")]
    Value(String, &'static str),
    #[error("another rule with the same id differs")]
    Conflict,
}

/// The grants in the order of their first rules, and a rule that Postern did not write. Rules with the same id are one
/// grant.
pub(super) fn read(family: Family, tables: &Tables) -> (Vec<Grant>, Option<ForeignRule>) {
    let mut grants: Vec<Grant> = Vec::new();
    let mut places: HashMap<GrantId, usize> = HashMap::new();
    let mut foreign = None;
    for chain in GRANT_CHAINS {
        for rule in tables.rules(chain) {
            let mut enter = || {
                let part = Rule::read(family, rule)?.grant(chain)?;
                let place = *places.entry(part.id).or_insert(grants.len());
                match grants.get_mut(place) {
                    None => grants.push(part),
                    Some(grant) if is_same(grant, &part) => join(grant, part),
                    Some(_) => return Err(RuleError::Conflict),
                }
                Ok(())
            };
            if let Err(reason) = enter() {
                foreign.get_or_insert(ForeignRule {
                    chain,
                    rule: printable(rule),
                    reason,
                });
            }
        }
    }
    (grants, foreign)
}

fn is_same(one: &Grant, other: &Grant) -> bool {
    one.user == other.user
        && one.allow == other.allow
        && one.target == other.target
        && one.until == other.until
}

/// A port forward has up to three rules; only the last one shows that it masquerades.
fn join(grant: &mut Grant, part: Grant) {
    grant.services.extend(part.services);
    for forward in part.forwards {
        let place = |forward: &Forward| (forward.at, forward.host, forward.port);
        let mut known = grant.forwards.iter_mut();
        match known.find(|known| place(known) == place(&forward)) {
            Some(known) => known.masquerade |= forward.masquerade,
            None => grant.forwards.push(forward),
        }
    }
}

#[derive(Default)]
struct Rule {
    allow: Option<IpNet>,
    host: Option<IpAddr>,
    protocol: Option<&'static str>,
    ports: Option<String>,
    /// The gate's port that a translated connection came to.
    gate_port: Option<String>,
    is_translated: bool,
    is_local: bool,
    destination: Option<String>,
    /// The gate's port that a redirect leads to.
    own_port: Option<u16>,
    comment: Option<Comment>,
    target: String,
}

impl Rule {
    fn read(family: Family, text: &str) -> Result<Self, RuleError> {
        let mut rule = Self::default();
        let words = words(text).ok_or(RuleError::Quotes)?;
        let mut words = words.into_iter().map(|word| word.text);
        while let Some(flag) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| RuleError::NoValue(flag.clone()))?;
            let wrong = || RuleError::Argument(printable(&format!("{flag} {value}")));
            match flag.as_str() {
                "-s" => rule.allow = Some(network(&value).ok_or_else(wrong)?),
                "-d" => rule.host = Some(host(&value).ok_or_else(wrong)?),
                "-p" => rule.protocol = Some(protocol_name(&value).ok_or_else(wrong)?),
                "--dport" => rule.ports = Some(value),
                "--ctorigdstport" => rule.gate_port = Some(value),
                "--ctstate" if value == "DNAT" => rule.is_translated = true,
                "--dst-type" if value == "LOCAL" => rule.is_local = true,
                "--to-destination" => rule.destination = Some(value),
                "--to-ports" => rule.own_port = Some(value.parse().map_err(|_| wrong())?),
                "--comment" => {
                    let comment = Comment::read(&value);
                    let foreign = || RuleError::Comment(printable(&value));
                    rule.comment = Some(comment.ok_or_else(foreign)?);
                }
                "--icmp-type" if value == "8" => {}
                "--icmpv6-type" if value == "128" => {}
                "-m" | "--datestop" | "--mark" => {}
                "-j" | "-g" => rule.target = value,
                _ => return Err(wrong()),
            }
        }
        // iptables-save omits a source that is every address.
        rule.allow.get_or_insert(match family {
            Family::V4 => IpNet::V4(Ipv4Net::default()),
            Family::V6 => IpNet::V6(Ipv6Net::default()),
        });
        Ok(rule)
    }

    fn grant(self, chain: &str) -> Result<Grant, RuleError> {
        let comment = self.comment.clone().ok_or(RuleError::Missing("comment"))?;
        let mut grant = Grant {
            id: comment.id,
            user: comment.user,
            allow: self.allow.ok_or(RuleError::Missing("source"))?,
            target: None,
            services: Vec::new(),
            forwards: Vec::new(),
            until: comment.until,
        };
        let matches = (self.is_translated, self.is_local);
        let forward = match (chain, self.target.as_str(), matches) {
            // Versions before the mark accepted.
            (INPUT_GRANTS | FORWARD_GRANTS, MARK | "ACCEPT", (false, false))
                if self.gate_port.is_none() && self.destination.is_none() =>
            {
                grant.target = self.host;
                grant.services.push(self.service(self.ports.as_deref())?);
                return Ok(grant);
            }
            (FORWARD_GRANTS, MARK | "ACCEPT", (true, false)) => self.translated_forward(false),
            (INPUT_GRANTS, MARK, (true, false)) => self.translated_redirect(),
            (SNAT, "MASQUERADE", (true, false)) => self.translated_forward(true),
            (DNAT, "DNAT", (false, true)) => self.forward_at_gate(),
            (DNAT, "REDIRECT", (false, true)) => self.redirect_at_gate(),
            (_, target, _) => Err(RuleError::Target(printable(target))),
        };
        grant.forwards.push(forward?);
        Ok(grant)
    }

    /// A port forward in FORWARD and POSTROUTING: the packet already goes to the host, conntrack knows the gate's port.
    fn translated_forward(&self, masquerade: bool) -> Result<Forward, RuleError> {
        let host = self.host.ok_or(RuleError::Missing("destination"))?;
        let gate_port = self.gate_port.as_deref();
        let at = self.service(Some(gate_port.ok_or(RuleError::Missing("original port"))?))?;
        let inner = self.service(self.ports.as_deref())?;
        let single = inner.range().filter(|(first, last)| first == last);
        forward(at, host, single.map(|(port, _)| port), masquerade)
    }

    /// A redirect in INPUT: the packet already goes to the other port.
    fn translated_redirect(&self) -> Result<Forward, RuleError> {
        let gate_port = self.gate_port.as_deref();
        let at = self.service(Some(gate_port.ok_or(RuleError::Missing("original port"))?))?;
        redirect(at, self.service(self.ports.as_deref())?)
    }

    fn redirect_at_gate(&self) -> Result<Forward, RuleError> {
        let at = self.service(self.ports.as_deref())?;
        let to = self.own_port.and_then(|port| at.moved_to(port));
        redirect(at, to.ok_or(RuleError::Missing("port to redirect to"))?)
    }

    fn forward_at_gate(&self) -> Result<Forward, RuleError> {
        let text = self.destination.as_deref().unwrap_or_default();
        let (host, port) = match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
            (Ok(place), _) => (place.ip(), Some(place.port())),
            (_, Ok(host)) => (host, None),
            _ => return Err(RuleError::Value(printable(text), "destination")),
        };
        forward(self.service(self.ports.as_deref())?, host, port, false)
    }

    fn service(&self, ports: Option<&str>) -> Result<Ports, RuleError> {
        let protocol = self.protocol.ok_or(RuleError::Missing("protocol"))?;
        let ports = ports.map(|ports| format!("/{}", ports.replace(':', "-")));
        let text = protocol.to_owned() + &ports.unwrap_or_default();
        let wrong = |_| RuleError::Value(printable(&text), "service");
        text.parse().map_err(wrong)
    }
}

fn forward(
    at: Ports,
    host: IpAddr,
    port: Option<u16>,
    masquerade: bool,
) -> Result<Forward, RuleError> {
    Forward::new(at, host, port, masquerade)
        .map_err(|error| RuleError::Value(error.to_string(), "port forward"))
}

fn redirect(at: Ports, to: Ports) -> Result<Forward, RuleError> {
    Forward::redirect(at, to).map_err(|error| RuleError::Value(error.to_string(), "redirect"))
}

fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse().ok().map(|address: IpAddr| address.into());
    text.parse().ok().or_else(address)
}

fn host(text: &str) -> Option<IpAddr> {
    let host = network(text).filter(|net| net.prefix_len() == net.max_prefix_len());
    host.map(|net| net.addr())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rules::{Form, grant_rules};
    use super::super::save;
    use super::*;
    use crate::adapters::firewall::iptables::tests::{forward, grant as sample};
    use crate::model::packet_mark::PacketMark;

    fn read(family: Family, tables: &Tables) -> Result<Vec<Grant>, ForeignRule> {
        let (grants, foreign) = super::read(family, tables);
        foreign.map_or(Ok(grants), Err)
    }

    fn table(rules: &[impl AsRef<str>]) -> Tables {
        let lines = |is_nat: bool| {
            let nat = |rule: &str| {
                ["POSTERN-DNAT", "POSTERN-SNAT"]
                    .iter()
                    .any(|chain| rule.starts_with(chain))
            };
            let own = rules
                .iter()
                .map(AsRef::as_ref)
                .filter(|rule| nat(rule) == is_nat);
            own.map(|rule| format!("-A {rule}\n")).collect::<String>()
        };
        save::read(&format!(
            "*nat\n{}COMMIT\n*filter\n{}COMMIT\n",
            lines(true),
            lines(false)
        ))
        .unwrap()
    }

    const TAIL: &str = "-m comment --comment \"postern id=7 user=al until=5\" -j ACCEPT";

    #[test]
    fn rules_of_one_id_are_one_grant() {
        let table = table(&[
            "INPUT -s 10.0.0.1/32 -j ACCEPT".to_owned(),
            format!(
                "POSTERN-GRANTS -s 192.0.2.7/32 -p tcp -m tcp --dport 22 -m time --datestop 2026-11-22T11:16:05 {TAIL}"
            ),
            format!("POSTERN-GRANTS -s 192.0.2.7/32 -p icmp -m icmp --icmp-type 8 {TAIL}"),
            format!("POSTERN-GRANTS -s 192.0.2.7/32 -p ipv6-icmp {TAIL}"),
        ]);
        let mut expected = sample(7, "al", "192.0.2.7/32", &["tcp/22", "icmp", "icmpv6"]);
        expected.until = crate::model::time::Timestamp::from_millis(5);
        assert_eq!(read(Family::V4, &table), Ok(vec![expected]));
    }

    #[test]
    fn foreign_rules_are_named_in_the_error() {
        let nat =
            |rule: &str, target: &str| format!("POSTERN-{rule} {}", TAIL.replace("ACCEPT", target));
        for rule in [
            "POSTERN-GRANTS -s 192.0.2.7/32 -j ACCEPT".to_owned(),
            "POSTERN-GRANTS -p tcp --dport 22 -m comment --comment mine -j ACCEPT".to_owned(),
            format!("POSTERN-GRANTS -p gre {TAIL}"),
            format!("POSTERN-GRANTS -p tcp --dport 22 -i eth0 {TAIL}"),
            format!("POSTERN-GRANTS ! -s 192.0.2.7/32 -p tcp --dport 22 {TAIL}"),
            format!("POSTERN-GRANTS -p tcp --dport 22 {}", TAIL.replace("ACCEPT", "DROP")),
            format!("POSTERN-GRANTS -p tcp --dport \"22 {TAIL}"),
            format!("POSTERN-GRANTS -p tcp --dport 22 --ctstate DNAT {TAIL}"),
            "POSTERN-DNAT -p tcp --dport 2222 -m comment --comment x -j DNAT --to-destination 10.0.0.5:22".to_owned(),
            nat("DNAT -p tcp --dport 2222", "DNAT --to-destination 10.0.0.5:22"),
            nat("DNAT -p tcp --dport 2222 --dst-type LOCAL", "DNAT --to-destination 10.0.0.5-10.0.0.9"),
            nat("DNAT -p tcp --dport 2222 --dst-type LOCAL", "ACCEPT"),
            nat("SNAT -p tcp --dport 22", "MASQUERADE"),
        ] {
            let error = read(Family::V4, &table(&[&rule])).unwrap_err().to_string();
            assert!(error.contains(&format!("-A {}", rule.get(..25).unwrap())), "{rule}: {error}");
        }
        let two = ["", "-s 10.0.0.1/32 "]
            .map(|source| format!("POSTERN-GRANTS {source}-p tcp --dport 1 {TAIL}"));
        let error = read(Family::V4, &table(&two)).unwrap_err();
        assert_eq!(error.reason, RuleError::Conflict);
    }

    #[test]
    fn forward_is_read_back_from_any_of_its_rules() {
        let mut through = sample(7, "al", "192.0.2.7/32", &["tcp/80"]);
        through.forwards = vec![
            redirect("tcp/2200".parse().unwrap(), "tcp/22".parse().unwrap()).unwrap(),
            forward("tcp/2222", "10.0.0.5", Some(22), true),
            forward("udp/500-510", "10.0.0.6", None, false),
        ];
        let rules = grant_rules(&through, Form::default()).unwrap();
        assert_eq!(read(Family::V4, &table(&rules)), Ok(vec![through.clone()]));
        let only_dnat: Vec<&String> = rules
            .iter()
            .filter(|rule| rule.starts_with("POSTERN-DNAT"))
            .collect();
        through.services.clear();
        through.forwards[1].masquerade = false;
        assert_eq!(read(Family::V4, &table(&only_dnat)), Ok(vec![through]));
    }

    proptest! {
        #[test]
        fn written_grants_are_read_back(id: u64, user in "[A-Za-z0-9._@-]{1,64}", address: u32, prefix in 0_u8..=32, first in 1_u16.., more in 0_u16..100, ends: bool, live in proptest::option::of(Just(PacketMark::DEFAULT))) {
            let range = format!("udp/{first}-{}", first.saturating_add(more));
            let source = format!("{}/{prefix}", std::net::Ipv4Addr::from(address));
            let grant = sample(id, &user, &source, &[&range, "tcp/22", "sctp/9"]);
            let rules = grant_rules(&grant, Form { ends, live, in_sets: false }).unwrap();
            let expected = Grant { allow: grant.allow.trunc(), ..grant };
            prop_assert_eq!(read(Family::V4, &table(&rules)), Ok(vec![expected]));
        }

        #[test]
        fn no_output_panics(output in "(\\*filter\n)?([-:#*A-Z \"\\\\a-z=0-9]{0,40}\n){0,5}") {
            if let Ok(tables) = save::read(&output) {
                let _ = read(Family::V6, &tables);
            }
        }
    }
}
