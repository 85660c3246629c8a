//! A door that opens, stays open as long as it should, and closes.

use postern::core::order::Report;

use crate::knocks::{HOME, Knock};
use crate::world::{World, seconds};

#[test]
fn a_knock_opens_one_door_for_one_address_and_time_closes_it() {
    let mut world = World::of_alice();
    let outcome = world.alice_knocks();
    assert!(outcome.admitted && outcome.reason.is_none());
    assert!(
        matches!(&outcome.reports[..], [Report::Opened { grant, .. }] if grant.user == "alice"),
        "{outcome:?}"
    );
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    assert_eq!(
        outcome.said.len(),
        1,
        "an opened door is one line: {outcome:?}"
    );
    world.pass(seconds(29));
    assert_eq!(world.open().len(), 1);
    world.pass(seconds(1));
    assert!(world.open().is_empty());
    assert_eq!(world.executor.next_end(), None);
}

#[test]
fn a_second_knock_extends_the_door_and_a_shorter_one_does_not_shorten_it() {
    let mut world = World::of_alice();
    world.alice_knocks();
    world.pass(seconds(20));
    world.alice_knocks();
    assert_eq!((world.open().len(), world.remaining()), (1, seconds(30)));
    world.knock(&Knock::of("alice").seconds(5), HOME);
    assert_eq!((world.open().len(), world.remaining()), (1, seconds(30)));
    world.pass(seconds(30));
    assert!(world.open().is_empty());
}

#[test]
fn two_users_open_doors_of_their_own_and_each_closes_at_its_own_time() {
    let mut world = two_users();
    world.knock(&Knock::of("alice").seconds(10), HOME);
    world.knock(&Knock::of("bob").services(&["udp/51820"]), "2001:db8::b");
    assert_eq!(
        world.open(),
        [
            "alice 192.0.2.7/32 [tcp/22]",
            "bob 2001:db8::b/128 [udp/51820]"
        ]
    );
    world.pass(seconds(10));
    assert_eq!(world.open(), ["bob 2001:db8::b/128 [udp/51820]"]);
    world.pass(seconds(20));
    assert!(world.open().is_empty());
}

#[test]
fn one_user_at_two_addresses_has_two_doors() {
    let mut world = World::of_alice();
    world.alice_knocks();
    world.knock(&Knock::of("alice"), "198.51.100.9");
    assert_eq!(
        world.open(),
        [
            "alice 192.0.2.7/32 [tcp/22]",
            "alice 198.51.100.9/32 [tcp/22]"
        ]
    );
}

#[test]
fn a_source_is_widened_to_its_network_in_both_families() {
    let mut world = World::new(
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\nmax_prefix = { v4 = 24, v6 = 56 }\nquota = '100/min'\n",
    );
    world.knock(&Knock::of("alice").widened(96 + 24), "192.0.2.77");
    world.knock(&Knock::of("alice").widened(56), "2001:db8:0:1ff::77");
    world.knock(&Knock::of("alice").widened(128), "192.0.2.77");
    world.knock(&Knock::of("alice").widened(128), "::ffff:192.0.2.78");
    let doors = [
        "192.0.2.0/24",
        "2001:db8:0:100::/56",
        "192.0.2.77/32",
        "192.0.2.78/32",
    ];
    assert_eq!(
        world.open(),
        doors.map(|network| format!("alice {network} [tcp/22]"))
    );
}

#[test]
fn a_knock_may_let_in_another_address_than_it_comes_from() {
    let mut world = World::of_alice();
    world.knock(&Knock::of("alice").allow("203.0.113.9"), HOME);
    world.knock(&Knock::of("alice").allow("2001:db8::9"), HOME);
    assert_eq!(
        world.open(),
        [
            "alice 203.0.113.9/32 [tcp/22]",
            "alice 2001:db8::9/128 [tcp/22]"
        ]
    );
}

#[test]
fn a_wish_longer_than_the_maximum_is_clipped_and_one_without_length_gets_the_default() {
    let user = "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\nduration = '20s'\nmax_duration = '1m'\n";
    for (asked, granted) in [(0, 20), (7, 7), (60, 60), (61, 60), (u32::MAX, 60)] {
        let mut world = World::new(user);
        assert!(
            world
                .knock(&Knock::of("alice").seconds(asked), HOME)
                .admitted
        );
        assert_eq!(world.remaining(), seconds(granted), "{asked}");
        world.pass(seconds(granted));
        assert!(world.open().is_empty());
    }
}

#[test]
fn a_named_service_opens_what_the_gate_says_it_is() {
    let mut world = World::new(
        "[service.web]\nports = ['tcp/443', 'tcp/80']\n[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['web', 'udp/5000-5010']\n",
    );
    world.knock(
        &Knock::of("alice").services(&["web", "udp/5003-5004"]),
        HOME,
    );
    assert_eq!(
        world.open(),
        ["alice 192.0.2.7/32 [tcp/80, tcp/443, udp/5003-5004]"]
    );
}

#[test]
fn a_host_behind_the_gate_is_reached_where_the_policy_lists_it() {
    let mut world = World::new(
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\ntargets = ['10.0.0.0/24', 'fd00::/64']\nquota = '9/s'\n",
    );
    world.knock(&Knock::of("alice").target("10.0.0.5"), HOME);
    world.knock(&Knock::of("alice").target("fd00::5"), "2001:db8::7");
    world.alice_knocks();
    let doors = [
        "alice 192.0.2.7/32 [tcp/22] at 10.0.0.5",
        "alice 2001:db8::7/128 [tcp/22] at fd00::5",
        "alice 192.0.2.7/32 [tcp/22]",
    ];
    assert_eq!(world.open(), doors);
}

#[test]
fn a_user_of_observed_addresses_is_let_in_by_his_source_and_one_of_claimed_addresses_by_his_word() {
    for (grant_to, wish) in [
        ("observed", Knock::of("alice")),
        ("claimed", Knock::of("alice").allow(HOME)),
    ] {
        let mut world = World::new(&format!(
            "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\ngrant_to = '{grant_to}'\n"
        ));
        assert!(world.knock(&wish, HOME).admitted, "{grant_to}");
        assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    }
}

#[test]
fn among_many_users_the_door_is_opened_for_the_one_who_knocked() {
    let mut world = World::of(|| {
        let mut loaded = crate::world::load_all(
            "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\n",
        );
        for n in 0..500_u16 {
            let mut key = [0x55; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            loaded.keys.push(postern_proto::KeyMaterial::shared(
                &postern_proto::SharedKey::from_bytes(key),
            ));
            let policy = postern::model::policy::Policy {
                user: format!("user-{n}"),
                ..loaded.settings.policies[0].clone()
            };
            loaded.settings.policies.push(policy);
        }
        loaded
    });
    world.alice_knocks();
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
}

fn two_users() -> World {
    World::new(
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\n\n[[user]]\nname = 'bob'\nkey = BOB\nservices = ['udp/51820']\n",
    )
}
