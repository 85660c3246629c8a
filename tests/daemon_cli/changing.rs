//! `posternd user disable`, `enable`, `rotate` and `remove`.

use std::fs;

use postern::client::token::{EnrollRequest, Token, TokenKey};
use postern::model::time::Timestamp;
use postern_proto::{PrivateKey, PublicKey, SharedKey};

use crate::users::{gate, json, mode, ok, request, text, users, value};

pub(crate) fn users_of_shared_file_cannot_be_changed() {
    let gate = gate();
    gate.write(
        "users.d/team.toml",
        "[[user]]\nname = \"bob\"\nservices = [\"tcp/22\"]\nkey_file = \"FOLDER/bob.key\"\n",
    );
    gate.mode("users.d", 0o700);
    gate.write(
        "bob.key",
        &format!("{}\n", &*SharedKey::from_bytes([1; 32]).to_base64()),
    );
    let before = text(&gate, "users.d/team.toml");
    for (user, place) in [("alice", "posternd.toml:9"), ("bob", "users.d/team.toml:1")] {
        for command in ["disable", "enable", "remove", "rotate"] {
            let line = gate.run(&["user", command, user]).one_line(1);
            let wanted = format!(
                "{user} is in {}, beside other settings; edit that file, then: posternd reload",
                gate.path(place).display()
            );
            assert_eq!(line, wanted);
        }
        assert_eq!(
            json(&gate, &["user", "show", user])["user"]["own_file"],
            false
        );
    }
    assert_eq!(text(&gate, "users.d/team.toml"), before);
}

pub(crate) fn changes_keep_comments() {
    let gate = gate();
    let file = "# Bob, of the night shift\nname = \"bob\" # that is him\nservices = [\n  \"tcp/80\", # the shop\n]\nkey = \"KEY2\" # from 2025\n\n[max_prefix]\nv4 = 24\n";
    let old = SharedKey::from_bytes([2; 32]).to_base64().to_string();
    let file = file.replace("KEY2", &old);
    gate.write("users.d/bob.toml", &file);
    gate.mode("users.d", 0o700);
    ok(gate.run("user disable bob"));
    assert_eq!(
        text(&gate, "users.d/bob.toml"),
        file.replace("that is him\n", "that is him\ndisabled = true\n")
    );
    assert!(ok(gate.run("user disable bob")).starts_with("user bob is disabled already"));
    ok(gate.run("user enable bob"));
    assert_eq!(text(&gate, "users.d/bob.toml"), file);
    let said = json(&gate, "user rotate bob");
    let (new, until) = (
        value(&gate, "bob", "key").unwrap(),
        Timestamp::from_millis(said["old_until"].as_u64().unwrap()),
    );
    let rotated = file.replace(&old, &new).replace(
        "that is him\n",
        &format!("that is him\nold_key = \"{old}\"\nold_until = {until}\n"),
    );
    assert_eq!(text(&gate, "users.d/bob.toml"), rotated);
    assert_eq!(mode(&gate, "users.d/bob.toml"), 0o600);
    assert_eq!(users(&gate), ["bob.toml"], "nothing is left beside it");
    let table = ok(gate.run("user list"));
    assert!(table.contains(&format!("old key until {until}")), "{table}");
}

pub(crate) fn rotation_keeps_old_key_for_stated_time() {
    let gate = gate();
    gate.write(
        "dave.key",
        &format!("{}\n", &*SharedKey::from_bytes([3; 32]).to_base64()),
    );
    gate.write(
        "users.d/dave.toml",
        "name = \"dave\"\nservices = [\"tcp/22\"]\nkey_file = \"FOLDER/dave.key\"\n",
    );
    gate.mode("users.d", 0o700);
    ok(gate.run(&[
        "user",
        "add",
        "bob",
        "-s",
        "tcp/22",
        "--request",
        &request(),
        "--psk",
    ]));
    let before = [
        value(&gate, "bob", "public_key"),
        value(&gate, "bob", "psk"),
    ];
    let line = gate.run("user rotate bob").one_line(2);
    assert!(
        line.contains(
            "has a key pair; the client should make the new private key: run postern enroll there and give --request LINE"
        ),
        "{line}"
    );
    let line = gate
        .run(&["user", "rotate", "bob", "--request", &request()])
        .one_line(1);
    assert!(
        line.contains("this request has the key that bob already has; "),
        "{line}"
    );
    let other = PrivateKey::from_bytes([6; 32]).public();
    let second = EnrollRequest {
        public_key: other,
        profile: Some("home".to_owned()),
    }
    .to_line()
    .unwrap();
    let said = json(
        &gate,
        &[
            "user",
            "rotate",
            "bob",
            "--request",
            &second,
            "--keep-old",
            "48h",
        ],
    );
    assert_eq!(
        [
            value(&gate, "bob", "old_public_key"),
            value(&gate, "bob", "old_psk")
        ],
        before
    );
    assert_eq!(
        value(&gate, "bob", "public_key"),
        Some(other.to_base64().to_string())
    );
    assert_ne!(
        value(&gate, "bob", "psk"),
        before[1],
        "a user who had a psk gets a new one"
    );
    assert_eq!(said["secret"], true);
    let Token {
        key: TokenKey::Enrolled { own, .. },
        ..
    } = Token::from_line(said["token"].as_str().unwrap()).unwrap()
    else {
        panic!()
    };
    assert_eq!(
        own,
        PublicKey::from_base64(&value(&gate, "bob", "public_key").unwrap()).unwrap()
    );

    let said = json(&gate, "user rotate dave");
    assert_eq!(
        value(&gate, "dave", "old_key"),
        Some(SharedKey::from_bytes([3; 32]).to_base64().to_string())
    );
    assert!(value(&gate, "dave", "key").is_some() && value(&gate, "dave", "key_file").is_none());
    assert!(
        said["notes"][0]
            .as_str()
            .unwrap()
            .contains("dave.key is no longer used; remove it"),
        "{said}"
    );

    let first = value(&gate, "dave", "key").unwrap();
    let said = ok(gate.run("user rotate dave"));
    assert_eq!(value(&gate, "dave", "old_key").as_ref(), Some(&first));
    assert!(
        said.contains("note: an older key, which would have worked until ")
            && said.contains("postern import --replace"),
        "{said}"
    );
    let said = ok(gate.run("user rotate dave --keep-old 0s --pair"));
    assert!(said.contains("; the old one no longer works\n"), "{said}");
    for gone in ["old_key", "old_until", "key", "psk"] {
        assert_eq!(value(&gate, "dave", gone), None, "{gone}");
    }
    assert!(value(&gate, "dave", "public_key").is_some());
    let ran = gate.run("user rotate dave --pair --keep-old 2161h");
    assert!(
        ran.code == Some(2) && ran.err.contains("90 days at most"),
        "{}",
        ran.err
    );
}

pub(crate) fn last_user_of_service_is_not_removed() {
    let gate = gate();
    for (name, service) in [("bob", "tcp/80"), ("carol", "tcp/22")] {
        ok(gate.run(&["user", "add", name, "-s", service]));
    }
    let said = ok(gate.run("user remove carol"));
    assert!(
        said.contains("user carol is removed, in ")
            && said.ends_with(&format!(
                "posternd user list --config {}\n",
                gate.path("posternd.toml").display()
            )),
        "{said}"
    );
    let line = gate.run("user remove bob").one_line(1);
    let wanted = "without bob nobody may open tcp/80, so posternd would no longer close it; keep it closed with: posternd user disable bob, or add --unprotect";
    assert_eq!(line, wanted);
    ok(gate.run("user disable bob"));
    assert!(
        ok(gate.run("check")).contains("closed for everyone who has not knocked: tcp/22, tcp/80"),
        "a disabled user's service stays closed"
    );
    ok(gate.run("user remove bob --unprotect"));
    assert!(users(&gate).is_empty());
    assert!(ok(gate.run("check")).contains("closed for everyone who has not knocked: tcp/22\n"));
}

pub(crate) fn link_to_user_file_stays_a_link() {
    let gate = gate();
    let file = format!(
        "name = \"bob\"\nservices = [\"tcp/22\"]\nkey = \"{}\"\n",
        &*SharedKey::from_bytes([2; 32]).to_base64()
    );
    gate.write("managed/bob.toml", &file);
    gate.mode("managed", 0o700);
    gate.write("users.d/x", "");
    gate.mode("users.d", 0o700);
    std::os::unix::fs::symlink("../managed/bob.toml", gate.path("users.d/bob.toml")).unwrap();
    ok(gate.run("user disable bob"));
    assert!(
        fs::symlink_metadata(gate.path("users.d/bob.toml"))
            .unwrap()
            .is_symlink()
    );
    assert!(text(&gate, "managed/bob.toml").contains("disabled = true\n"));
    assert_eq!(mode(&gate, "managed/bob.toml"), 0o600);
}
