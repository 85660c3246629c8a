//! What a file admits before and after: the second is never more than the first.
//!
//! The oracle reads both texts by itself and knows nothing of the import's code.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::*;
use crate::model::foreign::Verdict;

/// Addresses that packets come from, requests, and durations that they ask for; 0 for none.
const SOURCES: [&str; 6] = [
    "10.0.0.1",
    "10.1.2.3",
    "192.0.2.1",
    "192.0.2.200",
    "203.0.113.9",
    "0.0.0.1",
];
const PORTS: [(&str, u16); 8] = [
    ("tcp", 1),
    ("tcp", 22),
    ("tcp", 80),
    ("tcp", 443),
    ("tcp", 65535),
    ("udp", 22),
    ("udp", 53),
    ("sctp", 22),
];
const ASKED: [u64; 6] = [0, 1, 60, 300, 301, 65536];

/// How long a request is admitted; 0 if it is not.
type Admitted = Vec<u64>;

fn admitted(judge: impl Fn(Ipv4Addr, &str, u16, u64) -> u64) -> Admitted {
    let mut all = Vec::new();
    for source in SOURCES {
        for (protocol, port) in PORTS {
            for asked in ASKED {
                all.push(judge(source.parse().unwrap(), protocol, port, asked));
            }
        }
    }
    all
}

/// fwknopd's rules for one stanza.
fn before(text: &str) -> Admitted {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.trim())
    };
    let number = |name| value(name).map(|text| text.parse::<u64>().unwrap());
    let list = |name| value(name).map(|text| text.split(',').map(str::trim).collect::<Vec<_>>());
    let inside = |network: &&str, source: Ipv4Addr| {
        let network = if *network == "ANY" {
            "0.0.0.0/0"
        } else {
            network
        };
        let network: Ipv4Net = network
            .parse()
            .unwrap_or_else(|_| Ipv4Net::new(network.parse().unwrap(), 32).unwrap());
        network.contains(&source)
    };
    let usual = number("FW_ACCESS_TIMEOUT").unwrap_or(30);
    let most = number("MAX_FW_TIMEOUT").unwrap_or(300);
    admitted(|source, protocol, port, asked| {
        let wanted = format!("{protocol}/{port}");
        let is_known = ["tcp", "udp"].contains(&protocol);
        let from = list("SOURCE")
            .unwrap()
            .iter()
            .any(|network| inside(network, source));
        let open = list("OPEN_PORTS").is_none_or(|ports| ports.contains(&&*wanted));
        let closed = list("RESTRICT_PORTS").is_some_and(|ports| ports.contains(&&*wanted));
        let length = if asked == 0 { usual } else { asked.min(most) };
        if is_known && from && open && !closed {
            length
        } else {
            0
        }
    })
}

/// Postern's rules for one user.
fn after(made: &Converted) -> Admitted {
    let users: Vec<toml::Table> = made
        .users
        .iter()
        .map(|user| user.toml.full.parse().unwrap())
        .collect();
    let services: Vec<toml::Table> = made
        .services
        .iter()
        .map(|one| one.toml.full.parse().unwrap())
        .collect();
    let length = |user: &toml::Table, key: &str| -> u64 {
        user[key]
            .as_str()
            .unwrap()
            .strip_suffix('s')
            .unwrap()
            .parse()
            .unwrap()
    };
    let holds = |range: &str, protocol: &str, port: u16| {
        let (name, range) = range.split_once('/').unwrap();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        name == protocol && (first.parse().unwrap()..=last.parse().unwrap()).contains(&port)
    };
    let ports_of = |name: &str| -> Vec<String> {
        let found = services.iter().find_map(|one| one["service"].get(name));
        let Some(service) = found else {
            return vec![name.to_owned()];
        };
        service["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port.as_str().unwrap().to_owned())
            .collect()
    };
    admitted(|source, protocol, port, asked| {
        let longest = users.iter().map(|user| {
            let texts = |key: &str| {
                user[key]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|text| text.as_str().unwrap())
            };
            let from =
                texts("from").any(|network| network.parse::<Ipv4Net>().unwrap().contains(&source));
            let open = texts("services")
                .flat_map(&ports_of)
                .any(|range| holds(&range, protocol, port));
            let asked = if asked == 0 {
                length(user, "duration")
            } else {
                asked
            };
            if from && open {
                asked.min(length(user, "max_duration"))
            } else {
                0
            }
        });
        longest.max().unwrap_or(0)
    })
}

#[test]
fn no_stanza_admits_more_than_before() {
    let (mut same, mut less) = (0, 0);
    for source in [
        "ANY",
        "10.0.0.0/8",
        "192.0.2.1, 10.1.2.3",
        "192.0.2.1/25",
        "0.0.0.0/0",
    ] {
        for open in ["", "OPEN_PORTS tcp/22", "OPEN_PORTS tcp/22, udp/53, tcp/80"] {
            for closed in [
                "",
                "RESTRICT_PORTS tcp/80",
                "RESTRICT_PORTS tcp/1, udp/22, tcp/65535",
            ] {
                for times in [
                    "",
                    "FW_ACCESS_TIMEOUT 60",
                    "MAX_FW_TIMEOUT 60",
                    "MAX_FW_TIMEOUT 10",
                    "FW_ACCESS_TIMEOUT 3600\nMAX_FW_TIMEOUT 10",
                ] {
                    for more in [
                        "",
                        "FORCE_NAT 10.0.0.5 22",
                        "FORCE_NAT 10.0.0.5 80",
                        "CMD_CYCLE_OPEN /bin/a $IP",
                        "DESTINATION 10.0.0.1",
                        "REQUIRE_USERNAME a",
                        "GPG_DECRYPT_ID A",
                    ] {
                        let text = format!(
                            "SOURCE {source}\n{KEY}{HMAC}{open}\n{closed}\n{times}\n{more}\n"
                        );
                        let made = import(&[("access.conf", &text)]);
                        let (before, after) = (before(&text), after(&made));
                        let wider = before
                            .iter()
                            .zip(&after)
                            .any(|(before, after)| after > before);
                        assert!(!wider, "{text}: {:?}", said(&made));
                        // Without a finding, exactly the same is admitted.
                        let narrowed = made
                            .findings
                            .0
                            .iter()
                            .any(|one| one.verdict >= Verdict::Narrow);
                        assert!(narrowed || before == after, "{text}: {:?}", said(&made));
                        if before == after {
                            same += 1
                        } else {
                            less += 1
                        }
                    }
                }
            }
        }
    }
    assert!(same > 400 && less > 200, "{same} {less}");
}

#[test]
fn no_door_admits_more_than_before() {
    let rule = |change: &str, port: &str| {
        format!("iptables {change} INPUT -s %IP% -p tcp --dport {port} -j ACCEPT")
    };
    for port in ["22", "80:443"] {
        for (stop, timeout) in [(true, ""), (true, "cmd_timeout = 60"), (false, "")] {
            for also in [
                "",
                "target = 10.0.0.1",
                "command_6 = /bin/a",
                "seq_timeout = x",
            ] {
                let stop = if stop {
                    format!("stop_command = {}", rule("-D", port))
                } else {
                    String::new()
                };
                let text = format!(
                    "[a]\nsequence = 7,8\ncommand = {}\n{stop}\n{timeout}\n{also}\n",
                    rule("-A", port)
                );
                let made = import(&[("knockd.conf", &text)]);
                let longest = match (stop.is_empty(), timeout.is_empty()) {
                    (true, _) => u64::MAX,
                    (false, true) => 10,
                    (false, false) => 60,
                };
                for user in &made.users {
                    let user: toml::Table = user.toml.full.parse().unwrap();
                    let port = port.replace(':', "-");
                    assert_eq!(user["services"].to_string(), format!("[\"tcp/{port}\"]"));
                    assert_eq!(user["networks"].to_string(), "[\"0.0.0.0/0\"]");
                    let max = user["max_duration"]
                        .as_str()
                        .unwrap()
                        .strip_suffix('s')
                        .unwrap();
                    assert!(max.parse::<u64>().unwrap() <= longest);
                }
                let refused = also.starts_with("target") || also.starts_with("seq");
                assert_eq!(made.users.is_empty(), refused, "{text}");
            }
        }
    }
}
