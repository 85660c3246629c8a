//! Real rule sets, captured from the tools that wrote them into a kernel.

use super::{iptables_save, nft_listing, rules};
use crate::core::host_rules::{Base, Hook, Test, Verdict};
use crate::model::address::Family;

const EVERY_MATCH: &str = include_str!("../../../../tests/rulesets/every-match.json");

#[test]
fn every_match_is_read() {
    let chains = nft_listing::read(EVERY_MATCH).unwrap();
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
fn incompatible_table_is_left_to_nft() {
    let saved = "# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n";
    let read = iptables_save::read("iptables", Family::V4, saved);
    assert_eq!(read.tables, ["nat"]);
    let shown = [("ip", read.tables)].into();
    let left: Vec<String> = rules::without_shown(nft_listing::read(EVERY_MATCH).unwrap(), &shown)
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
fn odd_output_causes_no_panic() {
    for text in [
        "",
        "{}",
        "[1]",
        "{\"nftables\":[{\"rule\":{}},{\"chain\":{\"family\":\"inet\"}},{\"set\":1}]}",
    ] {
        let _ = nft_listing::read(text);
    }
    for text in [
        "-A INPUT",
        "*filter\n:\n-A \n-A INPUT -p\n:INPUT\n",
        "*filter\n:INPUT DROP\n-A INPUT -m x ! -j \"a",
        "#`'",
    ] {
        let _ = iptables_save::read("iptables", Family::V4, text);
    }
}
