//! `posternd user disable`, `enable`, `rotate` and `remove`.

use std::fs;

use postern::client::token::{EnrollRequest, Token, TokenKey};
use postern::model::time::Timestamp;
use postern_proto::PrivateKey;

use crate::gate::{Gate, says};
use crate::users::{gate, key_text, request, users, value};

fn user_file(name: &str, key: &str) -> String {
    format!("name = \"{name}\"\nservices = [\"tcp/22\"]\n{key}\n")
}

fn write_key(gate: &Gate, name: &str, byte: u8) {
    gate.write(name, &format!("{}\n", key_text(byte)));
}

pub(crate) fn users_of_shared_file_cannot_be_changed() {
    let gate = gate();
    let file = "[[user]]\n".to_owned() + &user_file("bob", "key_file = \"FOLDER/bob.key\"");
    gate.write_user("team", &file);
    write_key(&gate, "bob.key", 1);
    let before = gate.text("users.d/team.toml");
    for (user, place) in [
        ("alice", "posternd.toml:10"),
        ("bob", "users.d/team.toml:1"),
    ] {
        for command in ["disable", "enable", "remove", "rotate"] {
            let line = gate.run(&format!("user {command} {user}")).one_line(1);
            let place = gate.place(place);
            let wanted = format!(
                "{user} is in {place}, beside other settings; edit that file, then: posternd reload"
            );
            assert_eq!(line, wanted);
        }
        let shown = gate.run(&format!("user show {user} --json")).json();
        assert_eq!(shown["user"]["own_file"], false);
    }
    assert_eq!(gate.text("users.d/team.toml"), before);
}

pub(crate) fn changes_keep_comments() {
    let gate = gate();
    let old = key_text(2);
    let file = format!(
        "# Bob, of the night shift\nname = \"bob\" # that is him\nservices = [\n  \"tcp/80\", # the shop\n]\n\
         key = \"{old}\" # from 2025\n\n[max_prefix]\nv4 = 24\n"
    );
    let after_name = |line: &str| file.replace("is him\n", &format!("is him\n{line}\n"));
    gate.write_user("bob", &file);
    gate.run("user disable bob").ok();
    assert_eq!(gate.text("users.d/bob.toml"), after_name("disabled = true"));
    gate.run("user enable bob").ok();
    assert_eq!(gate.text("users.d/bob.toml"), file);
    let said = gate.run("user rotate bob --json").json();
    let new = value(&gate, "bob", "key").unwrap();
    let until = Timestamp::from_millis(said["old_until"].as_u64().unwrap());
    let rotated = after_name(&format!("old_key = \"OLD\"\nold_until = {until}"));
    let rotated = rotated.replace(&old, &new).replace("OLD", &old);
    assert_eq!(gate.text("users.d/bob.toml"), rotated);
    assert_eq!(gate.mode_of("users.d/bob.toml"), 0o600);
    assert_eq!(users(&gate), ["bob.toml"], "nothing is left beside it");
    let table = gate.run("user list").ok();
    says(&table, &format!("…old key until {until}…"));
}

pub(crate) fn rotation_keeps_old_key_for_stated_time() {
    let gate = gate();
    let values = |user: &str, keys: [&str; 2]| keys.map(|key| value(&gate, user, key));
    gate.run(&format!(
        "user add bob -s tcp/22 --request {} --psk",
        request()
    ))
    .ok();
    let before = values("bob", ["public_key", "psk"]);
    gate.run("user rotate bob")
        .fails(2, "…run postern enroll there and give --request LINE…");
    gate.run(&format!("user rotate bob --request {}", request()))
        .fails(1, "…this request has the key that bob already has; …");
    let other = PrivateKey::from_bytes([6; 32]).public();
    let second = EnrollRequest {
        public_key: other,
        profile: Some("home".to_owned()),
    };
    let second = second.to_line().unwrap();
    let rotate = format!(
        "user rotate bob --request {} --keep-old 48h --json",
        *second
    );
    let said = gate.run(&rotate).json();
    assert_eq!(values("bob", ["old_public_key", "old_psk"]), before);
    let [public, psk] = values("bob", ["public_key", "psk"]);
    assert_eq!(public, Some(other.to_base64().to_string()));
    assert_ne!(psk, before[1], "a user who had a psk gets a new one");
    assert_eq!(said["secret"], true);
    let token = Token::from_line(said["token"].as_str().unwrap()).unwrap();
    assert!(matches!(token.key, TokenKey::Enrolled { own, .. } if own == other));
}

pub(crate) fn rotation_replaces_key_files_and_old_keys() {
    let gate = gate();
    write_key(&gate, "dave.key", 3);
    gate.write_user("dave", &user_file("dave", "key_file = \"FOLDER/dave.key\""));
    let value = |key: &str| value(&gate, "dave", key);
    let said = gate.run("user rotate dave --json").json();
    assert_eq!(value("old_key"), Some(key_text(3)));
    assert!(value("key").is_some() && value("key_file").is_none());
    let note = said["notes"][0].as_str().unwrap();
    says(note, "…dave.key is no longer used; remove it…");
    let first = value("key");
    let said = gate.run("user rotate dave").ok();
    assert_eq!(value("old_key"), first);
    says(
        &said,
        "…note: an older key, which would have worked until …",
    );
    let said = gate.run("user rotate dave --keep-old 0s --pair").ok();
    says(&said, "…; the old one no longer works\n…");
    for gone in ["old_key", "old_until", "key", "psk"] {
        assert_eq!(value(gone), None, "{gone}");
    }
    assert!(value("public_key").is_some());
    gate.run("user rotate dave --pair --keep-old 2161h")
        .fails(2, "…90 days at most…");
}

pub(crate) fn last_user_of_service_is_not_removed() {
    let gate = gate();
    let closed = |services: &str| {
        let check = gate.run("check").ok();
        says(
            &check,
            &format!("…closed for everyone who has not knocked: {services}\n"),
        );
    };
    for (name, service) in [("bob", "tcp/80"), ("carol", "tcp/22")] {
        gate.run(&format!("user add {name} -s {service}")).ok();
    }
    gate.run("user remove carol").ok();
    gate.run("user remove bob")
        .fails(1, "without bob nobody may open tcp/80, …");
    gate.run("user disable bob").ok();
    closed("tcp/22, tcp/80");
    gate.run("user remove bob --unprotect").ok();
    assert!(users(&gate).is_empty());
    closed("tcp/22");
}

pub(crate) fn link_to_user_file_stays_a_link() {
    let gate = gate();
    let file = user_file("bob", &format!("key = \"{}\"", key_text(2)));
    gate.write("managed/bob.toml", &file);
    gate.mode("managed", 0o700);
    gate.write_user("x", "");
    fs::remove_file(gate.path("users.d/x.toml")).unwrap();
    std::os::unix::fs::symlink("../managed/bob.toml", gate.path("users.d/bob.toml")).unwrap();
    gate.run("user disable bob").ok();
    assert!(gate.path("users.d/bob.toml").is_symlink());
    says(&gate.text("managed/bob.toml"), "…disabled = true\n…");
    assert_eq!(gate.mode_of("managed/bob.toml"), 0o600);
}
