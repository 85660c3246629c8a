//! Reads the grants among the rules of Postern's chains.
//!
//! A rule there that this driver did not write is an error that names it, never left out. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::comment::Comment;
use super::list::{Tables, said};
use super::rules::{DNAT, FORWARD_GRANTS, Family, GRANT_CHAINS, INPUT_GRANTS, SNAT};
use crate::model::catalog::Forward;
use crate::model::grant::{Grant, GrantId};
use crate::model::service::Ports;

/// The grants in Postern's chains, in the order of their first rules; rules with one id are one grant.
pub(super) fn read(family: Family, tables: &Tables) -> Result<Vec<Grant>, String> {
    let mut grants: Vec<Grant> = Vec::new();
    let mut places: HashMap<GrantId, usize> = HashMap::new();
    for chain in GRANT_CHAINS {
        let table = if [DNAT, SNAT].contains(&chain) {
            &tables.nat
        } else {
            &tables.filter
        };
        for rule in table.of(chain) {
            let unreadable = |why: &str| {
                format!(
                    "the rule \"-A {chain} {}\" is not one that Postern wrote: {why}",
                    said(rule)
                )
            };
            let part = Rule::read(family, rule)
                .and_then(|rule| rule.grant(chain))
                .map_err(|why| unreadable(&why))?;
            match places
                .get(&part.id)
                .and_then(|place| grants.get_mut(*place))
            {
                None => {
                    places.insert(part.id, grants.len());
                    grants.push(part);
                }
                Some(known) if is_same_grant(known, &part) => join(known, part),
                Some(_) => return Err(unreadable("another rule with its id says otherwise")),
            }
        }
    }
    Ok(grants)
}

fn is_same_grant(one: &Grant, other: &Grant) -> bool {
    one.user == other.user
        && one.allow == other.allow
        && one.target == other.target
        && one.until == other.until
}

/// A forward has up to three rules, of which only the last one knows that it is masqueraded.
fn join(known: &mut Grant, part: Grant) {
    known.services.extend(part.services);
    for forward in part.forwards {
        let place = |forward: &Forward| (forward.at, forward.host, forward.port);
        match known
            .forwards
            .iter_mut()
            .find(|other| place(other) == place(&forward))
        {
            Some(other) => other.masquerade |= forward.masquerade,
            None => known.forwards.push(forward),
        }
    }
}

/// What the words of one rule say.
struct Rule {
    allow: IpNet,
    to: Option<IpAddr>,
    protocol: &'static str,
    ports: Option<String>,
    /// The port that a translated connection came to.
    came_to: Option<String>,
    is_translated: bool,
    is_to_the_gate: bool,
    destination: Option<String>,
    comment: Comment,
    verdict: String,
}

impl Rule {
    fn read(family: Family, rule: &str) -> Result<Self, String> {
        let mut allow = match family {
            Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
            Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
        };
        let (mut to, mut protocol, mut comment, mut verdict) = (None, None, None, None);
        let (mut ports, mut came_to, mut destination) = (None, None, None);
        let (mut is_translated, mut is_to_the_gate) = (false, false);
        let words = words(rule).ok_or("its quotes do not match")?;
        let mut words = words.into_iter();
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag} has no value"))?;
            let wrong = || format!("{flag} {value}");
            match flag.as_str() {
                "-s" => allow = network(&value).ok_or_else(wrong)?,
                "-d" => {
                    to = Some(
                        network(&value)
                            .filter(|net| net.prefix_len() == net.max_prefix_len())
                            .ok_or_else(wrong)?
                            .addr(),
                    )
                }
                "-p" => protocol = Some(protocol_name(&value).ok_or_else(wrong)?),
                "--dport" => ports = Some(value),
                "--ctorigdstport" => came_to = Some(value),
                "--ctstate" if value == "DNAT" => is_translated = true,
                "--dst-type" if value == "LOCAL" => is_to_the_gate = true,
                "--to-destination" => destination = Some(value),
                "--comment" => {
                    comment = Some(
                        value
                            .parse::<Comment>()
                            .map_err(|_| format!("its comment is \"{}\"", said(&value)))?,
                    )
                }
                "--icmp-type" if value == "8" => {}
                "--icmpv6-type" if value == "128" => {}
                "-m" | "--datestop" => {}
                "-j" => verdict = Some(value),
                _ => return Err(wrong()),
            }
        }
        Ok(Self {
            allow,
            to,
            protocol: protocol.ok_or("it names no protocol")?,
            ports,
            came_to,
            is_translated,
            is_to_the_gate,
            destination,
            comment: comment.ok_or("it has no comment")?,
            verdict: verdict.unwrap_or_default(),
        })
    }

    /// The grant with what this one rule opens.
    fn grant(self, chain: &str) -> Result<Grant, String> {
        let mut grant = Grant {
            id: self.comment.id,
            user: self.comment.user().to_owned(),
            allow: self.allow,
            target: None,
            services: Vec::new(),
            forwards: Vec::new(),
            until: self.comment.until,
        };
        match (
            chain,
            self.verdict.as_str(),
            self.is_translated,
            self.is_to_the_gate,
        ) {
            (INPUT_GRANTS | FORWARD_GRANTS, "ACCEPT", false, false)
                if self.came_to.is_none() && self.destination.is_none() =>
            {
                grant.target = self.to;
                grant.services.push(self.service(self.ports.as_deref())?);
            }
            (FORWARD_GRANTS, "ACCEPT", true, false) => {
                grant.forwards.push(self.forward_behind(false)?)
            }
            (SNAT, "MASQUERADE", true, false) => grant.forwards.push(self.forward_behind(true)?),
            (DNAT, "DNAT", false, true) => grant.forwards.push(self.forward_at_gate()?),
            (_, verdict, _, _) => {
                return Err(format!(
                    "it does not say ACCEPT where and as it should: {}",
                    said(verdict)
                ));
            }
        }
        Ok(grant)
    }

    /// A forward as FORWARD and POSTROUTING see it: the packet goes to the host already, the connection knows where it came to.
    fn forward_behind(&self, masquerade: bool) -> Result<Forward, String> {
        let host = self.to.ok_or("it names no host")?;
        let at = self.service(Some(
            self.came_to
                .as_deref()
                .ok_or("it does not say which port it forwards")?,
        ))?;
        let inner = self.service(self.ports.as_deref())?;
        let port = inner
            .range()
            .filter(|(first, last)| first == last)
            .map(|(first, _)| first);
        Forward::new(at, host, port, masquerade).map_err(|why| why.to_string())
    }

    /// A forward as PREROUTING sees it.
    fn forward_at_gate(&self) -> Result<Forward, String> {
        let destination = self.destination.as_deref().unwrap_or_default();
        let (host, port) = match (
            destination.parse::<SocketAddr>(),
            destination.parse::<IpAddr>(),
        ) {
            (Ok(place), _) => (place.ip(), Some(place.port())),
            (_, Ok(host)) => (host, None),
            _ => return Err(format!("{} is no destination", said(destination))),
        };
        Forward::new(self.service(self.ports.as_deref())?, host, port, false)
            .map_err(|why| why.to_string())
    }

    fn service(&self, ports: Option<&str>) -> Result<Ports, String> {
        let text = ports.map_or_else(
            || self.protocol.to_owned(),
            |ports| format!("{}/{}", self.protocol, ports.replace(':', "-")),
        );
        text.parse()
            .map_err(|_| format!("{} is no service", said(&text)))
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::list;
    use super::super::rules::{Abilities, grant_rules};
    use super::*;
    use crate::adapters::firewall::iptables::tests::{forward, grant as sample};

    fn table(rules: &[&str]) -> Tables {
        let (nat, filter): (Vec<&str>, Vec<&str>) = rules
            .iter()
            .partition(|rule| rule.starts_with("POSTERN-DNAT") || rule.starts_with("POSTERN-SNAT"));
        let lines = |rules: Vec<&str>| {
            rules
                .iter()
                .map(|rule| format!("-A {rule}\n"))
                .collect::<String>()
        };
        let (nat, filter) = (lines(nat), lines(filter));
        list::read(&format!("# Generated\n*nat\n{nat}COMMIT\n*filter\n:INPUT ACCEPT [0:0]\n{filter}COMMIT\n# Completed\n")).unwrap()
    }

    const TAIL: &str = "-m comment --comment \"postern id=7 user=al until=5\" -j ACCEPT";

    #[test]
    fn rules_of_one_id_are_one_grant() {
        let table = table(&[
            "INPUT -s 10.0.0.1/32 -j ACCEPT",
            &format!(
                "POSTERN-GRANTS -s 192.0.2.7/32 -p tcp -m tcp --dport 22 -m time --datestop 2026-11-22T11:16:05 {TAIL}"
            ),
            &format!("POSTERN-GRANTS -s 192.0.2.7/32 -p icmp -m icmp --icmp-type 8 {TAIL}"),
            &format!("POSTERN-GRANTS -s 192.0.2.7/32 -p ipv6-icmp {TAIL}"),
        ]);
        let mut expected = sample(7, "al", "192.0.2.7/32", &["tcp/22", "icmp", "icmpv6"]);
        expected.until = crate::model::time::Timestamp::from_millis(5);
        assert_eq!(read(Family::V4, &table), Ok(vec![expected]));
    }

    #[test]
    fn a_rule_for_everyone_has_no_source() {
        let table = table(&[&format!("POSTERN-GRANTS -p tcp -m tcp --dport 22 {TAIL}")]);
        assert_eq!(
            read(Family::V6, &table).unwrap()[0].allow,
            "::/0".parse().unwrap()
        );
    }

    #[test]
    fn a_rule_in_our_chains_that_is_not_ours_is_an_error_that_names_it() {
        for rule in [
            "-s 192.0.2.7/32 -j ACCEPT".to_owned(),
            "-p tcp -m tcp --dport 22 -m comment --comment mine -j ACCEPT".to_owned(),
            format!("-p gre {TAIL}"),
            format!("-p tcp -m tcp --dport 22 -i eth0 {TAIL}"),
            format!("! -s 192.0.2.7/32 -p tcp -m tcp --dport 22 {TAIL}"),
            format!(
                "-p tcp -m tcp --dport 22 {}",
                TAIL.replace("ACCEPT", "DROP")
            ),
            format!("-p tcp -m tcp --dport \"22 {TAIL}"),
        ] {
            let error = read(Family::V4, &table(&[&format!("POSTERN-GRANTS {rule}")])).unwrap_err();
            assert!(error.contains(rule.get(..10).unwrap()), "{error}");
        }
        let two = [
            format!("POSTERN-GRANTS -p tcp --dport 1 {TAIL}"),
            format!("POSTERN-GRANTS -s 10.0.0.1/32 -p tcp --dport 1 {TAIL}"),
        ];
        assert!(
            read(Family::V4, &table(&[&two[0], &two[1]]))
                .unwrap_err()
                .contains("says otherwise")
        );
    }

    #[test]
    fn the_rules_of_a_forward_are_one_and_a_missing_one_is_no_gap() {
        let mut through = sample(7, "al", "192.0.2.7/32", &["tcp/80"]);
        through.forwards = vec![
            forward("tcp/2222", "10.0.0.5", Some(22), true),
            forward("udp/500-510", "10.0.0.6", None, false),
        ];
        let rules = grant_rules(&through, Abilities::default()).unwrap();
        let all: Vec<&str> = rules.iter().map(String::as_str).collect();
        assert_eq!(read(Family::V4, &table(&all)), Ok(vec![through.clone()]));
        let only_dnat: Vec<&str> = all
            .iter()
            .copied()
            .filter(|rule| rule.starts_with("POSTERN-DNAT"))
            .collect();
        through.services.clear();
        through.forwards[0].masquerade = false;
        assert_eq!(read(Family::V4, &table(&only_dnat)), Ok(vec![through]));
    }

    #[test]
    fn a_rule_of_nat_that_is_not_ours_is_an_error() {
        for rule in [
            "POSTERN-DNAT -p tcp -m tcp --dport 2222 -m comment --comment x -j DNAT --to-destination 10.0.0.5:22".to_owned(),
            format!("POSTERN-DNAT -p tcp -m tcp --dport 2222 {}", TAIL.replace("ACCEPT", "DNAT --to-destination 10.0.0.5:22")),
            format!("POSTERN-DNAT -p tcp -m tcp --dport 2222 --dst-type LOCAL {TAIL}"),
            format!(
                "POSTERN-DNAT -p tcp -m tcp --dport 2222 --dst-type LOCAL {}",
                TAIL.replace("ACCEPT", "DNAT --to-destination 10.0.0.5-10.0.0.9")
            ),
            format!("POSTERN-SNAT -p tcp -m tcp --dport 22 {}", TAIL.replace("ACCEPT", "MASQUERADE")),
            format!("POSTERN-GRANTS -p tcp -m tcp --dport 22 --ctstate DNAT {TAIL}"),
        ] {
            assert!(read(Family::V4, &table(&[&rule])).is_err(), "{rule}");
        }
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
            prop_assert_eq!(read(Family::V4, &table(&rules)), Ok(vec![expected]));
        }

        #[test]
        fn no_output_makes_it_panic(output in "(\\*filter\n)?([-:#*A-Z \"\\\\a-z=0-9]{0,40}\n){0,5}") {
            let _ = list::read(&output).and_then(|tables| read(Family::V4, &tables));
        }
    }
}
