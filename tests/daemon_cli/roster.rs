//! `posternd roster`: made and signed here, taken at a gate; every bad one is refused with its reason, and the last good one stays.

use std::fs::{self, File};
use std::process::Command;

use crate::gate::{Gate, Ran, run, says};
use crate::users::{gate, key_text};

/// The public key of a user.
const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

/// Runs `posternd roster COMMAND` on `fleet.toml` in the gate's folder, signed with `sign.key`.
fn author(gate: &Gate, command: &str, more: &str) -> Ran {
    let (file, key) = (gate.place("fleet.toml"), gate.place("sign.key"));
    let line = format!("roster {command} --roster {file} --signing-key {key} {more}");
    run("exec \"$@\"", &line.split_whitespace().collect::<Vec<_>>())
}

/// A gate that trusts the signer of a roster with carol, which it has not taken.
fn trusting(more: &str) -> Gate {
    let gate = gate();
    let made = author(&gate, "init", "--gate gate.test --gate other.test --json").json();
    let key = made["public_key"].as_str().unwrap();
    let config = gate.text("posternd.toml") + &format!("[roster]\ntrust = [\"{key}\"]\n{more}");
    gate.write("posternd.toml", &config);
    author(&gate, "add carol", &format!("--public-key {PUBLIC}")).ok();
    gate
}

fn apply(gate: &Gate) -> Ran {
    gate.run(&format!("roster apply {}", gate.place("fleet.toml")))
}

/// The reason for which the roster is refused, after `check` and the users were seen to agree.
#[track_caller]
fn reason(gate: &Gate) -> String {
    let path = gate.place("fleet.toml");
    let ran = gate.run(&format!("roster apply {path} --json"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""), "{ran:?}");
    let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let reason = said["refused"]["reason"].as_str().unwrap().to_owned();
    let found = gate.run("check").out;
    let (of_check, reason) = (format!(", {reason}: "), reason);
    assert!(
        found.contains("a roster was refused at ") && found.contains(&of_check),
        "{found}"
    );
    reason
}

fn names(gate: &Gate) -> Vec<String> {
    let said = gate.run("user list --json").json();
    let users = said["users"].as_array().unwrap().iter();
    users
        .map(|user| user["name"].as_str().unwrap().to_owned())
        .collect()
}

fn change(gate: &Gate, from: &str, to: &str) {
    let text = gate.text("fleet.toml");
    assert!(text.contains(from), "{text}");
    gate.write("fleet.toml", &text.replace(from, to));
}

pub(crate) fn roster_users_join_the_local_ones() {
    let gate = trusting("");
    assert_eq!(names(&gate), ["alice"]);
    let line = author(&gate, "add carol", &format!("--public-key {PUBLIC}")).one_line(1);
    says(&line, "…: user carol already exists; …");
    let said = apply(&gate).ok();
    says(
        &said,
        "roster version 2 is taken: 1 user for this gate, until …; signed by …\nno posternd is running: …\n",
    );
    assert_eq!(names(&gate), ["alice", "carol"]);
    let line = gate.run("user remove carol").one_line(1);
    says(&line, "carol is in the roster; change it there, …");
    assert_eq!(gate.mode_of("sign.key"), 0o600);
    author(&gate, "remove carol", "").ok();
    apply(&gate).ok();
    assert_eq!(names(&gate), ["alice"]);
    // The only user of the web is gone, and the web stays closed.
    change(&gate, "\"tcp/22\"", "\"tcp/80\"");
    author(&gate, "add dora", &format!("--public-key {PUBLIC}")).ok();
    apply(&gate).ok();
    author(&gate, "remove dora", "").ok();
    apply(&gate).ok();
    let closed = |gate: &Gate| gate.run("check").out.contains("knocked: tcp/22, tcp/80");
    assert!(closed(&gate));
    gate.run(&format!(
        "roster apply {} --unprotect",
        gate.place("fleet.toml")
    ))
    .ok();
    assert!(!closed(&gate));
}

pub(crate) fn signing_without_a_key_needs_a_change() {
    let gate = trusting("");
    let line = format!("roster sign --roster {}", gate.place("fleet.toml"));
    let sign = || run("exec \"$@\"", &line.split_whitespace().collect::<Vec<_>>());
    says(
        &sign().one_line(1),
        "…fleet.toml: it is signed, and no key was given to sign it again; name one with --signing-key FILE, …",
    );
    change(&gate, "\"tcp/22\"", "\"tcp/80\"");
    says(&sign().ok(), "…; version 3, …\nnot signed; next: …\n");
}

pub(crate) fn bad_rosters_are_refused_with_reasons() {
    let gate = trusting("");
    apply(&gate).ok();
    let [text, signatures] = ["fleet.toml", "fleet.toml.minisig"].map(|name| gate.text(name));
    let restore = || {
        gate.write("fleet.toml", &text);
        gate.write("fleet.toml.minisig", &signatures);
    };
    gate.write("fleet.toml", &text[..text.len() - 1]);
    assert_eq!(reason(&gate), "bad-signature", "cut short");
    gate.write("fleet.toml", &format!("{text}\n"));
    assert_eq!(reason(&gate), "bad-signature", "longer");
    restore();
    fs::remove_file(gate.path("fleet.toml.minisig")).unwrap();
    assert_eq!(reason(&gate), "unsigned");
    restore();
    author(&gate, "remove carol", "").ok();
    apply(&gate).ok();
    let newer = ["fleet.toml", "fleet.toml.minisig"].map(|name| gate.text(name));
    restore();
    assert_eq!(reason(&gate), "older");
    change(&gate, "[gate.\"gate.test\"]\n", "");
    change(&gate, "\"gate.test\", ", "");
    change(&gate, "version = 2", "version = 9");
    author(&gate, "sign", "").ok();
    assert_eq!(reason(&gate), "other-gate");
    restore();
    let until = text.lines().find(|line| line.starts_with("until")).unwrap();
    change(&gate, until, "until = 2026-01-01T00:00:00Z");
    change(&gate, "version = 2", "version = 9");
    says(
        &author(&gate, "sign", "").ok(),
        "…\nit has ended, so no gate takes it; next: …\nsigned by …\n",
    );
    assert_eq!(reason(&gate), "expired");
    restore();
    change(&gate, "\"carol\"", "\"alice\"");
    change(&gate, "version = 2", "version = 9");
    author(&gate, "sign", "").ok();
    assert_eq!(reason(&gate), "unusable", "alice is a local user");
    restore();
    let other = author(&gate, "sign", "").code;
    assert_eq!(other, Some(0));
    fs::rename(gate.path("sign.key"), gate.path("old.key")).unwrap();
    let away = gate.place("away.toml");
    let key = gate.place("sign.key");
    run(
        "exec \"$@\"",
        &["roster", "init", "--roster", &away, "--signing-key", &key],
    )
    .ok();
    fs::remove_file(gate.path("fleet.toml.minisig")).unwrap();
    author(&gate, "sign", "").ok();
    assert_eq!(reason(&gate), "untrusted");
    File::options()
        .write(true)
        .open(gate.path("fleet.toml"))
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    assert_eq!(reason(&gate), "too-large");
    // What was taken last is still there, and a roster that is good is taken.
    assert_eq!(names(&gate), ["alice"]);
    gate.write("fleet.toml", &newer[0]);
    gate.write("fleet.toml.minisig", &newer[1]);
    says(
        &apply(&gate).ok(),
        "roster version 3 is confirmed: …\nno posternd is running: …\n",
    );
    assert!(!gate.run("check").out.contains("a roster was refused"));
}

/// The reason for which the roster is refused.
#[track_caller]
fn refused(gate: &Gate) -> String {
    let line = apply(gate).one_line(1);
    let (reason, _) = line["the roster is refused, ".len()..]
        .split_once(':')
        .unwrap();
    reason.to_owned()
}

/// What the gate keeps of rosters: the one in force, and what counts without it.
const KEPT: [&str; 2] = ["state.monitor/roster", "state.monitor/roster.floor"];

pub(crate) fn older_rosters_are_refused_after_damage() {
    let gate = trusting("");
    let files = || ["fleet.toml", "fleet.toml.minisig"].map(|name| gate.text(name));
    let restore = |[text, signatures]: &[String; 2]| {
        gate.write("fleet.toml", text);
        gate.write("fleet.toml.minisig", signatures);
    };
    apply(&gate).ok();
    let older = files();
    change(&gate, "\"tcp/22\"", "\"tcp/80\"");
    author(&gate, "sign", "").ok();
    apply(&gate).ok();
    let newer = files();
    let kept = KEPT.map(|name| gate.text(name));
    for (damaged, is_usable) in [(&KEPT[..1], true), (&KEPT[1..], true), (&KEPT, false)] {
        for name in damaged {
            gate.write(name, &gate.text(name)[..40]);
        }
        if damaged[0] == KEPT[0] {
            let line = gate.run("user list").one_line(78);
            says(
                &line,
                "…/roster: this file is damaged; take a roster with: …",
            );
        }
        restore(&older);
        if is_usable {
            assert_eq!(refused(&gate), "older", "{damaged:?}");
        } else {
            says(
                &apply(&gate).one_line(78),
                "…roster.floor: this file is damaged, …",
            );
        }
        restore(&newer);
        if is_usable {
            apply(&gate).ok();
            assert_eq!(names(&gate), ["alice", "carol"]);
        }
    }
    for (name, text) in KEPT.iter().zip(&kept) {
        gate.write(name, text);
    }
    // Without the file its users are gone, and what they could open stays closed.
    fs::remove_file(gate.path(KEPT[0])).unwrap();
    assert_eq!(names(&gate), ["alice"]);
    assert!(gate.run("check").out.contains("knocked: tcp/22, tcp/80"));
    restore(&older);
    assert_eq!(refused(&gate), "older");
}

pub(crate) fn users_of_two_places_stop_the_load() {
    let gate = trusting("");
    apply(&gate).ok();
    let user = format!(
        "[[user]]\nname = \"carol\"\nservices = [\"tcp/22\"]\nkey = \"{}\"\n",
        key_text(3)
    );
    gate.write_user("carol", &user);
    let line = gate.run("user list").one_line(78);
    says(
        &line,
        "…roster (this gate's part):2:8: user \"carol\" is defined twice, first at …/users.d/carol.toml:2; …",
    );
    let line = gate.run("run").one_line(78);
    says(&line, "…carol…");
}

pub(crate) fn signers_change_and_are_counted() {
    let gate = trusting("");
    apply(&gate).ok();
    let first = gate.text("posternd.toml");
    // A second signer takes over: the roster in force counts no more, until one of theirs is taken.
    fs::rename(gate.path("sign.key"), gate.path("first.key")).unwrap();
    let away = gate.place("away.toml");
    let key = gate.place("sign.key");
    let words = [
        "roster",
        "init",
        "--roster",
        &away,
        "--signing-key",
        &key,
        "--json",
    ];
    let made = run("exec \"$@\"", &words).json();
    let (old, new) = (
        first.split_once("trust = ").unwrap().1.trim().to_owned(),
        format!("[{}]", made["public_key"]),
    );
    gate.write("posternd.toml", &first.replace(&old, &new));
    says(
        &gate.run("user list").one_line(78),
        "…: untrusted: no trusted key signed it; …",
    );
    assert_eq!(refused(&gate), "untrusted");
    let dave = postern_proto::PrivateKey::from_bytes([8; 32]).public();
    author(&gate, "add dave", &format!("--public-key {dave}")).ok();
    apply(&gate).ok();
    assert_eq!(names(&gate), ["alice", "carol", "dave"]);
    // Both are trusted, and both must sign.
    let both = format!("{}, {}\nsignatures = 2", &old[..old.len() - 1], &new[1..]);
    gate.write("posternd.toml", &first.replace(&old, &both));
    says(
        &gate.run("user list").one_line(78),
        "…: too-few-signatures: 1 of 2 trusted keys signed it; …",
    );
    assert_eq!(refused(&gate), "too-few-signatures");
    fs::rename(gate.path("first.key"), gate.path("sign.key")).unwrap();
    author(&gate, "sign", "").ok();
    apply(&gate).ok();
    assert_eq!(names(&gate), ["alice", "carol", "dave"]);
}

pub(crate) fn wrong_clocks_of_rosters_are_named() {
    let gate = trusting("max_age = \"1h\"");
    apply(&gate).ok();
    let kept = gate.text(KEPT[0]);
    let line = kept
        .lines()
        .find(|line| line.starts_with("confirmed"))
        .unwrap();
    let confirmed: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    for (then, code) in [
        (confirmed + 86_400_000, "roster-clock"),
        (confirmed - 86_400_000, "roster-stale"),
    ] {
        let changed = format!("confirmed = {then}");
        gate.write(KEPT[0], &kept.replace(line, &changed));
        let said = gate.run("check --json").out;
        assert!(said.contains(code), "{said}");
        apply(&gate).ok();
        let said = gate.run("check --json").out;
        assert!(!said.contains(code), "{said}");
    }
}

pub(crate) fn minisign_verifies_and_signs_rosters() {
    let gate = trusting("");
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("minisign");
        let output = command
            .current_dir(gate.path(""))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = author(&gate, "sign", "--json").json();
    let key = said["public_key"].as_str().unwrap();
    let said = tool(&["-V", "-m", "fleet.toml", "-P", key]);
    assert!(
        said.contains("Signature and comment signature verified"),
        "{said}"
    );
    // A key of ours signs with the tool, and one of the tool's with ours.
    for options in [&["-S"][..], &["-S", "-l"]] {
        let sign = [
            options,
            &["-s", "sign.key", "-m", "fleet.toml", "-t", "by hand"],
        ]
        .concat();
        tool(&sign);
        let verify = format!("roster verify --roster {} --json", gate.place("fleet.toml"));
        assert_eq!(gate.run(&verify).json()["roster"]["users"], 1);
    }
    tool(&["-G", "-W", "-f", "-s", "sign.key", "-p", "tool.pub"]);
    author(&gate, "sign", "").ok();
    // The second signature stands behind the first.
    let both = gate.text("fleet.toml.minisig");
    assert_eq!(both.lines().count(), 8, "{both}");
    let second: Vec<&str> = both.lines().skip(4).collect();
    gate.write("second.minisig", &(second.join("\n") + "\n"));
    tool(&[
        "-V",
        "-m",
        "fleet.toml",
        "-x",
        "second.minisig",
        "-p",
        "tool.pub",
    ]);
}

pub(crate) fn check_writes_nothing() {
    let gate = trusting("");
    apply(&gate).ok();
    fs::remove_file(gate.path("state.monitor/roster.part")).unwrap();
    let files = || {
        run(
            "find \"$@\" -printf '%p %i %s %T@\\n' | sort",
            &[&gate.place("")],
        )
        .out
    };
    let before = files();
    assert!(gate.run("check").out.contains("2 users"));
    assert_eq!(names(&gate), ["alice", "carol"]);
    assert_eq!(files(), before);
}

pub(crate) fn secrets_are_sealed_for_their_gate() {
    let gate = trusting("");
    gate.write("dave.key", &(key_text(3) + "\n"));
    let sealed = format!("--key-file {} --gate gate.test", gate.place("dave.key"));
    let line = author(&gate, "add dave", &sealed).one_line(65);
    says(&line, "…gate gate.test has no public key to seal for; …");
    let public = postern_proto::PrivateKey::from_bytes([9; 32]).public();
    let of =
        |key: postern_proto::PublicKey| format!("[gate.\"gate.test\"]\npublic_key = \"{key}\"\n");
    change(&gate, "[gate.\"gate.test\"]\n", &of(public));
    author(&gate, "add dave", &sealed).ok();
    assert!(!gate.text("fleet.toml").contains(&key_text(3)));
    apply(&gate).ok();
    assert_eq!(names(&gate), ["alice", "carol", "dave"]);
    // What the gate keeps of it holds no secret that its private key does not open.
    assert_eq!(gate.mode_of("state.monitor/roster.part"), 0o600);
    let kept = fs::read(gate.path("state.monitor/roster.part")).unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains("dave"));
    gate.write("gate.key", &(key_text(8) + "\n"));
    says(
        &gate.run("user list").one_line(78),
        "…the secret of user dave is not sealed for this gate's private key; …",
    );
}
