//! `posternd explain` names the cause in one line, with what was nearly right and what to do.
//!
//! In all other scenarios `world.rs` checks that it agrees with the gate.

use std::time::Duration;

use postern::admin::explain::{Account, Explainer, Outcome, likely};
use postern::client::seal_at_random;
use postern::core::gate::{QuotaLeft, Seen};
use postern::model::datagram::Datagram;
use postern::model::reason::{Drop, Reason, Rule};
use postern::model::time::Timestamp;
use postern_proto::{GateName, KeyMaterial, Step, UserKeys};

use crate::forge;
use crate::knocks::{HOME, Knock};
use crate::world::{ALICE, GATE, START, World, address, key, load_all, seconds};

/// An explainer that also knows these other names.
fn explainer(users: &str, names: &[&str]) -> Explainer {
    let loaded = load_all(users);
    let names = likely(&loaded.settings.gate.name, names.iter().copied());
    Explainer::new(loaded, names)
}

fn arrived(explainer: &mut Explainer, now: Timestamp, source: &str, payload: &[u8]) -> Account {
    explainer.datagram(
        now,
        &Datagram::new(address(source), address("198.51.100.1"), 62201, payload),
    )
}

/// The account of a packet that arrives at `START`.
fn explained(users: &str, packet: impl AsRef<[u8]>) -> Account {
    arrived(&mut explainer(users, &[]), START, HOME, packet.as_ref())
}

/// The line for a knock that is made and arrives now.
fn line(users: &str, knock: &Knock) -> String {
    explained(users, knock.sealed(START)).line()
}

fn sealed_for(gate: &str, knock: &Knock, now: Timestamp) -> Vec<u8> {
    let keys = UserKeys::derive(
        &GateName::new(gate).unwrap(),
        &KeyMaterial::shared(&key("alice")),
    );
    seal_at_random(&keys, &knock.request(now))
        .unwrap()
        .as_bytes()
        .to_vec()
}

#[test]
fn an_admission_says_what_opens() {
    for (knock, opens) in [
        (Knock::of("alice"), "open tcp/22 for 192.0.2.7/32 for 30s"),
        (
            Knock::of("alice").seconds(7200),
            "open tcp/22 for 192.0.2.7/32 for 1h (it asked for 2h, max_duration is 1h)",
        ),
        (
            Knock::of("alice").services(&[]).close(),
            "close all of it for 192.0.2.7/32",
        ),
    ] {
        assert_eq!(line(ALICE, &knock), format!("admit: alice may {opens}"));
    }
}

#[test]
fn a_wrong_clock_is_reported_with_its_difference() {
    for (away, reason, said) in [
        (31, "drop too-old (step 7)", "31s"),
        (312, "drop unknown-hint (step 2)", "5m 12s"),
        (400 * 86_400, "drop unknown-hint (step 2)", "9600h"),
    ] {
        let made = START.minus(seconds(away));
        let packet = Knock::of("alice").sealed(made);
        let early = made.minus(seconds(away));
        for (now, reason, when) in [
            (START, reason.to_owned(), "ago"),
            (early, reason.replace("too-old", "too-new"), "in the future"),
        ] {
            let account = arrived(&mut explainer(ALICE, &[]), now, HOME, packet.as_bytes());
            let expected = format!(
                "{reason}: alice's key, but made {said} {when} by the client's clock, and the window is 30s: set the client's clock, or the gate's, whichever is wrong"
            );
            assert_eq!(account.line(), expected);
            let found = (account.cause.name(), account.made());
            assert_eq!(found, ("clock", Some(made)));
        }
    }
}

#[test]
fn a_later_refusal_is_reported_too() {
    let tcp23 = Knock::of("alice").services(&["tcp/23"]);
    let account = explained(ALICE, tcp23.sealed(START.minus(seconds(120))));
    let besides = "after that it is refused, services: tcp/23 is not in tcp/22; ask for less, or add it to services of alice";
    assert!(account.line().ends_with(besides), "{}", account.line());
    let policy = &account.steps()[8];
    assert_eq!(policy.outcome, Outcome::NotReached);
    assert!(policy.found.starts_with("would refuse it, services: "));
    let account = explained(ALICE, sealed_for("gate", &tcp23, START.minus(seconds(90))));
    let both = format!(
        "(besides, made 1m 30s ago by the client's clock, and the window is 30s); {besides}"
    );
    assert!(account.line().ends_with(&both), "{}", account.line());
}

#[test]
fn a_knock_for_another_gate_names_both() {
    let others = ["web1.example.org", "192.0.2.1"];
    for name in ["Gate.example.org", "gate", "gate.example.org."]
        .into_iter()
        .chain(others)
    {
        let packet = sealed_for(name, &Knock::of("alice"), START);
        let account = arrived(&mut explainer(ALICE, &others), START, HOME, &packet);
        let expected = format!(
            "drop unknown-hint (step 2): alice's key, but the knock is for gate {name}, and this is gate {GATE}: \
             set gate = \"{GATE}\" in the client's profile"
        );
        assert_eq!(account.line(), expected);
        let found = (account.cause.name(), account.user.as_deref());
        assert_eq!(found, ("other-gate", Some("alice")));
    }
}

#[test]
fn an_unknown_key_lists_the_names_tried() {
    let others = ["web1.example.org"];
    let elsewhere = sealed_for("no.such.gate", &Knock::of("alice"), START);
    for bytes in [
        Knock::of("bob").sealed(START).as_bytes(),
        &[7; 200],
        &elsewhere,
    ] {
        let account = arrived(&mut explainer(ALICE, &others), START, HOME, bytes);
        assert_eq!(account.cause.name(), "unknown-key");
        let line = account.line();
        let start = format!(
            "drop unknown-hint (step 2): no user's key made it, not for gate {GATE}, nor for "
        );
        assert!(line.starts_with(&start), "{line}");
        assert!(line.contains("more names that were tried: compare key and gate in the client's profile with this config"), "{line}");
    }
}

/// How the lines begin, in the order of the cases.
const CAUSES: &str = "\
admit: alice may open tcp/22 for 192.0.2.7/32 for 30s
drop unknown-hint (step 2): alice's old key, which expired at 2020-01-01T00:00:00Z: give the client the new one
drop unknown-hint (step 2): bob's key, but bob is disabled here: posternd user enable bob
drop bad-mac (step 3): the hint is alice's, but the mac was not made with that key:
drop length (step 1): 131 bytes, a knock has 132 to 516 bytes:
drop length (step 1): more than 516 bytes,
drop bad-seal (step 4): alice's key, but the sealed part does not open: the client program is faulty
drop step-mismatch (step 6): alice's key, but the hint does not belong to the time inside: the client program is faulty
drop malformed (padding) (step 5): alice's key, but a byte behind the end of the items is not zero: the client program is faulty
";

#[test]
fn each_cause_has_its_sentence() {
    let bob = || Knock::of("bob").sealed(START).as_bytes().to_vec();
    let mut changed = Knock::of("alice").sealed(START).as_bytes().to_vec();
    let short = changed[..131].to_vec();
    changed[100] ^= 1;
    let step = Step::of(START.as_millis());
    let padding = forge::body_with_padding(START);
    let rotated = |until: &str| format!("{ALICE}old_key = BOB\nold_until = {until}\n");
    let disabled = format!(
        "{ALICE}[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\ndisabled = true\n"
    );
    let alice = || ALICE.to_owned();
    let unsealed = forge::mac_over_what_does_not_open(START);
    let other_step = forge::sealed(step.next(), 2, &forge::body(START));
    let padded = forge::sealed(step, 1, &padding);
    let cases = [
        ("admitted", rotated("2100-01-01T00:00:00Z"), bob()),
        ("old-key", rotated("2020-01-01T00:00:00Z"), bob()),
        ("disabled", disabled, bob()),
        ("changed", alice(), changed),
        ("length", alice(), short),
        ("length", alice(), vec![7; 1400]),
        ("not-sealed", alice(), unsealed),
        ("hint-of-another-time", alice(), other_step),
        ("malformed", alice(), padded),
    ];
    assert_eq!(cases.len(), CAUSES.lines().count());
    for ((cause, users, packet), start) in cases.into_iter().zip(CAUSES.lines()) {
        let account = explained(&users, packet);
        let line = account.line();
        assert!(line.starts_with(start), "{line}");
        assert_eq!(account.cause.name(), cause);
    }
}

#[test]
fn a_replay_tells_the_first_arrival() {
    let mut explainer = explainer(ALICE, &[]);
    let packet = Knock::of("alice").sealed(START);
    let mut at = |millis| {
        arrived(
            &mut explainer,
            START.plus(Duration::from_millis(millis)),
            HOME,
            packet.as_bytes(),
        )
        .line()
    };
    assert!(at(0).starts_with("admit: "));
    let first = format!(
        "alice's key, but this same packet came before, admitted at {START}: a packet works once; knock again"
    );
    assert_eq!(at(400), format!("drop duplicate (step 8): {first}"));
    assert_eq!(at(5000), format!("drop replay (step 8): {first}"));
}

#[test]
fn explain_uses_the_running_gates_memory() {
    let packet = Knock::of("alice").sealed(START);
    let mut fresh = explained(ALICE, &packet);
    fresh.seen_before(Seen::Admitted(START.minus(seconds(3))));
    assert_eq!(fresh.reason(), Some(Reason::Drop(Drop::Replay)));
    let line = fresh.line();
    assert_eq!(line.matches("admitted at").count(), 1, "{line}");

    let other = Knock::of("alice").services(&["tcp/23"]).sealed(START);
    let mut refused = explained(ALICE, &other);
    refused.seen_before(Seen::Refused(START));
    let rule = Some(Reason::Refuse(Rule::Service));
    assert_eq!(refused.reason(), rule, "the rule is what one wants to know");
    let late = START.plus(seconds(100));
    let mut old = arrived(&mut explainer(ALICE, &[]), late, HOME, packet.as_bytes());
    old.seen_before(Seen::Admitted(START));
    let start = "drop unknown-hint (step 2): alice's key, but made 1m 40s ago";
    assert!(old.line().starts_with(start), "{}", old.line());
    for (account, did) in [(refused, "refused"), (old, "admitted")] {
        let end = format!("; the running gate {did} this same packet at {START}");
        assert!(account.line().ends_with(&end), "{}", account.line());
    }
}

/// Quotas, used codes and the clock's floor are its alone.
#[test]
fn the_running_gate_may_decide_otherwise() {
    let packet = Knock::of("alice").sealed(START);
    let told = |seen| {
        let mut account = explained(ALICE, &packet);
        account.done_otherwise(seen);
        account.line()
    };
    let admitted = "admit by the config: alice may open tcp/22 for 192.0.2.7/32 for 30s";
    let refused = format!(
        "; the running gate refused this same packet at {START}, because of a quota or a used code: its log names the rule"
    );
    let expected = format!("{admitted}{refused}");
    assert_eq!(told(Some(Seen::Refused(START))), expected);
    let unknown = "; but the running gate did not receive it: check its captures and its clock with posternd status";
    assert_eq!(told(None), format!("{admitted}{unknown}"));
}

#[test]
fn a_packet_of_unknown_source_is_judged_as_allowed() {
    let users = |networks: &str| {
        format!(
            "{ALICE}networks = [{networks}]\ntargets = ['fd00::/64']\nmax_prefix = {{ v4 = 24, v6 = 56 }}\n"
        )
    };
    let line = |networks: &str, knock: &Knock| {
        explainer(&users(networks), &[])
            .packet(START, knock.sealed(START).as_bytes())
            .line()
    };
    let (ten, alice) = ("'10.0.0.0/8'", || Knock::of("alice"));
    let both = "'10.0.0.0/8', '2001:db8::/32'";
    for (networks, knock, said) in [
        (
            ten,
            alice(),
            "admit: alice may open tcp/22 for its source address, if that is in the user's networks for 30s",
        ),
        (both, alice().target("fd00::5"), "admit: "),
        (
            ten,
            alice().services(&["tcp/80"]),
            "alice asked to open tcp/80 for its source address: a service is not among",
        ),
        (
            ten,
            alice().widened(96 + 16),
            "it asks for its source widened to /16, and at most /24",
        ),
        (ten, alice().allow("192.0.2.7"), "refuse networks (step 9)"),
    ] {
        let line = line(networks, &knock);
        assert!(line.contains(said), "{line}");
    }
    let junk = explainer(ALICE, &[]).packet(START, b"junk").line();
    assert!(
        junk.starts_with("drop length (step 1): 4 bytes, "),
        "{junk}"
    );
}

#[test]
fn forgotten_marks_and_set_clocks_are_reported() {
    let mut world = World::of_alice();
    let late = Knock::of("alice").sealed(world.now);
    world.pass(seconds(40));
    world.alice_knocks();
    world.settings.gate.window = seconds(300);
    world.restart_engine();
    assert!(!world.arrives(HOME, late.as_bytes()).admitted);
    let account = world.account.take().unwrap();
    assert!(
        account.line().contains(&format!(
            "made before {}, and this gate has forgotten",
            START.plus(seconds(10))
        )),
        "{}",
        account.line()
    );

    let mut world = World::of_alice();
    world.pass(seconds(7200));
    world.alice_knocks();
    world.set_clock(START);
    assert!(!world.alice_knocks().admitted);
    let line = world.account.take().unwrap().line();
    assert!(
        line.contains("the gate's clock is 2h ahead of the system's"),
        "{line}"
    );
}

#[test]
fn used_quotas_are_listed_least_left_first() {
    let mut world = World::new(&format!(
        "{ALICE}quota = '3/min'\n[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\nquota = '2/min'\n"
    ));
    let now = world.now;
    assert_eq!(world.core.gate().quotas_left(now, 10), (Vec::new(), 0));
    world.alice_knocks();
    world.knock(&Knock::of("bob"), HOME);
    world.knock(&Knock::of("bob"), HOME);
    let (spent, more) = world.core.gate().quotas_left(now, 10);
    let said: Vec<(&str, u32)> = spent
        .iter()
        .map(|QuotaLeft { user, left, .. }| (user.as_str(), *left))
        .collect();
    assert_eq!((said, more), (vec![("bob", 0), ("alice", 2)], 0));
    assert_eq!(world.core.gate().quotas_left(now, 1).1, 1);
    assert_eq!(
        world.core.gate().quotas_left(now.plus(seconds(60)), 10).0,
        []
    );
}

#[test]
fn unknown_source_counts_as_allowed() {
    let user = format!("{ALICE}from = ['203.0.113.0/24']\nexpires = 2025-10-09T08:54:02Z\n");
    let packet = Knock::of("alice").allow("192.0.2.9").sealed(START);
    let line = explainer(&user, &[])
        .packet(START, packet.as_bytes())
        .line();
    let clipped = "for 10s (alice expires at 2025-10-09T08:54:02Z)";
    assert!(line.contains(clipped), "{line}");
    let line = explained(&user, packet).line();
    assert!(line.contains("refuse from (step 9)"), "{line}");
}
