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
    let asked = |handle: u64| -> String {
        let name = format!("the rule with handle {handle} of chain input");
        let rule = input.rules.iter().find(|rule| rule.name == name).unwrap();
        let conditions = rule.conditions.iter().map(|condition| {
            let not = if condition.is_negated { "!" } else { "" };
            format!("{not}{:?}", condition.test)
        });
        conditions.collect::<Vec<_>>().join(" ")
    };
    let flags = "Flags { mask: [\"fin\", \"syn\", \"rst\", \"ack\"], set: [\"syn\"] }";
    let new = "State([\"new\"])";
    for (handle, expected) in [
        (9, "Interface([\"lo\"])"),
        (
            11,
            "Interface([\"eth*\", \"wg0\"]) Protocol([6]) Port([(80, 80), (8000, 8010)])",
        ),
        (12, "Protocol([6]) Port([(25, 25)])"),
        (
            13,
            &format!("Family(V4) Few Protocol([6]) Port([(22, 22)]) {new} Always"),
        ),
        (15, "Protocol([6, 17]) Port([(53, 53)])"),
        (16, &format!("Protocol([6]) !{flags} {new}")),
        (17, &format!("Protocol([6]) {flags}")),
        // not to this host, no way back
        (18, "!Always"),
        (19, "Never"),
        (23, "Few"),
        (24, "Few"),
        // over the limit of a set
        (26, "Never"),
        (28, "Family(V6)"),
        (32, "Family(V4) Destination([192.0.2.1/32])"),
        (34, "Protocol([6]) !Port([(22, 22), (80, 80)])"),
    ] {
        assert_eq!(asked(handle), expected, "{handle}");
    }
    assert!(asked(20).ends_with("Never"), "over the limit");
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
