//! Admitted knocks: what opens, for whom, and for how long.

use postern::core::order::Report;
use postern::model::policy::Policy;
use postern_proto::KeyMaterial;

use crate::knocks::{HOME, Knock};
use crate::world::{ALICE, World, key, load_all, seconds};

#[test]
fn a_grant_opens_for_one_address_and_ends() {
    let mut world = World::of_alice();
    let outcome = world.alice_knocks();
    assert!(
        matches!(&outcome.reports[..], [Report::Opened { grant, .. }] if grant.user == "alice"),
        "{outcome:?}"
    );
    assert_eq!(outcome.said.len(), 1, "one log line: {outcome:?}");
    world.opens(&Knock::of("alice"), "198.51.100.9");
    let open = ["192.0.2.7/32", "198.51.100.9/32"];
    let found = world.open();
    assert_eq!(found, open.map(|allow| format!("alice {allow} [tcp/22]")));
    world.pass(seconds(29));
    assert_eq!(world.open().len(), 2);
    world.pass(seconds(1));
    assert!(world.open().is_empty());
    assert_eq!(world.executor.next_end(), None);
    // A longer duration is clipped to max_duration.
    world.opens(&Knock::of("alice").seconds(7200), HOME);
    assert_eq!(world.remaining(), seconds(3600));
}

#[test]
fn the_allow_address_is_source_network_or_claimed() {
    let mut world = World::new(&format!(
        "{ALICE}max_prefix = {{ v4 = 24, v6 = 56 }}\nquota = '100/min'\n"
    ));
    let alice = || Knock::of("alice");
    for (knock, source, allow) in [
        (alice().widened(96 + 24), "192.0.2.77", "192.0.2.0/24"),
        (
            alice().widened(56),
            "2001:db8:0:1ff::77",
            "2001:db8:0:100::/56",
        ),
        (alice().widened(128), "::ffff:192.0.2.78", "192.0.2.78/32"),
        (alice().allow("203.0.113.9"), HOME, "203.0.113.9/32"),
        (alice().allow("2001:db8::9"), HOME, "2001:db8::9/128"),
    ] {
        world.opens(&knock, source);
        let last = world.open().pop();
        assert_eq!(last, Some(format!("alice {allow} [tcp/22]")));
    }
}

/// Two different keys with one hint would need a 64-bit collision. Two equal keys show what happens then.
#[test]
fn of_two_equal_keys_the_first_user_counts() {
    let mut world = World::of(|| {
        let mut loaded = load_all(ALICE);
        loaded.keys.push(KeyMaterial::shared(&key("alice")));
        let policy = Policy::for_user("twin", vec!["tcp/80".parse().unwrap()]);
        let policies = loaded.settings.policies.iter().cloned();
        loaded.settings.policies = policies.chain([policy]).collect();
        loaded
    });
    world.alice_knocks();
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    let twins = Knock::of("alice").services(&["tcp/80"]);
    assert!(!world.knock(&twins, HOME).admitted);
    assert_eq!(world.open().len(), 1);
    let config = format!("{ALICE}{}", ALICE.replace("'alice'", "'adam'"));
    assert!(std::panic::catch_unwind(|| load_all(&config)).is_err());
}
