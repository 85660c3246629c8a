//! Real rule sets, captured from the tools that wrote them into a kernel.

use super::{Recording, iptables_save, read_recording};
use crate::core::host_rules::{
    Base, Chain, Hook, Judgement, Original, Packet, Ruleset, Test, Verdict,
};
use crate::model::address::Family;

const EVERY_MATCH: &[u8] = include_bytes!("../../../../tests/rulesets/every-match.netlink");
const EVERY_IPTABLES_MATCH: &[u8] =
    include_bytes!("../../../../tests/rulesets/every-match-iptables.netlink");

#[test]
fn every_match_is_read() {
    let chains = read_recording(Recording(EVERY_MATCH));
    let input = chains
        .iter()
        .find(|chain| chain.name == "input" && chain.table.family == "inet")
        .unwrap();
    assert_eq!(
        input.base,
        Some(Base {
            hook: Hook::Input,
            is_nat: false,
            drops: true,
            priority: 0,
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
    // nft asks whether the bits of a state are not zero
    let new = "!State([\"invalid\", \"established\", \"related\", \"untracked\"])";
    for (handle, expected) in [
        (9, "Interface([\"lo\"])"),
        (
            11,
            "Interface([\"eth*\", \"wg0\"]) Protocol([6]) Port([(80, 80), (8000, 8010)])",
        ),
        (12, "Protocol([6]) Port([(25, 25)])"),
        (
            13,
            &format!("Family(V4) Source([10.0.0.0/8]) Protocol([6]) Port([(22, 22)]) {new} Always"),
        ),
        (15, "Protocol([6, 17]) Port([(53, 53)])"),
        (16, &format!("Protocol([6]) !{flags} {new}")),
        (17, &format!("Protocol([6]) {flags}")),
        // not to this host, no way back
        (18, "!ToThisHost"),
        (19, "Never"),
        (23, "Mark { value: 1, mask: 4294967295 }"),
        (24, "Mark { value: 1, mask: 255 }"),
        // over the limit of a set
        (26, "Family(V4) Never"),
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

/// What each rule alone does with packets, by two readers of the same rules.
#[test]
fn readers_of_iptables_agree() {
    let saved = include_str!("../../../../tests/rulesets/every-match.save");
    let saved = iptables_save::read("iptables", Family::V4, saved);
    let recorded = read_recording(Recording(EVERY_IPTABLES_MATCH));
    let input = |chains: &[Chain]| {
        let is_input = |chain: &&Chain| chain.name == "INPUT";
        chains.iter().find(is_input).unwrap().clone()
    };
    let (saved, recorded) = (input(&saved), input(&recorded));
    assert_eq!(recorded.table, saved.table);
    assert_eq!(recorded.base, saved.base);
    let pairs = saved.rules.iter().zip(&recorded.rules);
    for (number, (one, other)) in (1..).zip(pairs) {
        assert_eq!(other.name, format!("rule {number} of chain INPUT"));
        assert_eq!(other.effect, one.effect, "{}", one.name);
        assert_eq!(other.comment, one.comment);
        for packet in packets() {
            let [one_says, other_says] =
                [(&saved, one), (&recorded, other)].map(|(chain, rule)| {
                    [false, true].map(|drops| {
                        let mut chain = chain.clone();
                        chain.rules = vec![rule.clone()];
                        chain.base = chain.base.map(|base| Base { drops, ..base });
                        let chains = vec![chain];
                        let judgement = Ruleset { chains }.judge(Hook::Input, &packet);
                        std::mem::discriminant(&judgement)
                    })
                });
            assert_eq!(one_says, other_says, "{}: {packet:?}", one.name);
        }
    }
    assert_eq!(recorded.rules.len(), saved.rules.len());
}

fn packets() -> Vec<Packet<'static>> {
    let mut packets = Vec::new();
    for service in ["tcp/22", "tcp/85", "udp/53", "icmp"] {
        for source in [None, Some("10.0.0.2"), Some("192.0.2.7")] {
            for (mark, is_established) in [(0, false), (1, false), (0x101, true), (2, false)] {
                packets.push(Packet {
                    family: Family::V4,
                    service: service.parse().unwrap(),
                    original: (mark == 2).then(|| Original {
                        service: "tcp/8080".parse().unwrap(),
                        destinations: &[],
                    }),
                    is_established,
                    source: source.map(|address| address.parse().unwrap()),
                    is_forwarded: mark == 1,
                    mark,
                    interface: "eth0",
                    destinations: &[],
                    out_interface: (mark == 1).then_some("eth1"),
                    known_chains: &[],
                    sets: &[],
                });
            }
        }
    }
    packets
}

#[test]
fn odd_messages_cause_no_panic() {
    for whole in [EVERY_MATCH, EVERY_IPTABLES_MATCH] {
        for place in (0..whole.len()).step_by(29) {
            for flipped in [0x01, 0xff] {
                let mut recording = whole.to_vec();
                recording[place] ^= flipped;
                let _ = read_recording(Recording(&recording));
            }
        }
    }
}

#[test]
fn odd_output_causes_no_panic() {
    for text in [
        "-A INPUT",
        "*filter\n:\n-A \n-A INPUT -p\n:INPUT\n",
        "*filter\n:INPUT DROP\n-A INPUT -m x ! -j \"a",
        "#`'",
    ] {
        let _ = iptables_save::read("iptables", Family::V4, text);
    }
}

#[test]
fn rule_that_is_not_understood_may_be_any() {
    for rule in [
        "-A INPUT -m comment --comment \"half",
        "-A INPUT -j HELLO",
        "-A INPUT -p tcp -m tcp --dport 22 -m odd --match -j ACCEPT",
    ] {
        let text = format!("*filter\n:INPUT DROP [0:0]\n{rule}\nCOMMIT\n");
        let chains = iptables_save::read("iptables", Family::V4, &text);
        let judgement = Ruleset { chains }.judge(Hook::Input, &packets()[0]);
        assert!(
            matches!(judgement, Judgement::CannotTell(_)),
            "{rule}: {judgement}"
        );
    }
}
