//! Rosters as a gate takes them: signatures, versions, its own part, and edits.

use postern_proto::PrivateKey;
use zeroize::Zeroizing;

use super::minisign::{SecretKey, SignedBytes};
use super::*;
use crate::model::roster::RosterInForce;
use crate::model::time::parse_time;

const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

const ROSTER: &str = r#"# Our fleet
version = 3
until = 2027-01-31T00:00:00Z # a month

[group]
edge = ["one", "two"]

[gate.one]
[gate.two]
[gate.three]

[policy.ssh]
services = ["tcp/22"]
max_prefix = { v4 = 24 }

[policy.web]
services = ["tcp/80"]

[[user]] # who is here
name = "alice"
policy = "ssh"
gates = ["edge"]
public_key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="

# Bob leaves in May
[[user]]
name = "bob"
policy = "web"
gates = ["three"]
public_key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
expires = 2026-12-31
"#;

fn key(number: u8) -> SecretKey {
    SecretKey::from_random([number; 8], &Zeroizing::new([number; 32]))
}

fn trust(numbers: &[u8], signatures: usize) -> Trust {
    let keys = numbers.iter().map(|number| key(*number).public()).collect();
    Trust { keys, signatures }
}

fn signed(text: &str, numbers: &[u8]) -> String {
    let signed = |number: &u8| key(*number).sign(text.as_bytes(), "").lines();
    numbers.iter().map(signed).collect()
}

fn fault<T>(result: Result<T, RosterRefusal>) -> Option<RosterFault> {
    result.err().map(|refusal| refusal.fault)
}

fn time(text: &str) -> Timestamp {
    parse_time(text).unwrap()
}

const NOW: &str = "2026-12-01T00:00:00Z";

#[test]
fn only_whole_trusted_rosters_verify() {
    use RosterFault::*;
    let good = signed(ROSTER, &[1]);
    let (cut, longer) = (&ROSTER[..ROSTER.len() - 1], format!("{ROSTER}\n"));
    for (text, signatures, expected) in [
        (ROSTER, good.as_str(), None),
        (ROSTER, "", Some(Unsigned)),
        (ROSTER, "untrusted comment: x\n", Some(Unsigned)),
        (ROSTER, &good[..good.len() / 2], Some(Unsigned)),
        (ROSTER, &format!("{good}{good}x"), Some(Unsigned)),
        (ROSTER, &signed(ROSTER, &[9]), Some(Untrusted)),
        (ROSTER, &signed(ROSTER, &[9, 2]), None),
        (cut, &good, Some(BadSignature)),
        (&longer, &good, Some(BadSignature)),
        ("x = 1", &signed("x = 1", &[1]), Some(Malformed)),
        ("x = 1", &good, Some(BadSignature)),
    ] {
        let found = verify(text.as_bytes(), signatures, &trust(&[1, 2, 3], 1));
        assert_eq!(fault(found), expected, "{signatures}");
    }
    let large = vec![b'#'; ROSTER_MAX + 1];
    assert_eq!(
        fault(verify(&large, &good, &trust(&[1], 1))),
        Some(TooLarge)
    );
}

#[test]
fn two_of_three_must_sign() {
    let two = ROSTER.replace("version = 3", "version = 4\nsignatures = 2");
    let all = trust(&[1, 2, 3], 1);
    for (text, numbers, trust, enough) in [
        (&*two, &[1][..], &all, false),
        (&two, &[1, 1], &all, false),
        (&two, &[1, 9], &all, false),
        (&two, &[1, 3], &all, true),
        (ROSTER, &[1], &trust(&[1, 2], 2), false),
    ] {
        let found = fault(verify(text.as_bytes(), &signed(text, numbers), trust));
        let expected = (!enough).then_some(RosterFault::TooFewSignatures);
        assert_eq!(found, expected, "{numbers:?}");
    }
    // One stolen key does not lower the number of a roster in force.
    let one = ROSTER.replace("version = 3", "version = 5");
    let signatures = signed(&one, &[1]);
    let verified = verify(one.as_bytes(), &signatures, &all).unwrap();
    let found = accept(&verified, "one", Some(&floor(4, 2, &two)), time(NOW));
    assert_eq!(fault(found), Some(RosterFault::TooFewSignatures));
}

fn floor(version: u64, signatures: usize, text: &str) -> Floor {
    Floor {
        version,
        signatures,
        digest: SignedBytes::new(text.as_bytes()).digest(),
        services: Vec::new(),
    }
}

#[test]
fn gate_takes_only_a_newer_roster_for_it() {
    use RosterFault::*;
    let signatures = signed(ROSTER, &[1]);
    let verified = verify(ROSTER.as_bytes(), &signatures, &trust(&[1], 1)).unwrap();
    let other = ROSTER.replace("alice", "mallory");
    let end = "2027-01-31T00:00:00Z";
    for (gate, last, now, expected) in [
        ("one", None, NOW, Ok(())),
        ("three", Some((2, &*other)), NOW, Ok(())),
        ("one", Some((3, &*other)), NOW, Err(Older)),
        ("one", Some((4, &*other)), NOW, Err(Older)),
        ("one", Some((4, ROSTER)), NOW, Err(Older)),
        ("one", Some((3, ROSTER)), NOW, Ok(())),
        ("four", None, NOW, Err(OtherGate)),
        ("edge", None, NOW, Err(OtherGate)),
        ("one", None, end, Err(Expired)),
        ("one", Some((3, ROSTER)), end, Err(Expired)),
    ] {
        let last = last.map(|(version, text)| floor(version, 1, text));
        let found = accept(&verified, gate, last.as_ref(), time(now));
        assert_eq!(found.map_err(|refusal| refusal.fault), expected, "{gate}");
    }
}

#[test]
fn part_has_only_this_gates_users() {
    let roster = Roster::parse(ROSTER).unwrap();
    let end = time("2027-01-31T00:00:00Z");
    let part = roster.part("one", end);
    let expected = format!(
        "[[user]]\nname = \"alice\"\nmax_prefix = {{ v4 = 24 }}\nservices = [\"tcp/22\"]\nexpires = 2027-01-31T00:00:00Z\npublic_key = \"{KEY}\"\n"
    );
    assert_eq!((part.users.as_str(), part.count), (&*expected, 1));
    let three = roster.part("three", end);
    assert!(three.users.contains("expires = 2026-12-31T00:00:00Z"));
    assert_eq!(roster.part("four", end).count, 0);
    // What alice could open stays closed without her, also after the roster after that.
    let signatures = signed(ROSTER, &[1]);
    let verified = verify(ROSTER.as_bytes(), &signatures, &trust(&[1], 1)).unwrap();
    let (roster, digest) = (&verified.roster, &*verified.signed.digest);
    let first = Floor::after(None, roster, digest, &part, false);
    let second = Floor::after(Some(&first), roster, digest, &three, false);
    assert_eq!(second.closed_beside(&three), ["services = [\"tcp/22\"]\n"]);
    assert_eq!(second.closed_beside(&part), three.policies);
    assert_eq!(Floor::read(&second.write()), Some(second.clone()));
    let third = Floor::after(Some(&second), roster, digest, &three, true);
    assert_eq!(third.services, three.policies);
}

#[test]
fn sealed_secrets_open_at_their_gate() {
    let [gate, other, fresh] = [1, 2, 3].map(|byte| PrivateKey::from_bytes([byte; 32]));
    let seal = |secrets| sealed("one", &gate.public(), "carol", secrets, &fresh).unwrap();
    let part = |secrets| {
        format!(
            "[[user]]\nname = \"carol\"\nsealed = \"{}\"\n",
            seal(secrets)
        )
    };
    let secrets = format!("key = \"{KEY}\"\ntotp = \"AAAA\"\n");
    let text = part(&secrets);
    assert!(needs_gate_key(&text));
    let found = opened(&text, "one", Some(&gate)).unwrap();
    assert_eq!(*found, format!("[[user]]\nname = \"carol\"\n{secrets}"));
    let carol = || "carol".to_owned();
    assert_eq!(opened(&text, "one", None), Err(SealFault::NoKey(carol())));
    let wrong = Err(SealFault::OtherKey(carol()));
    assert_eq!(opened(&text, "one", Some(&other)), wrong);
    assert_eq!(opened(&text, "two", Some(&gate)), wrong);
    let renamed = text.replace("carol", "dave");
    assert!(opened(&renamed, "one", Some(&gate)).is_err());
    for more in [
        "max_grants = 9\n",
        "key = \"a\"\n[[user]]\n",
        "key = \"\\\"\n",
    ] {
        assert_eq!(opened(&part(more), "one", Some(&gate)), wrong, "{more}");
    }
}

#[test]
fn edits_keep_everything_else() {
    let roster = Roster::parse(ROSTER).unwrap();
    let mut carol = roster.user[1].clone();
    carol.name = "carol".to_owned();
    let text = with_user(ROSTER, &carol).unwrap();
    assert!(text.starts_with(ROSTER.trim_end()));
    let without = without_user(&text, "carol").unwrap();
    assert_eq!(Roster::parse(&without).unwrap(), roster);
    let without = without_user(ROSTER, "alice").unwrap();
    assert!(without.contains("# Our fleet") && without.contains("name = \"bob\""));
    assert!(!without.contains("alice"));
    let header = Header {
        version: 4,
        until: Some(time("2027-02-01T00:00:00.5Z")),
    };
    let text = set_header(ROSTER, header).unwrap();
    let expected = "version = 4\nuntil = 2027-02-01T00:00:00Z # a month\n";
    assert!(text.contains(expected), "{text}");
    let nobody = without_user(ROSTER, "carol").unwrap_err();
    assert_eq!(nobody.to_string(), "there is no user carol");
    assert!(with_user(ROSTER, &roster.user[0]).is_err());
}

/// A roster that is read in pieces, with a table of a user inside.
fn long() -> String {
    let mut text = ROSTER.to_owned();
    for number in 0..1000 {
        text += &format!(
            "\n[[user]]\nname = \"user{number}\"\npolicy = \"web\"\ngates = [\"two\"]\npublic_key = \"{KEY}\"\n"
        );
    }
    text + "[[user]]\nname = \"last\"\npolicy = \"ssh\"\ngates = [\"two\"]\n[user.sealed]\ntwo = \"AA==\"\n"
}

#[test]
fn long_rosters_read_like_short_ones() {
    let text = long();
    assert!(super::division::divided(&text).1.len() > 2);
    let roster = Roster::parse(&text).unwrap();
    assert_eq!(roster, toml::from_str(&text).unwrap());
    let (end, signatures) = (time("2026-12-31T00:00:00Z"), signed(&text, &[1]));
    for gate in ["one", "two", "four"] {
        let all = trust(&[1], 1);
        let signed = verify_again(text.as_bytes(), &signatures, &all, 1).unwrap();
        let part = signed_part(&signed, gate, Some(end));
        assert_eq!(part, Ok(roster.part(gate, end)));
    }
    // Other tables between users are read as well, and an error names the right line.
    let between = format!("{text}[policy.more]\nservices = []\n");
    assert_eq!(Roster::parse(&between).unwrap().policy.len(), 3);
    let line = text.lines().position(|line| line == "name = \"last\"");
    let wrong = format!("line {}: invalid type", line.unwrap() + 1);
    for (from, to, expected) in [
        ("\"last\"", "3", &*wrong),
        ("\"last\"", "\"user7\"", "user user7 is there twice"),
        ("\"last\"", "\"alice\"", "user alice is there twice"),
        (
            "policy = \"ssh\"\ngates = [\"two\"]\n[",
            "policy = \"x\"\n[",
            "line",
        ),
    ] {
        let error = Roster::parse(&text.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn malformed_rosters_are_refused() {
    for (from, to, expected) in [
        ("version = 3", "version = 0", "version is 0"),
        ("version = 3", "", "missing field `version`"),
        ("Z # a month", "", "until is no point in time"),
        ("\"two\"]", "\"four\"]", "group edge names four"),
        ("edge =", "three =", "both a group and a gate"),
        (
            "[policy.web]",
            "[policy.web]\nkey = \"x\"",
            "policy web has the key key",
        ),
        (
            "[policy.web]",
            "[policy.web]\nexpires = \"2026-12-31\"",
            "policy web: expires is neither",
        ),
        (
            "policy = \"web\"",
            "policy = \"mail\"",
            "user bob: there is no [policy.mail]",
        ),
        ("\"bob\"", "\"alice\"", "user alice is there twice"),
        ("\"bob\"", "\"b b\"", "this is no user name"),
        (
            "[\"three\"]",
            "[\"four\"]",
            "four is neither a gate nor a group",
        ),
        ("[\"three\"]", "[]", "gates is empty"),
        ("expires =", "key =", "unknown field `key`"),
        (
            "expires = 2026-12-31",
            "sealed = { one = \"AA==\" }",
            "other gates",
        ),
        (
            "[gate.one]",
            "[gate.one]\npublic_key = \"x\"",
            "gate one: public_key",
        ),
    ] {
        let error = Roster::parse(&ROSTER.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(Roster::parse(ROSTER).is_ok());
}

#[test]
fn installed_roster_reads_back() {
    let signatures = signed(ROSTER, &[1]);
    let (_, rest) = signatures.split_once('\n').unwrap();
    // The end of a comment, which nobody signs, breaks nothing.
    let odd = format!("untrusted comment: ---\n{rest}");
    for signatures in [&signatures, &odd] {
        assert!(verify(ROSTER.as_bytes(), signatures, &trust(&[1], 1)).is_ok());
        let installed = Installed {
            notes: Notes {
                in_force: RosterInForce {
                    version: 3,
                    until: time("2027-01-31T00:00:00Z"),
                    signatures: 1,
                    confirmed: time(NOW),
                },
                closed: vec!["services = [\"tcp/22\"]\n".to_owned()],
            },
            signatures: signatures.trim_end(),
            text: ROSTER,
        };
        let text = installed.write();
        assert_eq!(Installed::read(&text), Some(installed));
        assert_eq!(Installed::read(&text[..60]), None);
    }
}
