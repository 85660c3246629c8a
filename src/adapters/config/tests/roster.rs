//! This gate's part of a roster, kept for the next load.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::adapters::files;
use crate::core::roster::minisign::{SecretKey, SignedBytes};
use crate::core::roster::{Installed, Notes, sealed};
use crate::model::roster::RosterInForce;
use crate::model::time::{Timestamp, parse_time};

const ROSTER: &str = "state.monitor/roster";
const KEPT: &str = "state.monitor/roster.part";

struct Gate(TempDir);

impl Gate {
    /// A gate with this private key.
    fn new(private: u8) -> Self {
        let gate = Self(tempfile::tempdir().unwrap());
        files::make_folder(&gate.path("state.monitor"), 0o700).unwrap();
        let trust = signer().public().line();
        let state = gate.path("state");
        gate.write(
            "posternd.toml",
            &format!(
                "[gate]\nname = \"g\"\nprivate_key = \"gate.key\"\nstate_dir = {state:?}\n[roster]\ntrust = [\"{trust}\"]\nmax_age = \"1h\"\n"
            ),
        );
        gate.write("gate.key", &pair(private).to_base64());
        gate
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        files::write_private(&self.path(name), text.as_bytes(), true).unwrap();
    }

    fn kept(&self) -> Vec<u8> {
        let bytes = files::read_private_bytes(&self.path(KEPT)).unwrap();
        bytes.to_vec()
    }

    /// Puts a roster in force whose user carol has this key, sealed for this private key of a gate. Returns its digest.
    fn install(&self, private: u8, carol: u8, confirmed: Timestamp) -> String {
        let secret = format!("key = \"{}\"\n", key(carol));
        let sealed = sealed("g", &pair(private).public(), "carol", &secret, &pair(99)).unwrap();
        let text = format!(
            "version = 1\nuntil = 2100-01-01T00:00:00Z\n[gate.g]\n[policy.p]\nservices = [\"tcp/22\"]\n[[user]]\nname = \"carol\"\npolicy = \"p\"\ngates = [\"g\"]\nsealed = {{ g = \"{sealed}\" }}\n"
        );
        let in_force = RosterInForce {
            version: 1,
            until: parse_time("2100-01-01T00:00:00Z").unwrap(),
            signatures: 1,
            confirmed,
        };
        let installed = Installed {
            notes: Notes {
                in_force,
                closed: Vec::new(),
            },
            signatures: &signer().sign(text.as_bytes(), "").lines(),
            text: &text,
        };
        self.write(ROSTER, &installed.write());
        SignedBytes::new(text.as_bytes()).digest()
    }

    /// What is loaded of carol: her key, and when she ends.
    fn carol(&self) -> Result<(Hint, Option<Timestamp>), String> {
        let loaded = disk::load_and_keep(&self.path("posternd.toml"));
        let (bundle, _) = loaded.map_err(|error| error.message)?;
        let loaded = load(&bundle).unwrap();
        Ok((hint(&loaded.keys[0]), loaded.settings.policies[0].expires))
    }
}

fn signer() -> SecretKey {
    SecretKey::from_random([1; 8], &Zeroizing::new([7; 32]))
}

fn end(confirmed: Timestamp) -> Option<Timestamp> {
    Some(confirmed.plus(std::time::Duration::from_secs(3600)))
}

#[test]
fn kept_part_saves_opening_secrets() {
    let (gate, now) = (Gate::new(1), parse_time(UNTIL).unwrap());
    let late = end(now).unwrap();
    gate.install(1, 20, now);
    let first = (hint(&shared(20)), end(now));
    assert_eq!(gate.carol(), Ok(first));
    let kept = gate.kept();
    assert!(!String::from_utf8_lossy(&kept).contains("carol"));
    // No secret of this roster can be opened, so a load of it opened none.
    let digest = gate.install(2, 30, now);
    let fault = "the secret of user carol is not sealed for this gate's private key";
    assert!(
        gate.carol().unwrap_err().contains(fault),
        "the kept part is another roster's"
    );
    let mut bundle = disk::read_bundle(&gate.path("posternd.toml")).unwrap();
    bundle.keys.push(BundleFile::new(
        gate.path("gate.key"),
        pair(1).to_base64().to_string(),
    ));
    let place = roster_place(bundle.main.as_ref().unwrap()).unwrap();
    let part = format!(
        "[[user]]\nname = \"carol\"\nservices = [\"tcp/22\"]\nkey = \"{}\"\n",
        key(40)
    );
    bundle.roster = Some(BundleFile::new("part", part));
    place.keep(&bundle, &digest, now, &[]);
    assert_eq!(gate.carol(), Ok((hint(&shared(40)), None)));
    // With another key, another end or a damage it does not count.
    gate.write("gate.key", &pair(3).to_base64());
    assert!(gate.carol().unwrap_err().contains(fault));
    gate.write("gate.key", &pair(1).to_base64());
    assert!(gate.carol().is_ok());
    gate.install(2, 30, late);
    assert!(gate.carol().unwrap_err().contains(fault));
    // A roster whose secrets open is read anew, and kept.
    gate.install(1, 20, late);
    for damaged in [&kept[..], &kept[..40], b""] {
        files::write_private(&gate.path(KEPT), damaged, true).unwrap();
        assert_eq!(gate.carol(), Ok((hint(&shared(20)), end(late))));
        assert_ne!(gate.kept(), damaged);
    }
}

#[test]
fn notes_need_no_more_of_the_file() {
    let (gate, now) = (Gate::new(1), parse_time(UNTIL).unwrap());
    let main = disk::read_main(&gate.path("posternd.toml")).unwrap();
    let place = roster_place(&main).unwrap();
    assert_eq!(place.notes(), None, "there is no roster");
    gate.install(1, 20, now);
    let file = place.read().unwrap().unwrap();
    let notes = Installed::read(&file.text).unwrap().notes;
    assert_eq!(place.notes().as_ref(), Some(&notes));
    gate.write(ROSTER, &file.text[..file.text.find("until =").unwrap()]);
    assert_eq!(place.notes(), None, "it is cut");
    let (start, _) = file.text.split_once("untrusted comment").unwrap();
    gate.write(ROSTER, start);
    assert_eq!(place.notes(), Some(notes));
    gate.write(ROSTER, &file.text);
    std::fs::set_permissions(gate.path(ROSTER), PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(place.notes(), None, "others can read it");
}
