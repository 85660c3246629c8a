//! Judgements of rules that depend on the source, on priorities, and on what earlier rules changed.

use super::*;
use crate::model::address::Family;

fn rule(name: &str, tests: &[Test], verdict: Verdict) -> Rule {
    Rule {
        conditions: tests.iter().cloned().map(Condition::is).collect(),
        effect: None,
        verdict,
        name: name.to_owned(),
        handle: 0,
        comment: None,
    }
}

fn marking(effect: Effect) -> Rule {
    Rule {
        effect: Some(effect),
        ..rule("mark", &[], Verdict::Continue)
    }
}

fn chain(name: &str, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        table: Table {
            program: "nft".to_owned(),
            family: "inet",
            name: "t".to_owned(),
        },
        name: name.to_owned(),
        base: Some(Base {
            hook,
            is_nat: false,
            drops: false,
            priority,
        }),
        rules,
    }
}

/// A SYN to tcp/22.
fn packet() -> Packet<'static> {
    Packet {
        family: Family::V4,
        service: "tcp/22".parse().unwrap(),
        original: None,
        is_established: false,
        source: None,
        is_forwarded: false,
        mark: 0,
        interface: "eth0",
        destinations: &[],
        out_interface: None,
        known_chains: &[],
        sets: &[],
    }
}

/// What becomes of a SYN to tcp/22, as `accepted`, `dropped` or `unknown` and the rule without its table.
fn judged(chains: Vec<Chain>, source: Option<&str>) -> String {
    let source = source.map(|address| address.parse().unwrap());
    judged_at(Hook::Input, chains, &Packet { source, ..packet() })
}

fn judged_at(hook: Hook, chains: Vec<Chain>, packet: &Packet<'_>) -> String {
    let (verdict, rule) = match (Ruleset { chains }).judge(hook, packet) {
        Judgement::Accepted(rule) => ("accepted", rule),
        Judgement::Dropped(rule) => ("dropped", rule),
        Judgement::CannotTell(rule) => ("unknown", rule),
    };
    let rule = rule.split(" in ").next().unwrap_or_default().to_owned();
    format!("{verdict}: {rule}")
}

#[test]
fn source_decides_only_if_it_is_known() {
    let banned = |test: Test| {
        vec![chain(
            "input",
            Hook::Input,
            0,
            vec![
                rule("ban", &[test], Verdict::Drop),
                rule("ssh", &[Test::Port(vec![(22, 22)])], Verdict::Accept),
            ],
        )]
    };
    let network = |text: &str| Test::Source(vec![text.parse().unwrap()]);
    let pair = |port| {
        Test::AnyOf(vec![vec![
            Condition::is(network("192.0.2.0/24")),
            Condition::is(Test::Port(vec![(port, port)])),
        ]])
    };
    for (test, source, expected) in [
        (network("192.0.2.0/24"), Some("192.0.2.7"), "dropped: ban"),
        (
            network("192.0.2.0/24"),
            Some("198.51.100.7"),
            "accepted: ssh",
        ),
        (network("192.0.2.0/24"), None, "accepted: ssh"),
        (network("0.0.0.0/0"), None, "dropped: ban"),
        (Test::SomeSources, None, "accepted: ssh"),
        (Test::SomeSources, Some("192.0.2.7"), "unknown: ban"),
        (pair(22), Some("192.0.2.7"), "dropped: ban"),
        (pair(23), Some("192.0.2.7"), "accepted: ssh"),
        (pair(22), Some("198.51.100.7"), "accepted: ssh"),
    ] {
        assert_eq!(judged(banned(test.clone()), source), expected, "{test:?}");
    }
}

#[test]
fn every_rule_that_may_drop_is_told() {
    let rules = |last: Vec<Rule>| {
        let unknown = rule("odd", &[Test::Unknown], Verdict::Drop);
        [vec![unknown], last].concat()
    };
    let all = || rule("all", &[], Verdict::Drop);
    let input = |rules| chain("input", Hook::Input, 0, rules);
    assert_eq!(judged(vec![input(rules(vec![]))], None), "unknown: odd");
    let one = vec![input(rules(vec![all()]))];
    assert_eq!(judged(one, None), "dropped: odd or a later one");
    let two = vec![
        input(vec![all()]),
        chain("early", Hook::Input, -10, rules(vec![])),
    ];
    assert!(judged(two, None).starts_with("dropped: odd"));
}

#[test]
fn chains_are_judged_by_priority() {
    let drop = |name: &str| vec![rule(name, &[], Verdict::Drop)];
    let chains = vec![
        chain("late", Hook::Input, 10, drop("late")),
        chain("early", Hook::Input, -10, drop("early")),
        chain("first", Hook::Prerouting, 300, vec![]),
    ];
    assert_eq!(judged(chains, None), "dropped: early");
}

#[test]
fn changed_marks_decide_in_later_chains() {
    let granted = Effect::Mark {
        mask: 0x3c00,
        value: 0x2400,
    };
    let test = Test::Mark {
        value: 0x2400,
        mask: 0x3c00,
    };
    let with = |effects: &[Effect]| {
        vec![
            chain(
                "input",
                Hook::Input,
                0,
                vec![
                    rule("granted", std::slice::from_ref(&test), Verdict::Accept),
                    rule("all", &[], Verdict::Drop),
                ],
            ),
            chain(
                "mark",
                Hook::Input,
                -10,
                effects.iter().copied().map(marking).collect(),
            ),
        ]
    };
    let unknown = |mask| Effect::UnknownMark { mask };
    for (effects, expected) in [
        (vec![], "dropped: all"),
        (vec![granted], "accepted: granted"),
        (vec![granted, unknown(0x1)], "accepted: granted"),
        (vec![unknown(u32::MAX), granted], "accepted: granted"),
        (vec![granted, unknown(0x400)], "unknown: all"),
        // a known bit of the mark already differs
        (vec![unknown(0x400)], "dropped: all"),
    ] {
        assert_eq!(judged(with(&effects), None), expected, "{effects:?}");
    }
}

#[test]
fn connection_state_is_known_behind_tracking() {
    let drop_of = |state: &str, hook, priority| {
        let test = Test::State(vec![state.to_owned()]);
        chain(
            state,
            hook,
            priority,
            vec![rule(state, &[test], Verdict::Drop)],
        )
    };
    let new = || drop_of("new", Hook::Input, 0);
    assert_eq!(judged(vec![new()], None), "dropped: new");
    let early = vec![drop_of("new", Hook::Prerouting, -300)];
    assert!(judged(early, None).starts_with("accepted"));
    let raw = chain(
        "raw",
        Hook::Prerouting,
        -300,
        vec![marking(Effect::NoTracking)],
    );
    let untracked = drop_of("untracked", Hook::Input, 0);
    assert_eq!(
        judged(vec![raw, new(), untracked], None),
        "dropped: untracked"
    );
}

#[test]
fn chains_before_translation_see_the_outer_port() {
    let to = |port: u16| Test::Port(vec![(port, port)]);
    let published = Packet {
        original: Some(Original {
            service: "tcp/8080".parse().unwrap(),
            destinations: &[],
        }),
        is_forwarded: true,
        out_interface: Some("docker0"),
        ..packet()
    };
    for (priority, port, verdict) in [
        (-105, 8080, "dropped"),
        (-105, 22, "accepted"),
        (-90, 22, "dropped"),
    ] {
        let tests = [to(port)];
        let drop = rule("drop", &tests, Verdict::Drop);
        let chains = vec![chain("early", Hook::Prerouting, priority, vec![drop])];
        let judgement = judged_at(Hook::Forward, chains, &published);
        assert!(judgement.starts_with(verdict), "{priority}: {judgement}");
    }
    let out = |name: &str| Test::OutInterface(vec![name.to_owned()]);
    for (name, verdict) in [("docker0", "dropped"), ("eth1", "accepted")] {
        let drop = rule("drop", &[out(name)], Verdict::Drop);
        let chains = vec![chain("forward", Hook::Forward, 0, vec![drop])];
        let judgement = judged_at(Hook::Forward, chains, &published);
        assert!(judgement.starts_with(verdict), "{name}: {judgement}");
    }
}
