//! Users who are disabled, who have an old key for a while yet, and how all of them are listed.

use super::*;
use crate::model::time::parse_time;

const UNTIL: &str = "2026-12-01T00:00:00Z";

fn gate(users: &str) -> String {
    format!("[gate]\nname = \"g\"\nprivate_key = \"gate.key\"\n{users}")
}

fn pair(byte: u8) -> PrivateKey {
    PrivateKey::from_bytes([byte; 32])
}

#[test]
fn old_keys_of_both_kinds_reach_the_engine_with_their_user_and_end() {
    let (gate_key, new, old) = (pair(1), pair(2), pair(3));
    let text = gate(&format!(
        "[[user]]\nname = \"amy\"\nservices = [\"tcp/22\"]\nkey = \"{}\"\n\
         [[user]]\nname = \"bob\"\nservices = [\"tcp/22\"]\nkey = \"{}\"\nold_key = \"{KEY}\"\nold_until = {UNTIL}\n\
         [[user]]\nname = \"cat\"\nservices = [\"tcp/22\"]\npublic_key = \"{}\"\nold_public_key = \"{}\"\nold_psk = \"{}\"\nold_until = \"2026-12-01T01:00:00+01:00\"\n",
        key(8),
        key(9),
        &*new.public().to_base64(),
        &*old.public().to_base64(),
        key(7),
    ));
    let loaded = load(&bundle(&text, &[("gate.key", &gate_key.to_base64())])).unwrap();
    let places: Vec<(usize, String)> = loaded
        .old_keys
        .iter()
        .map(|old| (old.user, old.until.to_string()))
        .collect();
    assert_eq!(places, [(1, UNTIL.to_owned()), (2, UNTIL.to_owned())]);
    assert_eq!(
        hint("g", &loaded.old_keys[0].material),
        hint(
            "g",
            &KeyMaterial::shared(&SharedKey::from_base64(KEY).unwrap())
        )
    );
    let psk = PresharedKey::from_bytes([7; 32]);
    let at_client = KeyMaterial::pair_at_client(&old, &gate_key.public(), Some(&psk)).unwrap();
    assert_eq!(
        hint("g", &loaded.old_keys[1].material),
        hint("g", &at_client)
    );
    assert_eq!((loaded.keys.len(), loaded.settings.policies.len()), (3, 3));
}

#[test]
fn an_old_key_that_is_of_a_pair_needs_the_gates_private_key_too() {
    let text = gate(&format!(
        "[[user]]\nname = \"bob\"\nservices = [\"tcp/22\"]\nkey = \"{KEY}\"\nold_public_key = \"{}\"\nold_until = {UNTIL}\n",
        &*pair(3).public().to_base64()
    ));
    let named = key_files(&bundle(&text, &[]));
    assert_eq!(named, [Path::new(FOLDER).join("gate.key")]);
}

#[test]
fn what_is_wrong_with_an_old_key_is_said_with_line_column_and_cure() {
    let old = key(9);
    let cases = [
        (
            format!("old_key = \"{old}\""),
            "10:11: old_key has no end; add old_until = 2026-12-01T00:00:00Z",
        ),
        (
            format!("old_until = {UNTIL}"),
            "10:13: old_until stands without an old key; add old_key",
        ),
        (
            format!("old_psk = \"{old}\""),
            "10:11: old_psk stands without old_public_key; take old_psk out",
        ),
        (
            format!("old_key = \"{old}\"\nold_until = 2026-12-01"),
            "11:13: this time is no point in time with its offset; write it like",
        ),
        (
            format!("old_key = \"{old}\"\nold_until = 2026-12-01T00:00:00"),
            "11:13: this time is no point in time with its offset",
        ),
        (
            format!("old_key = \"{old}\"\nold_until = \"soon\""),
            "11:13: this text is no point in time with its offset",
        ),
        (
            format!("old_key = \"{old}\"\nold_until = 5"),
            "11:13: old_until cannot be a number; write a time, 2026-12-01T00:00:00Z",
        ),
        (
            format!("old_key = \"{KEY}\"\nold_until = {UNTIL}"),
            "10:11: the same key is given twice, first at posternd.toml:9",
        ),
        (
            format!("old_key = \"x\"\nold_until = {UNTIL}"),
            "10:11: this is no key",
        ),
        (
            format!("old_key = \"{old}\"\nold_public_key = \"{old}\"\nold_until = {UNTIL}"),
            "11:18: this user has both old_key and old_public_key; keep one",
        ),
        (
            "disabled = \"yes\"".to_owned(),
            "10:12: disabled cannot be a text; write true or false",
        ),
    ];
    for (lines, says) in cases {
        let said = refused(&bundle(
            &with("", &format!("key = \"{KEY}\"\n{lines}")),
            &[],
        ));
        assert!(
            said.starts_with(&format!("posternd.toml:{says}")) && said.lines().count() == 1,
            "{lines}: {said}"
        );
    }
}

#[test]
fn a_disabled_user_is_nobody_but_his_services_stay_closed_and_his_table_must_be_right() {
    let text = gate(&format!(
        "[[user]]\nname = \"amy\"\nservices = [\"tcp/80\"]\nkey = \"{KEY}\"\ndisabled = true\nold_key = \"{}\"\nold_until = {UNTIL}\n\
         [[user]]\nname = \"bob\"\nservices = [\"tcp/22\"]\nkey = \"{}\"\ndisabled = false\n",
        key(7),
        key(8)
    ));
    let loaded = load(&bundle(&text, &[])).unwrap();
    let names = |policies: &[Policy]| {
        policies
            .iter()
            .map(|policy| policy.user.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (
            names(&loaded.settings.policies),
            names(&loaded.settings.disabled)
        ),
        (vec!["bob".to_owned()], vec!["amy".to_owned()])
    );
    assert_eq!((loaded.keys.len(), loaded.old_keys.len()), (1, 0));
    assert_eq!(loaded.settings.protection().closed(), "tcp/22, tcp/80");
    assert!(
        refused(&bundle(&text.replace(KEY, &key(8)), &[])).contains("the same key is given twice")
    );
}

#[test]
fn users_are_listed_with_place_kind_and_state_and_without_a_secret() {
    let main = gate(&format!(
        "[[user]]\nname = \"amy\"\nservices = [\"tcp/22\"]\nkey = \"{KEY}\"\ndisabled = true\n"
    ));
    let public = pair(2).public();
    let alone = format!(
        "# bob's own\nname = \"bob\"\nservices = [\"tcp/22\", \"tcp/80\"]\npublic_key = \"{}\"\npsk = \"{}\"\nold_key = \"{}\"\nold_until = {UNTIL}\n",
        &*public.to_base64(),
        key(6),
        key(7)
    );
    let listed_file = format!(
        "[[user]]\nname = \"cat\"\nservices = [\"tcp/22\"]\nkey_file = \"/etc/postern/cat.key\"\n[[user]]\nname = \"dan\"\nkey = \"{}\"\nservices = [\"icmp\"]",
        key(9)
    );
    let files = [
        ("users.d/bob.toml", alone.as_str()),
        ("users.d/team.toml", &listed_file),
        ("gate.key", &pair(1).to_base64()),
        ("cat.key", &key(8)),
    ];
    let listed = settings_and_users(&bundle(&main, &files)).unwrap().1;
    let places: Vec<_> = listed
        .iter()
        .map(|user| {
            (
                user.policy.user.as_str(),
                user.line,
                user.own_file,
                user.disabled,
                user.key.name(),
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            ("amy", 4, false, true, "shared key"),
            ("bob", 1, true, false, "key pair with psk"),
            ("cat", 1, false, false, "shared key in a file"),
            ("dan", 5, false, false, "shared key"),
        ]
    );
    assert_eq!(
        listed[1].old,
        Some((KeyKind::Shared, parse_time(UNTIL).unwrap()))
    );
    assert_eq!(listed[1].key, KeyKind::Pair { public, psk: true });
    assert_eq!(
        listed[2].key,
        KeyKind::SharedFile(Path::new(FOLDER).join("cat.key"))
    );
    let shown = format!("{listed:?}");
    for secret in [KEY, &key(6), &key(7), &key(8), &key(9)] {
        assert!(!shown.contains(&secret[..20]), "{shown}");
    }
}
