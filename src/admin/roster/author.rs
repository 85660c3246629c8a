//! Makes, changes, signs and verifies a roster, where its users are kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use postern_proto::{PrivateKey, PublicKey, SharedKey};
use zeroize::Zeroizing;

use super::SignedFile;
use crate::adapters::clock;
use crate::adapters::config;
use crate::adapters::config::disk;
use crate::adapters::files;
use crate::adapters::random;
use crate::core::roster::minisign::{self, SecretKey, Signature, SignedBytes};
use crate::core::roster::{self, EditFault, Header, Roster, RosterUser, Trust};
use crate::model::exit::{CONFIG, DATA, ExitError, FAILED, SYSTEM, USAGE};
use crate::model::roster::RosterRefusal;
use crate::model::time::Timestamp;

/// How long a new roster lasts.
const USUAL: Duration = Duration::from_secs(30 * 86_400);

/// How many versions a signature may be ahead of its roster.
const JUMP_MAX: u64 = 1_000_000;

/// How a change ends: signed with this key, and with this end.
#[derive(Debug, Default)]
pub(crate) struct Signing<'a> {
    pub(crate) key: Option<&'a Path>,
    pub(crate) until: Option<Timestamp>,
}

/// What a roster is after a command.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) roster: Roster,
    /// The names of the keys whose signatures are in the file now.
    pub(crate) signers: Vec<String>,
    /// The key that signed now.
    pub(crate) public: Option<minisign::PublicKey>,
    /// Whether the file of that key is new.
    pub(crate) is_key_new: bool,
}

/// The key of a new user.
#[derive(Debug)]
pub(crate) enum NewKey<'a> {
    Public(PublicKey),
    /// A file with a shared key, which is sealed for each of the user's gates.
    Shared(&'a Path),
}

#[derive(Debug)]
pub(crate) struct NewUser<'a> {
    pub(crate) name: &'a str,
    pub(crate) policy: &'a str,
    pub(crate) gates: &'a [String],
    pub(crate) key: NewKey<'a>,
    pub(crate) expires: Option<&'a str>,
}

/// Makes a roster with these gates, each with its public key if it has one, and one policy for SSH. Makes the key if its file is
/// missing.
pub(crate) fn init(
    file: &SignedFile,
    gates: &[(String, Option<PublicKey>)],
    signing: &Signing<'_>,
) -> Result<State, ExitError> {
    let until = signing.until.unwrap_or_else(|| clock::wall().plus(USUAL));
    let until = Timestamp::from_millis(until.as_millis() / 1000 * 1000);
    let text = template(until, gates);
    let roster = Roster::parse(&text).map_err(|error| malformed(file, error))?;
    let is_key_new = match signing.key {
        Some(path) if path.symlink_metadata().is_err() => {
            make_key(path)?;
            true
        }
        _ => false,
    };
    let key = signing.key.map(secret_key).transpose()?;
    file.write_text(&text, true)?;
    let mut state = signed(file, &text, roster, key, Vec::new())?;
    state.is_key_new = is_key_new;
    Ok(state)
}

/// Adds a user.
pub(crate) fn add(
    file: &SignedFile,
    new: &NewUser<'_>,
    signing: &Signing<'_>,
) -> Result<State, ExitError> {
    let (text, roster) = read(file)?;
    if roster.user.iter().any(|user| user.name == new.name) {
        let (path, name) = (file.path.display(), new.name);
        let cure = format!("for a new key, first: posternd roster remove {name}");
        let what = format!("{path}: user {name} already exists; {cure}");
        return Err(ExitError::new(FAILED, what));
    }
    let expires = new.expires.map(str::parse).transpose();
    let mut user = RosterUser::new(new.name, new.policy, new.gates);
    user.set_expires(expires.map_err(|_| {
        let what = "--expires is neither a day nor a time with its offset; write 2027-06-30";
        ExitError::new(USAGE, what)
    })?);
    match &new.key {
        NewKey::Public(key) => user.public_key = Some(key.to_base64().to_string()),
        NewKey::Shared(path) => user.sealed = seal_for_gates(file, &roster, &user, path)?,
    }
    let changed = roster::with_user(&text, &user).map_err(|fault| edit_error(file, fault))?;
    finish(file, &roster, changed, signing)
}

/// Removes a user.
pub(crate) fn remove(
    file: &SignedFile,
    name: &str,
    signing: &Signing<'_>,
) -> Result<State, ExitError> {
    let (text, roster) = read(file)?;
    let changed = roster::without_user(&text, name).map_err(|fault| edit_error(file, fault))?;
    finish(file, &roster, changed, signing)
}

/// Signs a roster. A text that was changed after it was signed gets a higher version, and loses the signatures of others. Fails if there
/// is nothing to do without a key.
pub(crate) fn sign(file: &SignedFile, signing: &Signing<'_>) -> Result<State, ExitError> {
    let (text, roster) = read(file)?;
    let old = Signature::parse_all(&file.signatures()?).unwrap_or_default();
    let key = signing.key.map(secret_key).transpose()?;
    let digest = SignedBytes::new(text.as_bytes()).short_digest();
    let is_other = |one: &&Signature| one.comment_field("digest").is_some_and(|of| of != digest);
    let outdated = old.iter().filter(is_other);
    let outdated = outdated.filter_map(|one| one.comment_field("version")?.parse::<u64>().ok());
    let outdated = outdated.max();
    // Anyone can write into the file. A version this high could not be replaced at any gate.
    if outdated > Some(roster.version.saturating_add(JUMP_MAX)) {
        let file = file.signatures_path();
        let what = format!(
            "{} names a version that is too high; remove it",
            file.display()
        );
        return Err(ExitError::new(CONFIG, what));
    }
    if signing.until.is_some() || outdated >= Some(roster.version) {
        let header = Header {
            version: roster
                .version
                .max(outdated.unwrap_or_default())
                .saturating_add(1),
            until: signing.until,
        };
        let changed = roster::set_header(&text, header);
        let changed = changed.map_err(|fault| edit_error(file, fault))?;
        return store(file, changed, key);
    }
    // Whether the others are good is for the gates to decide.
    let kept: Vec<Signature> = old.into_iter().filter(|one| !is_other(&one)).collect();
    if key.is_none() && !kept.is_empty() {
        let path = file.path.display();
        let cure = "name one with --signing-key FILE, or sign with minisign -S -m ROSTER";
        let what = format!("{path}: it is signed, and no key was given to sign it again; {cure}");
        return Err(ExitError::new(FAILED, what));
    }
    signed(file, &text, roster, key, kept)
}

/// Checks the signatures and the content.
pub(crate) fn verify(
    file: &SignedFile,
    trust: &Trust,
) -> Result<Result<(Roster, Vec<String>), RosterRefusal>, ExitError> {
    let text = file.text()?;
    let verified = roster::verify(&text, &file.signatures()?, trust);
    let now = clock::wall();
    Ok(verified.and_then(|verified| {
        roster::check_end(&verified.roster, now)?;
        Ok((verified.roster, verified.signed.signers))
    }))
}

fn read(file: &SignedFile) -> Result<(String, Roster), ExitError> {
    let text = file.text()?;
    let text = String::from_utf8(text).map_err(|_| malformed(file, "it is not UTF-8 text"))?;
    let roster = Roster::parse(&text).map_err(|error| malformed(file, error))?;
    Ok((text, roster))
}

fn malformed(file: &SignedFile, what: impl std::fmt::Display) -> ExitError {
    ExitError::new(DATA, format!("{}: {what}", file.path.display()))
}

fn edit_error(file: &SignedFile, fault: EditFault) -> ExitError {
    let code = match fault {
        EditFault::NoUser(_) | EditFault::ByHand => FAILED,
        EditFault::Malformed(_) => DATA,
    };
    ExitError::new(code, format!("{}: {fault}", file.path.display()))
}

/// Raises the version of a changed text, writes and signs it.
fn finish(
    file: &SignedFile,
    old: &Roster,
    text: String,
    signing: &Signing<'_>,
) -> Result<State, ExitError> {
    let key = signing.key.map(secret_key).transpose()?;
    let header = Header {
        version: old.version.saturating_add(1),
        until: signing.until,
    };
    let text = roster::set_header(&text, header).map_err(|fault| edit_error(file, fault))?;
    store(file, text, key)
}

fn store(file: &SignedFile, text: String, key: Option<SecretKey>) -> Result<State, ExitError> {
    let roster = Roster::parse(&text).map_err(|error| malformed(file, error))?;
    file.write_text(&text, false)?;
    signed(file, &text, roster, key, Vec::new())
}

/// Adds a signature to those of others. Without a key the signatures stay as they are.
fn signed(
    file: &SignedFile,
    text: &str,
    roster: Roster,
    key: Option<SecretKey>,
    mut all: Vec<Signature>,
) -> Result<State, ExitError> {
    let Some(key) = key else {
        return Ok(State {
            roster,
            signers: all.iter().map(Signature::signer).collect(),
            public: None,
            is_key_new: false,
        });
    };
    let public = key.public();
    let seconds = clock::wall().as_millis() / 1000;
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let (version, digest) = (
        roster.version,
        SignedBytes::new(text.as_bytes()).short_digest(),
    );
    let comment = format!("timestamp:{seconds}\tfile:{name}\tversion:{version}\tdigest:{digest}");
    all.retain(|one| !one.names(&public));
    all.push(key.sign(text.as_bytes(), &comment));
    let lines: String = all.iter().map(Signature::lines).collect();
    file.write_signatures(&lines)?;
    Ok(State {
        roster,
        signers: all.iter().map(Signature::signer).collect(),
        public: Some(public),
        is_key_new: false,
    })
}

fn secret_key(path: &Path) -> Result<SecretKey, ExitError> {
    let text = files::read_private(path).map_err(disk::unreadable)?;
    SecretKey::parse(&text).map_err(|fault| {
        let cure = match fault {
            minisign::KeyFault::Password => {
                "sign with minisign -S -m ROSTER, or make a key without one: minisign -G -W"
            }
            minisign::KeyFault::Form => {
                "name the file of a secret key, from posternd roster init or minisign -G -W"
            }
        };
        ExitError::new(CONFIG, format!("{}: {fault}; {cure}", path.display()))
    })
}

fn make_key(path: &Path) -> Result<(), ExitError> {
    let random = ExitError::system::<std::io::Error>("making a key");
    let seed = random::bytes().and_then(|id| Ok((id, Zeroizing::new(random::bytes()?))));
    let (id, seed) = seed.map_err(random)?;
    let key = SecretKey::from_random(id, &seed);
    files::write_private(path, key.file().as_bytes(), false).map_err(disk::unreadable)
}

fn seal_for_gates(
    file: &SignedFile,
    roster: &Roster,
    user: &RosterUser,
    path: &Path,
) -> Result<BTreeMap<String, String>, ExitError> {
    let text = files::read_private(path).map_err(disk::unreadable)?;
    let key = SharedKey::from_base64(config::line_of(&text)).map_err(|error| {
        let cure = "write the one line that postern keygen prints";
        ExitError::new(CONFIG, format!("{}: {error}; {cure}", path.display()))
    })?;
    // One buffer that never grows: a move would leave a copy of the key.
    let key = key.to_base64();
    let mut secrets = Zeroizing::new(String::with_capacity(key.len().saturating_add(16)));
    for part in ["key = \"", &*key, "\"\n"] {
        secrets.push_str(part);
    }
    let seal = |gate: &str| {
        let public = roster
            .gate
            .get(gate)
            .and_then(|gate| gate.public_key.as_deref());
        let public = public.and_then(|key| PublicKey::from_base64(key).ok());
        let public = public.ok_or_else(|| {
            let cure = format!("add public_key to [gate.{gate:?}], or give the user a key pair");
            malformed(
                file,
                format!("gate {gate} has no public key to seal for; {cure}"),
            )
        })?;
        let fresh = random::bytes().map(Zeroizing::new);
        let fresh = fresh.map_err(ExitError::system("sealing a key"))?;
        let fresh = PrivateKey::from_bytes(*fresh);
        let sealed = roster::sealed(gate, &public, &user.name, &secrets, &fresh);
        let sealed = sealed.map_err(|error| ExitError::new(SYSTEM, error))?;
        Ok((gate.to_owned(), sealed))
    };
    roster.gates_of(&user.gates).into_iter().map(seal).collect()
}

fn template(until: Timestamp, gates: &[(String, Option<PublicKey>)]) -> String {
    let mut text = format!(
        "# A roster of Postern: users, and the gates that they may open. See docs/roster.md.\n\
         # Change it here or with `posternd roster add` and `remove`, then sign it.\n\
         version = 1\n\
         until = {until}\n\
         # How many of the trusted keys must sign it.\n\
         signatures = 1\n\n"
    );
    let names: Vec<String> = gates.iter().map(|(name, _)| format!("{name:?}")).collect();
    text.push_str(&format!("[group]\nall = [{}]\n\n", names.join(", ")));
    for (name, key) in gates {
        text.push_str(&format!("[gate.{name:?}]\n"));
        match key {
            Some(key) => text.push_str(&format!("public_key = \"{key}\"\n\n")),
            None => text.push('\n'),
        }
    }
    text.push_str("[policy.ssh]\nservices = [\"tcp/22\"]\n");
    text
}
