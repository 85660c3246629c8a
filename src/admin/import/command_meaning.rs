//! What a command of knockd or fwknopd does to the firewall.

use crate::model::service::Ports;
use crate::model::time;

/// What a command does to the firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It lets the address in to these ports.
    Accept(Vec<Ports>),
    /// It takes such a rule away.
    Remove(Vec<Ports>),
    /// It puts the address into a set of nftables, for so many seconds.
    Element(String, Option<u64>),
    /// It takes the address out of a set.
    RemoveElement(String),
    /// Anything else.
    Program,
}

pub(super) fn meaning(words: &[String]) -> Meaning {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((program, arguments)) = words.split_first() else {
        return Meaning::Program;
    };
    let name = program.rsplit('/').next().unwrap_or_default();
    let found = match name {
        "nft" => nft(arguments),
        "ufw" => ufw(arguments),
        "iptables" | "iptables-legacy" | "iptables-nft" | "ip6tables" | "ip6tables-legacy"
        | "ip6tables-nft" => iptables(arguments),
        _ => None,
    };
    found.unwrap_or(Meaning::Program)
}

/// A rule of INPUT that accepts ports from the address and has no other condition; `None` for any other.
fn iptables(arguments: &[&str]) -> Option<Meaning> {
    let mut rest = arguments.iter().copied().peekable();
    let (mut deletes, mut chain, mut protocol) = (false, None, None);
    let (mut has_source, mut accepts, mut ports) = (false, false, Vec::new());
    while let Some(option) = rest.next() {
        match option {
            "-w" | "--wait" => {
                rest.next_if(|next| is_number(next));
            }
            "-t" | "--table" => {
                rest.next().filter(|table| *table == "filter")?;
            }
            "-A" | "--append" | "-I" | "--insert" | "-D" | "--delete" => {
                deletes = ["-D", "--delete"].contains(&option);
                chain = rest.next();
                rest.next_if(|next| !deletes && is_number(next));
            }
            "-s" | "--source" | "--src" => {
                let hosts = ["{address}", "{address}/32", "{address}/128"];
                has_source = hosts.contains(&rest.next()?);
            }
            "-p" | "--protocol" | "--proto" => {
                protocol = Some(match rest.next()? {
                    "tcp" | "6" => "tcp",
                    "udp" | "17" => "udp",
                    _ => return None,
                });
            }
            "-m" | "--match" => {
                let harmless = ["tcp", "udp", "multiport", "state", "conntrack", "comment"];
                rest.next().filter(|name| harmless.contains(name))?;
            }
            "--comment" => {
                rest.next()?;
            }
            // As in knockd's manual. No connection begins without a SYN.
            "--syn" => {}
            "--state" | "--ctstate" => {
                rest.next()
                    .filter(|states| states.split(',').any(|one| one == "NEW"))?;
            }
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
                ports.extend(rest.next()?.split(',').map(port_text));
            }
            "-j" | "--jump" => accepts = rest.next()? == "ACCEPT",
            _ => return None,
        }
    }
    let ports = ports
        .iter()
        .map(|port| format!("{}/{port}", protocol?).parse().ok());
    let ports: Vec<Ports> = ports.collect::<Option<_>>()?;
    if chain != Some("INPUT") || !has_source || !accepts || ports.is_empty() {
        return None;
    }
    Some(if deletes {
        Meaning::Remove(ports)
    } else {
        Meaning::Accept(ports)
    })
}

/// `ufw allow from ADDRESS to any port 22 proto tcp`; without a protocol, both of them.
fn ufw(arguments: &[&str]) -> Option<Meaning> {
    let mut rest = arguments.iter().copied().peekable();
    rest.next_if_eq(&"--force");
    let deletes = rest.next_if_eq(&"delete").is_some();
    if rest.next_if_eq(&"insert").is_some() {
        rest.next().filter(|place| is_number(place))?;
    }
    rest.next_if_eq(&"prepend");
    rest.next().filter(|action| *action == "allow")?;
    rest.next_if_eq(&"in");
    let (mut has_source, mut ports, mut protocols) = (false, Vec::new(), vec!["tcp", "udp"]);
    while let Some(word) = rest.next() {
        let value = rest.next()?;
        match word {
            "from" => has_source = value == "{address}",
            "to" if value == "any" => {}
            "port" => ports.extend(value.split(',').map(port_text)),
            "proto" if ["tcp", "udp"].contains(&value) => protocols = vec![value],
            "comment" => {}
            _ => return None,
        }
    }
    let each = protocols
        .iter()
        .flat_map(|protocol| ports.iter().map(move |port| format!("{protocol}/{port}")));
    let ports: Vec<Ports> = each.map(|port| port.parse().ok()).collect::<Option<_>>()?;
    if !has_source || ports.is_empty() {
        return None;
    }
    Some(if deletes {
        Meaning::Remove(ports)
    } else {
        Meaning::Accept(ports)
    })
}

/// A port or a range as the config has it; names of /etc/services that configs use.
fn port_text(text: &str) -> String {
    const NAMES: [(&str, &str); 8] = [
        ("ssh", "22"),
        ("ftp", "21"),
        ("telnet", "23"),
        ("smtp", "25"),
        ("domain", "53"),
        ("http", "80"),
        ("https", "443"),
        ("openvpn", "1194"),
    ];
    let known = NAMES.iter().find(|(name, _)| *name == text);
    known.map_or_else(|| text.replace(':', "-"), |(_, port)| (*port).to_owned())
}

fn nft(arguments: &[&str]) -> Option<Meaning> {
    match arguments {
        [
            "add" | "insert",
            "rule",
            "ip" | "ip6" | "inet",
            _,
            chain,
            "ip" | "ip6",
            "saddr",
            "{address}",
            protocol @ ("tcp" | "udp"),
            "dport",
            port,
            rest @ ..,
        ] if chain.eq_ignore_ascii_case("input") => {
            let accepts = matches!(rest, ["accept"] | ["counter", "accept"]);
            let port = format!("{protocol}/{port}").parse().ok()?;
            accepts.then_some(Meaning::Accept(vec![port]))
        }
        [
            change @ ("add" | "delete"),
            "element",
            family,
            table,
            set,
            rest @ ..,
        ] => {
            let inside = rest.join(" ");
            let inside = inside.strip_prefix("{{")?.strip_suffix("}}")?.trim();
            let (address, timeout) = inside.split_once(' ').unwrap_or((inside, ""));
            let set = format!("{family} {table} {set}");
            match (*change, address, timeout.trim().strip_prefix("timeout ")) {
                ("delete", "{address}", None) => Some(Meaning::RemoveElement(set)),
                ("add", "{address}", None) if timeout.is_empty() => {
                    Some(Meaning::Element(set, None))
                }
                ("add", "{address}", Some(timeout)) => {
                    let length = time::parse_duration(timeout).ok()?;
                    Some(Meaning::Element(set, Some(length.as_secs().max(1))))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::command::{KNOCKD, words};
    use super::*;

    fn means(text: &str) -> Meaning {
        meaning(&words(text, &KNOCKD).unwrap())
    }

    #[test]
    fn rules_that_accept_ports_are_known() {
        let ports = |text: &str| text.split(' ').map(|one| one.parse().unwrap()).collect();
        let accept = |text: &str| Meaning::Accept(ports(text));
        for (text, expected) in [
            (
                "/sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
                accept("tcp/22"),
            ),
            (
                "iptables -w -I INPUT 1 -p udp -s %IP%/32 --dport 60000:61000 -j ACCEPT",
                accept("udp/60000-61000"),
            ),
            (
                "/usr/sbin/ip6tables -t filter -A INPUT -p tcp -m multiport --dports 80,443 -s %IP% -m state --state NEW -m comment --comment 'by knock' -j ACCEPT",
                accept("tcp/80 tcp/443"),
            ),
            (
                "iptables -A INPUT -p 6 -s %IP% --dport ssh -j ACCEPT",
                accept("tcp/22"),
            ),
            (
                "ufw allow from %IP% to any port 22 proto tcp",
                accept("tcp/22"),
            ),
            (
                "/usr/sbin/ufw insert 1 allow in from %IP% to any port 80,443 comment 'by knock'",
                accept("tcp/80 tcp/443 udp/80 udp/443"),
            ),
            (
                "ufw delete allow from %IP% to any port 22 proto tcp",
                Meaning::Remove(ports("tcp/22")),
            ),
            (
                "/usr/sbin/iptables -A INPUT -s %IP% -p tcp --syn --dport 22 -j ACCEPT",
                accept("tcp/22"),
            ),
            (
                "iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
                Meaning::Remove(ports("tcp/22")),
            ),
            (
                "nft add rule inet filter input ip saddr %IP% tcp dport 22 accept",
                accept("tcp/22"),
            ),
            (
                "nft add element inet filter knock { %IP% }",
                Meaning::Element("inet filter knock".into(), None),
            ),
            (
                "nft add element ip nat knock {%IP% timeout 1m}",
                Meaning::Element("ip nat knock".into(), Some(60)),
            ),
            (
                "nft delete element inet filter knock '{ %IP% }'",
                Meaning::RemoveElement("inet filter knock".into()),
            ),
        ] {
            assert_eq!(means(text), expected, "{text}");
        }
    }

    #[test]
    fn other_rules_stay_programs() {
        for text in [
            "iptables -A INPUT -p tcp --dport 22 -j ACCEPT",
            "iptables -A INPUT -s %IP% -j ACCEPT",
            "iptables -A KNOCK -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -A INPUT -i eth0 -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -A INPUT ! -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -A INPUT -s %IP% -p tcp --dport 22 -j DROP",
            "iptables -A INPUT -s %IP% -p tcp --dport nobody -j ACCEPT",
            "ufw allow from %IP%",
            "ufw allow 22",
            "ufw deny from %IP% to any port 22",
            "ufw allow from %IP% to 10.0.0.1 port 22",
            "iptables -A INPUT -s %IP% -p tcp --dport 22 --state ESTABLISHED -j ACCEPT",
            "iptables -t nat -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -A",
            "nft add rule inet filter input tcp dport 22 accept",
            "nft add element inet filter knock { %IP%, 10.0.0.1 }",
            "ipset add knock %IP%",
            "/bin/true",
        ] {
            assert_eq!(means(text), Meaning::Program, "{text}");
        }
    }
}
