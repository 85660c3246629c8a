//! The text of a roster, its signatures, and what a gate keeps of it, as any bytes.
//!
//! The first byte says what follows: `0` a text that a trusted key signs, `1` the signatures of a fixed text, `2` the file of the
//! roster in force, `3` the file of the floor.

use std::collections::BTreeSet;

use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::adapters::config::load;
use postern::core::roster::minisign::{SecretKey, Signature};
use postern::core::roster::{
    Floor, Header, Installed, Roster, Trust, set_header, verify, with_user, without_user,
};
use postern::model::roster::RosterFault;
use postern_proto::PrivateKey;
use zeroize::Zeroizing;

const FIXED: &str = "version = 1\nuntil = 2030-01-01T00:00:00Z\n";

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let rest = std::str::from_utf8(rest);
    match (kind, rest) {
        (b'0', Ok(text)) => signed_text(text),
        (b'1', Ok(text)) => signatures(text),
        (b'2', Ok(text)) => drop(Installed::read(text)),
        (b'3', Ok(text)) => {
            if let Some(floor) = Floor::read(text) {
                assert_eq!(Floor::read(&floor.write()), Some(floor));
            }
        }
        _ => {}
    }
}

fn key() -> SecretKey {
    SecretKey::from_random([7; 8], &Zeroizing::new([7; 32]))
}

fn trust() -> Trust {
    Trust {
        keys: vec![key().public()],
        signatures: 1,
    }
}

fn signed_text(text: &str) {
    let signatures = key().sign(text.as_bytes(), "").lines();
    let verified = verify(text.as_bytes(), &signatures, &trust());
    let parsed = Roster::parse(text);
    for other in [format!("{text} "), text.chars().skip(1).collect()] {
        let refused = verify(other.as_bytes(), &signatures, &trust());
        let fault = refused.err().map(|refusal| refusal.fault);
        assert!(
            other == text || fault == Some(RosterFault::BadSignature),
            "{fault:?}"
        );
    }
    let Ok(verified) = verified else {
        if let Err(error) = parsed {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
        return;
    };
    let roster = verified.roster;
    assert_eq!(parsed.as_ref(), Ok(&roster));
    for gate in roster.gate.keys() {
        loaded_part(&roster, gate);
    }
    edits(text, &roster);
}

/// What a gate loads of it is users of the roster for this gate, and none of them stays longer than the roster.
fn loaded_part(roster: &Roster, gate: &str) {
    let end = roster.until();
    let part = roster.part(gate, end);
    let is_here = |gates: &[String]| roster.gates_of(gates).contains(gate);
    let here = roster.user.iter().filter(|user| is_here(&user.gates));
    let here: BTreeSet<&str> = here.map(|user| user.name.as_str()).collect();
    assert_eq!(part.count, here.len());
    let gate = toml::Value::from(gate);
    let main = format!("[gate]\nname = {gate}\nprivate_key = \"gate.key\"\n");
    let mut bundle = Bundle::of_main("/etc/postern/posternd.toml", main);
    let own = PrivateKey::from_bytes([9; 32]).to_base64();
    bundle.keys = vec![BundleFile::new("/etc/postern/gate.key", &*own)];
    bundle.roster = Some(BundleFile::new("/roster", part.users));
    match load(&bundle) {
        Ok(loaded) => {
            let users = loaded
                .settings
                .policies
                .iter()
                .chain(loaded.settings.disabled.iter());
            let users: Vec<_> = users.collect();
            assert_eq!(users.len(), here.len());
            for user in users {
                assert!(here.contains(&*user.user), "{} is none of them", user.user);
                assert!(user.expires.is_some_and(|own| own <= end), "{}", user.user);
            }
        }
        Err(problems) => {
            for problem in &problems.0 {
                assert_eq!(problem.to_string().lines().count(), 1, "{problem}");
            }
        }
    }
}

/// A change says what was asked for and nothing else, or fails.
fn edits(text: &str, roster: &Roster) {
    let header = Header {
        version: 77,
        until: None,
    };
    if let Ok(changed) = set_header(text, header) {
        let mut expected = roster.clone();
        expected.version = 77;
        assert_eq!(Roster::parse(&changed), Ok(expected));
    }
    if let Some(user) = roster.user.first()
        && let Ok(without) = without_user(text, &user.name)
    {
        let mut expected = roster.clone();
        expected.user.remove(0);
        assert_eq!(Roster::parse(&without).as_ref(), Ok(&expected));
        if let Ok(with) = with_user(&without, user) {
            expected.user.push(user.clone());
            assert_eq!(Roster::parse(&with), Ok(expected));
        }
    }
}

fn signatures(text: &str) {
    if let Some(all) = Signature::parse_all(text) {
        let lines: String = all.iter().map(Signature::lines).collect();
        assert_eq!(Signature::parse_all(&lines), Some(all));
    }
    // Only the signature that the key made counts.
    let genuine = key().sign(FIXED.as_bytes(), "").lines();
    let genuine: Vec<&str> = genuine.lines().skip(1).collect();
    if verify(FIXED.as_bytes(), text, &trust()).is_ok() {
        assert!(genuine.iter().all(|line| text.contains(line)), "{text}");
    }
}
