//! Real rule sets, captured from tools that wrote them into a kernel, and what is found in them.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::judge::judge;
use super::look::Facts;
use super::rules::{Base, Chain, Family, Hook, Ruleset, Test, Verdict};
use super::{iptables, nft};
use crate::adapters::config;
use crate::adapters::config::bundle::{Bundle, BundleFile};
use crate::admin::check::findings::Finding;
use crate::model::settings::Settings;

const DROP: &str = include_str!("../../../../tests/rulesets/drop.json");
const FIREWALLD: &str = include_str!("../../../../tests/rulesets/firewalld.json");
const EVERY_MATCH: &str = include_str!("../../../../tests/rulesets/every-match.json");
const NATIVE: &str = include_str!("../../../../tests/rulesets/postern.json");
const POSTERN: &str = include_str!("../../../../tests/rulesets/postern.save");
const UFW: &str = include_str!("../../../../tests/rulesets/ufw.save");
const UFW6: &str = include_str!("../../../../tests/rulesets/ufw6.save");
const DOCKER: &str = include_str!("../../../../tests/rulesets/docker.save");

fn settings(gate: &str, firewall: &str, user: &str) -> Settings {
    let text = format!(
        "[gate]\nname = \"g\"\n{gate}\n[firewall]\n{firewall}\n[[user]]\nname = \"al\"\nkey = \"fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU=\"\n{user}\n"
    );
    let main = BundleFile {
        path: PathBuf::from("/etc/postern/posternd.toml"),
        text: Zeroizing::new(text),
    };
    config::load(&Bundle {
        main: Some(main),
        ..Bundle::default()
    })
    .unwrap()
    .settings
}

fn protecting(services: &str) -> Settings {
    settings(
        "",
        "protect = \"services\"",
        &format!("services = [{services}]"),
    )
}

fn open(services: &str) -> Settings {
    settings(
        "",
        "protect = \"none\"",
        &format!("services = [{services}]"),
    )
}

fn nft(text: &str) -> Vec<Chain> {
    nft::read(text).unwrap()
}

fn v4(text: &str) -> Vec<Chain> {
    iptables::read("iptables", Family::V4, text).chains
}

fn v6(text: &str) -> Vec<Chain> {
    iptables::read("ip6tables", Family::V6, text).chains
}

fn host(chains: Vec<Chain>) -> Facts {
    Facts {
        rules: Ruleset { chains },
        interfaces: vec!["eth0".to_owned()],
        addresses: vec![
            "192.0.2.1/32".parse().unwrap(),
            "2001:db8::1/128".parse().unwrap(),
        ],
        has_ip6tables: true,
        ..Facts::default()
    }
}

fn found(settings: &Settings, backend: &str, chains: Vec<Chain>) -> Vec<Finding> {
    judge(settings, backend, &host(chains))
}

fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.id).collect()
}

/// The one finding of a kind.
#[track_caller]
fn only<'a>(findings: &'a [Finding], id: &str) -> &'a Finding {
    let all: Vec<&Finding> = findings.iter().filter(|finding| finding.id == id).collect();
    assert_eq!(all.len(), 1, "{id}: {findings:#?}");
    assert!(!all[0].what.contains('\n'));
    all[0]
}

#[test]
fn nothing_is_wrong_with_an_empty_host_or_one_that_accepts() {
    let accepting = ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
    for chains in [Vec::new(), v4(&format!("*filter\n{accepting}"))] {
        for backend in ["iptables", "nftables"] {
            let findings = found(&protecting("\"tcp/22\""), backend, chains.clone());
            assert_eq!(ids(&findings), ["not-installed"], "{findings:?}");
            assert_eq!(findings[0].level, "note");
        }
    }
}

#[test]
fn nothing_is_wrong_with_posterns_own_rules() {
    let captured = protecting("\"tcp/22\", \"icmp\", \"udp/5000-5010\"");
    assert_eq!(found(&captured, "nftables", nft(NATIVE)), []);
    let both = [
        v4(POSTERN),
        v6(&POSTERN.replace(
            "-p icmp -m icmp --icmp-type 8",
            "-p ipv6-icmp -m icmp6 --icmpv6-type 128",
        )),
    ]
    .concat();
    assert_eq!(found(&captured, "iptables", both), []);
}

#[test]
fn a_later_chain_that_drops_is_named_with_a_rule_for_it() {
    for backend in ["iptables", "nftables"] {
        let findings = found(
            &protecting("\"tcp/22\", \"tcp/80\", \"udp/5000-5010\""),
            backend,
            nft(DROP),
        );
        assert_eq!(
            ids(&findings),
            ["not-installed", "later-drop"],
            "{findings:#?}"
        );
        let drop = only(&findings, "later-drop");
        assert!(
            drop.what
                .contains("tcp/22, udp/5000-5010: nft table inet filter, chain input"),
            "{}",
            drop.what
        );
        assert_eq!(
            drop.cure,
            [
                "nft insert rule inet filter input tcp dport 22 accept",
                "nft insert rule inet filter input udp dport 5000-5010 accept"
            ]
        );
    }
}

#[test]
fn what_such_a_chain_lets_only_some_networks_reach_stays_closed_to_others() {
    let findings = found(
        &protecting("\"tcp/5432\", \"tcp/8005\", \"icmp\""),
        "iptables",
        nft(DROP),
    );
    assert_eq!(
        only(&findings, "later-drop").cure,
        ["nft insert rule inet filter input tcp dport 5432 accept"]
    );
    // A part of the range is let through: that is all that can be said.
    let findings = found(&protecting("\"tcp/8000-8020\""), "iptables", nft(DROP));
    assert_eq!(ids(&findings), ["not-installed", "unclear"]);
}

#[test]
fn without_protection_such_a_chain_can_not_be_the_one_that_closes() {
    let findings = found(&open("\"tcp/22\""), "nftables", nft(DROP));
    assert_eq!(ids(&findings), ["later-drop"]);
    assert!(
        findings[0].what.contains("set protect = \"services\""),
        "{}",
        findings[0].what
    );
}

#[test]
fn firewalld_drops_in_a_table_of_its_own_and_is_told_in_its_own_words() {
    let findings = found(
        &protecting("\"tcp/22\", \"tcp/443\", \"icmp\", \"icmpv6\""),
        "iptables",
        nft(FIREWALLD),
    );
    let drop = only(&findings, "later-drop");
    assert!(
        drop.what
            .contains("a grant does not open tcp/22: nft table inet firewalld, chain filter_INPUT"),
        "{}",
        drop.what
    );
    assert!(
        drop.what.contains("of chain filter_IN_public)"),
        "{}",
        drop.what
    );
    assert_eq!(
        drop.cure,
        [
            "firewall-cmd --permanent --add-port=22/tcp",
            "firewall-cmd --reload"
        ]
    );
}

#[test]
fn ufw_stands_behind_the_jump_of_the_iptables_driver_but_not_behind_the_nftables_table() {
    let chains = || [v4(UFW), v6(UFW6)].concat();
    let tcp = protecting("\"tcp/22\", \"icmp\", \"icmpv6\"");
    assert_eq!(ids(&found(&tcp, "iptables", chains())), ["not-installed"]);
    let findings = found(&tcp, "nftables", chains());
    assert_eq!(
        ids(&findings),
        ["not-installed", "later-drop", "later-drop"],
        "{findings:#?}"
    );
    assert!(
        findings
            .iter()
            .skip(1)
            .all(|finding| finding.cure == ["ufw allow 22/tcp"]),
        "{findings:#?}"
    );
    assert!(
        findings[1].what.contains("the policy of chain INPUT"),
        "{}",
        findings[1].what
    );
    // The host closes it, established sessions live on: all is well without protection.
    assert_eq!(found(&open("\"tcp/22\""), "iptables", chains()), []);
}

#[test]
fn without_protection_a_service_that_no_rule_closes_is_reachable() {
    let findings = found(&open("\"tcp/22\""), "iptables", Vec::new());
    assert_eq!(ids(&findings), ["reachable"]);
    assert!(findings[0].what.starts_with(
        "tcp/22 can be reached without a knock over IPv4: firewall.protect is \"none\" and no rule"
    ));
    let accepting = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT\nCOMMIT\n";
    let findings = found(
        &open("\"tcp/22\", \"tcp/25\""),
        "iptables",
        [v4(accepting), v6(accepting)].concat(),
    );
    assert_eq!(ids(&findings), ["reachable"]);
    assert!(
        findings[0].what.starts_with("tcp/22 can"),
        "{}",
        findings[0].what
    );
    assert!(
        findings[0]
            .what
            .contains("the rule \"-A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT\" in iptables table filter lets it in")
    );
}

#[test]
fn one_that_is_closed_over_ipv4_only_is_open_over_ipv6() {
    let closing =
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n";
    let with = |facts: Facts| judge(&open("\"tcp/22\""), "iptables", &facts);
    let ipv6 = with(Facts {
        listeners: vec!["[::]:22".parse().unwrap()],
        ..host(v4(closing))
    });
    let finding = only(&ipv6, "ipv6-open");
    assert!(
        finding.what.starts_with("tcp/22 can be reached without a knock over IPv6, though not over IPv4 (a socket listens on [::]:22)")
    );
    assert!(
        with(Facts {
            addresses: vec!["192.0.2.1/32".parse().unwrap()],
            ..host(v4(closing))
        })
        .iter()
        .all(|finding| finding.id != "ipv6-open")
    );
}

#[test]
fn without_ip6tables_the_iptables_driver_leaves_ipv6_open() {
    let without = Facts {
        has_ip6tables: false,
        ..host(v4(POSTERN))
    };
    let finding = judge(&protecting("\"tcp/22\""), "iptables", &without);
    assert!(
        only(&finding, "ipv6-open")
            .what
            .contains("ip6tables-restore is not installed"),
        "{finding:?}"
    );
    assert_eq!(
        ids(&judge(
            &protecting("\"tcp/22\""),
            "nftables",
            &Facts {
                has_ip6tables: false,
                ..host(nft(NATIVE))
            }
        )),
        [""; 0]
    );
}

#[test]
fn a_jump_that_is_not_first_counts_where_a_rule_before_it_decides() {
    let with = |rules: &str| POSTERN.replace("-A INPUT -j POSTERN\n", rules);
    let v6 = v6(POSTERN);
    let ask = |rules: &str| {
        found(
            &protecting("\"tcp/22\""),
            "iptables",
            [v4(&with(rules)), v6.clone()].concat(),
        )
    };
    for harmless in [
        "-A INPUT -s 10.0.0.1/32 -j DROP\n",
        "-A INPUT -i lo -j ACCEPT\n",
        "-A INPUT -p udp -j ACCEPT\n",
        "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n",
    ] {
        assert_eq!(
            ask(&format!("{harmless}-A INPUT -j POSTERN\n")),
            [],
            "{harmless}"
        );
    }
    let findings = ask("-A INPUT -p tcp -m tcp --dport 1:1023 -j ACCEPT\n-A INPUT -j POSTERN\n");
    assert_eq!(
        only(&findings, "reachable").cure,
        ["iptables -I INPUT 1 -j POSTERN"]
    );
    assert!(
        findings[0].what.contains(
            "the jump to POSTERN is not the first rule of INPUT, and the rule \"-A INPUT -p tcp -m tcp --dport 1:1023 -j ACCEPT\""
        )
    );
    assert_eq!(
        only(
            &ask("-A INPUT -p tcp -j REJECT\n-A INPUT -j POSTERN\n"),
            "earlier-drop"
        )
        .cure,
        ["iptables -I INPUT 1 -j POSTERN"]
    );
    assert!(
        only(&ask(""), "reachable")
            .what
            .contains("nothing jumps to it")
    );
}

#[test]
fn rules_that_do_not_fit_the_config_yet_are_told() {
    let findings = found(&protecting("\"tcp/443\""), "nftables", nft(NATIVE));
    assert!(
        only(&findings, "reachable")
            .what
            .contains("start posternd again, so that they fit the config"),
        "{findings:?}"
    );
}

#[test]
fn rules_of_the_other_backend_are_left_over_and_said_once() {
    let findings = found(
        &protecting("\"tcp/22\""),
        "nftables",
        [nft(NATIVE), v4(POSTERN)].concat(),
    );
    assert_eq!(ids(&findings), ["left-over"], "{findings:#?}");
    let findings = found(
        &protecting("\"tcp/22\""),
        "iptables",
        [nft(NATIVE), v4(POSTERN), v6(POSTERN)].concat(),
    );
    assert_eq!(ids(&findings), ["left-over"], "{findings:#?}");
    assert!(
        findings[0]
            .what
            .starts_with("nft table inet postern still holds"),
        "{findings:?}"
    );
}

#[test]
fn a_host_that_drops_sessions_cuts_them_when_a_grant_ends() {
    let closing = |rules: &str| format!("*filter\n:INPUT DROP [0:0]\n{rules}COMMIT\n");
    let ask = |rules: &str, settings: &Settings| {
        let facts = Facts {
            addresses: vec!["192.0.2.1/32".parse().unwrap()],
            ..host(v4(&closing(rules)))
        };
        judge(settings, "iptables", &facts)
    };
    let findings = ask("-A INPUT -i lo -j ACCEPT\n", &open("\"tcp/22\""));
    assert_eq!(ids(&findings), ["no-established"]);
    assert_eq!(
        findings[0].cure,
        ["iptables -I INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"]
    );
    assert_eq!(
        ask(
            "-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n",
            &open("\"tcp/22\"")
        ),
        []
    );
    assert_eq!(ids(&ask("", &protecting("\"tcp/22\""))), ["not-installed"]);
}

#[test]
fn a_port_that_docker_publishes_is_open_and_its_rule_is_named() {
    let ask = |text: &str| {
        found(
            &protecting("\"tcp/8080\", \"tcp/9090\", \"tcp/22\""),
            "iptables",
            v4(text),
        )
    };
    let findings = ask(DOCKER);
    let finding = only(&findings, "docker-published");
    assert!(finding.what.starts_with(
        "tcp/8080 is open to everyone, knock or not: it is published by Docker to 172.17.0.2 (tcp/80) by the rule \"-A DOCKER ! -i docker0"
    ));
    assert!(
        finding.what.contains("-p 127.0.0.1:8080:80"),
        "{}",
        finding.what
    );
    assert_eq!(finding.cure.len(), 1);
    // Once the command has run, it is closed.
    let rule = finding.cure[0].replace("iptables -I DOCKER-USER", "-A DOCKER-USER");
    assert!(
        !ids(&ask(&DOCKER.replace("-A DOCKER-USER -j RETURN", &rule)))
            .contains(&"docker-published"),
        "{rule}"
    );
}

#[test]
fn a_port_that_is_redirected_on_the_host_arrives_as_another() {
    let findings = found(
        &protecting("\"tcp/443\", \"tcp/8443\""),
        "iptables",
        nft(EVERY_MATCH),
    );
    assert!(
        only(&findings, "redirected")
            .what
            .contains("Postern's rules see tcp/8443"),
        "{findings:#?}"
    );
    let findings = found(&protecting("\"tcp/8080\""), "iptables", nft(EVERY_MATCH));
    assert_eq!(only(&findings, "published").cure.len(), 0);
}

#[test]
fn a_bound_socket_hears_no_knock_that_the_host_drops() {
    let udp = |capture: &str| {
        settings(
            &format!("capture = \"{capture}\""),
            "",
            "services = [\"tcp/80\"]",
        )
    };
    for backend in ["iptables", "nftables"] {
        let findings = found(&udp("udp"), backend, nft(DROP));
        assert_eq!(
            only(&findings, "knock-closed").cure,
            ["nft insert rule inet filter input udp dport 62201 accept"]
        );
        assert_eq!(
            ids(&found(&udp("packet"), backend, nft(DROP))),
            ["not-installed"]
        );
    }
    // In INPUT itself Postern comes first.
    assert_eq!(
        ids(&found(
            &udp("udp"),
            "iptables",
            [v4(UFW), v6(UFW6)].concat()
        )),
        ["not-installed"]
    );
}

#[test]
fn what_a_grant_opens_behind_the_gate_may_be_dropped_there() {
    let behind = settings(
        "",
        "",
        "services = [\"tcp/443\"]\ntargets = [\"10.1.0.0/16\"]",
    );
    let findings = found(&behind, "iptables", nft(DROP));
    assert!(
        only(&findings, "later-drop")
            .what
            .contains("of the hosts behind this one: nft table inet filter, chain forward"),
        "{findings:#?}"
    );
    assert_eq!(
        ids(&found(&behind, "iptables", v4(DOCKER))),
        ["not-installed"],
        "the jump comes first in FORWARD"
    );
}

#[test]
fn every_match_is_read_as_what_it_asks() {
    let chains = nft(EVERY_MATCH);
    let input = chains
        .iter()
        .find(|chain| chain.name == "input" && chain.table.family == "inet")
        .unwrap();
    assert_eq!(
        input.base,
        Some(Base {
            hook: Hook::Input,
            is_nat: false,
            drops: true
        })
    );
    let asked = |handle: u64| -> Vec<(Test, bool)> {
        let name = format!("the rule with handle {handle} of chain input");
        let rule = input.rules.iter().find(|rule| rule.name == name).unwrap();
        rule.conditions
            .iter()
            .map(|condition| (condition.test.clone(), condition.is_negated))
            .collect()
    };
    let tcp = (Test::Protocol(vec![6]), false);
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(asked(9), [(Test::Interface(names(&["lo"])), false)]);
    assert_eq!(
        asked(11),
        [
            (Test::Interface(names(&["eth*", "wg0"])), false),
            tcp.clone(),
            (Test::Port(vec![(80, 80), (8000, 8010)]), false)
        ]
    );
    assert_eq!(
        asked(12),
        [tcp.clone(), (Test::Port(vec![(25, 25)]), false)]
    );
    let state = (Test::State(names(&["new"])), false);
    assert_eq!(
        asked(13),
        [
            (Test::Family(Family::V4), false),
            (Test::Few, false),
            tcp.clone(),
            (Test::Port(vec![(22, 22)]), false),
            state.clone(),
            (Test::Always, false)
        ]
    );
    assert_eq!(
        asked(15),
        [
            (Test::Protocol(vec![6, 17]), false),
            (Test::Port(vec![(53, 53)]), false)
        ]
    );
    let syn = |is_negated| {
        (
            Test::Flags {
                mask: names(&["fin", "syn", "rst", "ack"]),
                set: names(&["syn"]),
            },
            is_negated,
        )
    };
    assert_eq!(asked(16), [tcp.clone(), syn(true), state]);
    assert_eq!(asked(17), [tcp.clone(), syn(false)]);
    assert_eq!(asked(18), [(Test::Always, true)], "not to this host");
    assert_eq!(asked(19), [(Test::Never, false)], "no way back");
    assert_eq!(
        asked(20).last(),
        Some(&(Test::Never, false)),
        "over the limit"
    );
    assert_eq!(asked(23), [(Test::Few, false)]);
    assert_eq!(asked(24), [(Test::Few, false)]);
    assert_eq!(asked(26), [(Test::Never, false)], "over the limit of a set");
    assert_eq!(asked(28), [(Test::Family(Family::V6), false)]);
    assert_eq!(
        asked(32),
        [
            (Test::Family(Family::V4), false),
            (
                Test::Destination(vec!["192.0.2.1/32".parse().unwrap()]),
                false
            )
        ]
    );
    assert_eq!(
        asked(34),
        [tcp, (Test::Port(vec![(22, 22), (80, 80)]), true)]
    );
    let unknown = input
        .rules
        .iter()
        .flat_map(|rule| &rule.conditions)
        .filter(|condition| condition.test == Test::Unknown);
    assert_eq!(unknown.count(), 0);
    let six = chains.iter().find(|chain| chain.name == "six").unwrap();
    assert_eq!(six.rules[0].verdict, Verdict::Goto("seven".to_owned()));
}

#[test]
fn what_is_not_understood_decides_nothing() {
    let odd =
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m u32 --u32 \"0x0=0x1\" -j ACCEPT\nCOMMIT\n";
    let findings = found(&open("\"tcp/22\""), "iptables", [v4(odd), v6(odd)].concat());
    assert!(
        findings.iter().all(|finding| finding.id != "reachable"),
        "{findings:#?}"
    );
    assert!(
        findings
            .iter()
            .any(|finding| finding.id == "unclear" && finding.level == "note"),
        "{findings:#?}"
    );
}

#[test]
fn a_table_that_only_nft_can_show_is_left_to_it() {
    let saved = "# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n";
    let read = iptables::read("iptables", Family::V4, saved);
    assert_eq!(read.tables, ["nat"]);
    let shown = [("ip", read.tables)].into();
    let left: Vec<String> = nft::without(nft(EVERY_MATCH), &shown)
        .iter()
        .map(|chain| chain.table.to_string())
        .collect();
    assert!(
        left.contains(&"nft table ip filter".to_owned())
            && !left.contains(&"nft table ip nat".to_owned()),
        "{left:?}"
    );
}

#[test]
fn no_output_makes_the_readers_panic() {
    for text in [
        "",
        "{}",
        "[1]",
        "{\"nftables\":[{\"rule\":{}},{\"chain\":{\"family\":\"inet\"}},{\"set\":1}]}",
    ] {
        let _ = nft::read(text);
    }
    for text in [
        "-A INPUT",
        "*filter\n:\n-A \n-A INPUT -p\n:INPUT\n",
        "*filter\n:INPUT DROP\n-A INPUT -m x ! -j \"a",
        "#`'",
    ] {
        let _ = iptables::read("iptables", Family::V4, text);
    }
}
