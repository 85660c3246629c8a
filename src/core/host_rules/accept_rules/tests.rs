//! Where Postern's rules go in the chains of a host.

use super::*;
use crate::core::host_rules::{Base, Chain, Condition, Rule, Test, Verdict};

fn table(program: &str) -> Table {
    Table {
        program: program.to_owned(),
        family: "inet",
        name: "filter".to_owned(),
    }
}

fn rule(handle: u64, test: Test, verdict: Verdict) -> Rule {
    Rule {
        conditions: vec![Condition::is(test)],
        effect: None,
        verdict,
        name: handle.to_string(),
        handle,
        comment: None,
    }
}

fn chain(name: &str, hook: Option<Hook>, drops: bool, rules: Vec<Rule>) -> Chain {
    Chain {
        table: table("nft"),
        name: name.to_owned(),
        base: hook.map(|hook| Base {
            hook,
            is_nat: false,
            drops,
            priority: 0,
        }),
        rules,
    }
}

fn ssh() -> Ports {
    "tcp/22".parse().unwrap()
}

/// `chain number`, or `chain end`, of each rule that is inserted for SSH.
fn inserted(ruleset: &Ruleset) -> Vec<String> {
    let services = [ssh()];
    let packet = Packet {
        family: Family::V4,
        service: ssh(),
        original: None,
        is_established: false,
        source: None,
        is_forwarded: false,
        mark: PacketMark::DEFAULT.value,
        interface: "eth0",
        destinations: &[],
        out_interface: None,
        known_chains: &[],
        sets: &[],
    };
    let opening = Opening {
        hook: Hook::Input,
        port: PortOf::Packet,
        services: &services,
        packets: &[packet],
    };
    changes(ruleset, PacketMark::DEFAULT, &[opening])
        .unwrap()
        .into_iter()
        .map(|change| match change.action {
            Action::Insert { is_last: true, .. } => format!("{} end", change.chain),
            Action::Insert { number, .. } => format!("{} {number}", change.chain),
            Action::Delete { handle } => format!("{} delete {handle}", change.chain),
        })
        .collect()
}

#[test]
fn rule_goes_directly_before_what_drops_everyone() {
    let established = || {
        rule(
            1,
            Test::State(vec!["established".to_owned()]),
            Verdict::Accept,
        )
    };
    let banned = || rule(2, Test::Few, Verdict::Drop);
    let drop = || rule(3, Test::Always, Verdict::Drop);
    let input = |drops, rules| chain("input", Some(Hook::Input), drops, rules);
    let jump = |to: &str| rule(4, Test::Always, Verdict::Jump(to.to_owned()));
    let cases = [
        (vec![input(false, vec![established()])], vec![]),
        (
            vec![input(true, vec![established(), banned()])],
            vec!["input end"],
        ),
        (
            vec![input(false, vec![established(), banned(), drop()])],
            vec!["input 3"],
        ),
        (vec![input(true, vec![banned(), drop()])], vec!["input 2"]),
        // the end of a zone's chain, behind the zone's own drops
        (
            vec![
                input(false, vec![jump("zone"), jump("zone")]),
                chain("zone", None, false, vec![banned(), drop()]),
            ],
            vec!["zone 2"],
        ),
        // a chain that only drops, for several callers: the rule stays in the caller
        (
            vec![
                input(
                    false,
                    vec![
                        rule(5, Test::Few, Verdict::Jump("reject".to_owned())),
                        jump("reject"),
                    ],
                ),
                chain("reject", None, false, vec![drop()]),
            ],
            vec!["input 2"],
        ),
        // what a zone leaves to the policy, by its end or by a return
        (
            vec![
                input(
                    true,
                    vec![rule(6, Test::Always, Verdict::Goto("zone".to_owned()))],
                ),
                chain("zone", None, false, vec![banned()]),
            ],
            vec!["zone end"],
        ),
        (
            vec![input(
                true,
                vec![rule(7, Test::Always, Verdict::Return), drop()],
            )],
            vec!["input 1"],
        ),
        // a chain that an unknown condition may have left
        (
            vec![
                input(true, vec![jump("zone")]),
                chain(
                    "zone",
                    None,
                    false,
                    vec![
                        rule(8, Test::Unknown, Verdict::Return),
                        rule(9, Test::Always, Verdict::Accept),
                    ],
                ),
            ],
            vec!["input end"],
        ),
        // an unknown condition may be meant for few packets, and may not accept
        (
            vec![input(
                true,
                vec![
                    rule(10, Test::Unknown, Verdict::Drop),
                    rule(11, Test::Unknown, Verdict::Accept),
                ],
            )],
            vec!["input end"],
        ),
        // each base chain that drops
        (
            vec![
                input(true, vec![]),
                chain("other", Some(Hook::Input), false, vec![drop()]),
            ],
            vec!["other 1", "input end"],
        ),
    ];
    for (chains, expected) in cases {
        assert_eq!(inserted(&Ruleset { chains }), expected);
    }
}

#[test]
fn misplaced_and_surplus_rules_are_replaced() {
    let own = AcceptRule {
        port: PortOf::Packet,
        service: ssh(),
        mark: PacketMark::DEFAULT,
    };
    let own = |handle| Rule {
        comment: Some(own.comment()),
        ..rule(
            handle,
            Test::Mark {
                value: 0x2400,
                mask: 0x3c00,
            },
            Verdict::Accept,
        )
    };
    let banned = || rule(2, Test::Few, Verdict::Drop);
    let input = |rules| Ruleset {
        chains: vec![chain("input", Some(Hook::Input), true, rules)],
    };
    assert!(inserted(&input(vec![banned(), own(7)])).is_empty());
    // somebody appended a ban behind it
    assert_eq!(
        inserted(&input(vec![own(7), banned()])),
        ["input delete 7", "input end"]
    );
    // an accept behind it changes nothing, unless a ban follows
    let allowed = || rule(3, Test::Few, Verdict::Accept);
    assert!(inserted(&input(vec![banned(), own(7), allowed()])).is_empty());
    assert_eq!(
        inserted(&input(vec![own(7), allowed(), banned()])),
        ["input delete 7", "input end"]
    );
    assert_eq!(
        inserted(&input(vec![banned(), own(7), own(8)])),
        ["input delete 8"]
    );
}

#[test]
fn comment_says_which_port_a_rule_accepts() {
    for (port, text) in [
        (PortOf::Packet, "postern 0x2400/0x3c00 tcp/22"),
        (PortOf::Sender, "postern 0x2400/0x3c00 tcp/22 published"),
    ] {
        let rule = AcceptRule {
            service: ssh(),
            port,
            mark: PacketMark::DEFAULT,
        };
        assert_eq!(rule.comment(), text);
        assert_eq!(AcceptRule::from_comment(text), Some(rule));
    }
}
