//! Admitted knocks: what opens, for whom, and for how long.

use postern::core::order::Report;
use postern::model::policy::Policy;
use postern_proto::{KeyMaterial, SharedKey};

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
    assert_eq!(
        world.open(),
        open.map(|allow| format!("alice {allow} [tcp/22]"))
    );
    world.pass(seconds(29));
    assert_eq!(world.open().len(), 2);
    world.pass(seconds(1));
    assert!(world.open().is_empty());
    assert_eq!(world.executor.next_end(), None);
}

#[test]
fn a_renewal_extends_and_never_shortens() {
    let mut world = World::of_alice();
    world.alice_knocks();
    world.pass(seconds(20));
    for knock in [Knock::of("alice"), Knock::of("alice").seconds(5)] {
        world.opens(&knock, HOME);
        assert_eq!((world.open().len(), world.remaining()), (1, seconds(30)));
    }
    world.pass(seconds(30));
    assert!(world.open().is_empty());
}

#[test]
fn users_have_grants_of_their_own() {
    let mut world = World::new(&format!(
        "{ALICE}[[user]]\nname = 'bob'\nkey = BOB\nservices = ['udp/51820']\n"
    ));
    world.opens(&Knock::of("alice").seconds(10), HOME);
    world.opens(&Knock::of("bob").services(&["udp/51820"]), "2001:db8::b");
    let bob = "bob 2001:db8::b/128 [udp/51820]";
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]", bob]);
    world.pass(seconds(10));
    assert_eq!(world.open(), [bob]);
    world.pass(seconds(20));
    assert!(world.open().is_empty());
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

#[test]
fn durations_are_clipped_to_the_maximum() {
    let user = format!("{ALICE}duration = '20s'\nmax_duration = '1m'\n");
    for (asked, granted) in [(0, 20), (7, 7), (60, 60), (61, 60), (u32::MAX, 60)] {
        let mut world = World::new(&user);
        world.opens(&Knock::of("alice").seconds(asked), HOME);
        assert_eq!(world.remaining(), seconds(granted), "{asked}");
        world.pass(seconds(granted));
        assert!(world.open().is_empty());
    }
}

#[test]
fn a_named_service_opens_its_ports() {
    let mut world = World::new(
        "[service.web]\nports = ['tcp/443', 'tcp/80']\n[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['web', 'udp/5000-5010']\n",
    );
    let knock = Knock::of("alice").services(&["web", "udp/5003-5004"]);
    world.opens(&knock, HOME);
    assert_eq!(
        world.open(),
        ["alice 192.0.2.7/32 [tcp/80, tcp/443, udp/5003-5004]"]
    );
}

#[test]
fn listed_hosts_behind_the_gate_open() {
    let mut world = World::new(&format!(
        "{ALICE}targets = ['10.0.0.0/24', 'fd00::/64']\nquota = '9/s'\n"
    ));
    world.opens(&Knock::of("alice").target("10.0.0.5"), HOME);
    world.opens(&Knock::of("alice").target("fd00::5"), "2001:db8::7");
    world.opens(&Knock::of("alice"), HOME);
    let grants = [
        "alice 192.0.2.7/32 [tcp/22] at 10.0.0.5",
        "alice 2001:db8::7/128 [tcp/22] at fd00::5",
        "alice 192.0.2.7/32 [tcp/22]",
    ];
    assert_eq!(world.open(), grants);
}

fn with_more(users: fn() -> Vec<(String, SharedKey)>) -> World {
    World::of(move || {
        let mut loaded = load_all(ALICE);
        for (user, key) in users() {
            loaded.keys.push(KeyMaterial::shared(&key));
            let policy = Policy::for_user(&user, vec!["tcp/80".parse().unwrap()]);
            loaded.settings.policies.push(policy);
        }
        loaded
    })
}

#[test]
fn among_many_users_the_right_one_is_found() {
    let mut world = with_more(|| {
        let key = |n: u16| {
            let mut key = [0x55; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            (format!("user-{n}"), SharedKey::from_bytes(key))
        };
        (0..500).map(key).collect()
    });
    world.alice_knocks();
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
}

/// Two different keys with one hint would need a 64-bit collision. Two equal keys show what happens then.
#[test]
fn of_two_equal_keys_the_first_user_counts() {
    let mut world = with_more(|| vec![("twin".to_owned(), key("alice"))]);
    world.alice_knocks();
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    let twins = Knock::of("alice").services(&["tcp/80"]);
    assert!(!world.knock(&twins, HOME).admitted);
    assert_eq!(world.open().len(), 1);
    let config = format!("{ALICE}{}", ALICE.replace("'alice'", "'adam'"));
    assert!(std::panic::catch_unwind(|| load_all(&config)).is_err());
}
