//! Two users under one hint. Different keys would need a collision of 64 bits, so two equal keys make it here.
//!
//! A config with two equal keys is refused. A gate that is given them all the same admits the first user whose mac fits.

use postern::model::policy::Policy;
use postern_proto::KeyMaterial;

use crate::knocks::{HOME, Knock};
use crate::world::{World, key, load_all};

#[test]
fn of_two_users_with_one_hint_and_one_key_the_first_is_admitted() {
    let mut world = World::of(|| {
        let mut loaded = load_all("[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\n");
        loaded.keys.push(KeyMaterial::shared(&key("alice")));
        let twin = Policy {
            user: "twin".to_owned(),
            services: vec!["tcp/80".parse().unwrap()],
            ..loaded.settings.policies[0].clone()
        };
        loaded.settings.policies.push(twin);
        loaded
    });
    world.alice_knocks();
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    // Her policy speaks, not that of whoever else has the key.
    assert!(
        !world
            .knock(&Knock::of("alice").services(&["tcp/80"]), HOME)
            .admitted
    );
    assert_eq!(world.open().len(), 1);
}

#[test]
fn a_config_with_two_equal_keys_is_refused() {
    let text = "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\n\n[[user]]\nname = 'adam'\nkey = ALICE\nservices = ['tcp/22']\n";
    assert!(std::panic::catch_unwind(|| load_all(text)).is_err());
}
