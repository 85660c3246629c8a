//! What a policy refuses: one line that says who, what and which rule, and nothing opened.

use postern_harness::{FAMILIES, Family, GateConfig, SERVICE, World};

/// User, the further options of his knock over IPv4 and over IPv6, the rule, and its sentence.
type Refused = (
    &'static str,
    [&'static [&'static str]; 2],
    &'static str,
    &'static str,
);

const BY_RULE: [Refused; 10] = [
    (
        "elsewhere",
        [&[], &[]],
        "networks",
        "the address lies outside the user's networks",
    ),
    (
        "plain",
        [&["--allow", "source/24"], &["--allow", "source/64"]],
        "max_prefix",
        "the network is wider than the user's max_prefix",
    ),
    (
        "plain",
        [&["--allow", "10.77.0.0/28"], &["--allow", "fd77::/124"]],
        "max_prefix",
        "the network is wider than the user's max_prefix",
    ),
    (
        "plain",
        [&["-s", "tcp/23"], &["-s", "udp/2222"]],
        "services",
        "a service is not among the user's services",
    ),
    (
        "plain",
        [
            &["-s", "tcp/2222", "-s", "tcp/23"],
            &["-s", "tcp/2222-2223"],
        ],
        "services",
        "a service is not among the user's services",
    ),
    (
        "plain",
        [&["-s", "web"], &["-s", "web"]],
        "services",
        "a service is not among the user's services",
    ),
    (
        "plain",
        [&["-s", "nowhere"], &["-s", "nowhere"]],
        "unknown-service",
        "a named service is not defined at this gate",
    ),
    (
        "plain",
        [&["--target", "10.9.9.9"], &["--target", "fd99::9"]],
        "targets",
        "the target is not among the user's targets",
    ),
    (
        "watched",
        [&["--allow", "10.77.0.2"], &["--allow", "fd77::2"]],
        "grant_to",
        "the user's grant_to does not allow this kind of address",
    ),
    (
        "named",
        [&["--allow", "source"], &["--allow", "source"]],
        "grant_to",
        "the user's grant_to does not allow this kind of address",
    ),
];

pub(crate) fn refusals(backend: &'static str) {
    let service = format!("services = [\"tcp/{SERVICE}\"]");
    let plan = GateConfig::empty(backend)
        .service("web", "tcp/80")
        .user("plain", &service)
        .user(
            "elsewhere",
            &format!("{service}\nnetworks = [\"10.77.0.3/32\", \"fd77::3/128\"]"),
        )
        .user("watched", &format!("{service}\ngrant_to = \"observed\""))
        .user("named", &format!("{service}\ngrant_to = \"claimed\""));
    let world = World::start(&plan);
    let mut lines = 0;
    for (at, family) in FAMILIES.into_iter().enumerate() {
        for (user, options, rule, sentence) in BY_RULE {
            let options = options[at];
            let reason = format!("refuse {rule}");
            let before = world.daemon.status();
            world.first.knock(user, family, options);
            let after = world
                .daemon
                .wait_for_count(&reason, before.count(&reason) + 1);
            assert_eq!(
                after.reasons.values().sum::<u64>(),
                before.reasons.values().sum::<u64>() + 1,
                "{options:?}: one reason, no more"
            );
            assert_eq!(after.admitted, 0, "{user} {options:?}");
            lines += 1;
            let told = world.daemon.wait_for_lines(lines, &["refused: "]);
            let line = &told[lines - 1];
            let says = [
                " INFO ",
                &format!("refused: {user} asked to open "),
                sentence,
                &format!("rule=\"{rule}\""),
            ];
            assert!(
                says.iter().all(|word| line.contains(word)),
                "{says:?} are not all in: {line}"
            );
            assert!(
                line.contains(&world.first.address(family).to_string()),
                "whence it came: {line}"
            );
            assert_eq!(told.len(), lines, "one line for one knock");
        }
    }
    world.expect_nothing_open();
    world.first.expect_both_shut_out();
}

pub(crate) fn quota_spent_comes_back(backend: &'static str) {
    let world = World::start(&GateConfig::empty(backend).user(
        "alice",
        &format!("services = [\"tcp/{SERVICE}\"]\nquota = \"2/20s\""),
    ));
    let close_all = || world.daemon.asked(&["close", "--all"]);
    for knocks in 1..=2 {
        world.first.knock("alice", Family::V4, &[]);
        world.daemon.wait_for_lines(knocks, &[" INFO open: "]);
    }
    close_all();
    world.first.knock("alice", Family::V6, &[]);
    let spent = world.daemon.wait_for_count("refuse quota", 1);
    assert_eq!(spent.admitted, 2);
    world.expect_nothing_open();
    let told = world
        .daemon
        .logged(&["refused: alice", "the user's quota is used up"]);
    assert_eq!(told.len(), 1, "{told:?}");
    postern_harness::wait_for("the quota to come back", || {
        let tried = world.daemon.status();
        world.first.knock("alice", Family::V6, &[]);
        let total =
            |status: &postern_harness::Status| status.admitted + status.count("refuse quota");
        let decided = postern_harness::wait_for("a decision", || {
            Some(world.daemon.status()).filter(|now| total(now) > total(&tried))
        });
        (decided.admitted == 3).then_some(())
    });
    world.first.expect_let_in(Family::V6);
}
