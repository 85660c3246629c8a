//! Rosters: signed files with users, and the parts of them that a gate takes. Pure.
//!
//! A gate verifies signatures before it parses anything. It takes a higher version only, and only one that names it.

mod division;
mod edit;
mod installed;
pub mod minisign;
mod part;
pub mod published;
#[cfg(test)]
mod tests;
mod text;

pub use division::Malformed;
pub use edit::{EditFault, Header, set_header, with_user, without_user};
pub(crate) use installed::BREAK_LINE;
pub use installed::{Floor, Installed, Notes};
use part::PartWriter;
pub use part::{Part, SealFault, has_sealed, needs_gate_key, opened, sealed};
pub use text::{Roster, RosterUser};

use minisign::{PublicKey, Signature, SignedBytes};

use crate::model::roster::{ROSTER_MAX, RosterFault, RosterRefusal, SIGNATURES_TEXT_MAX};
use crate::model::time::Timestamp;

/// Whose signatures count, and how many are needed at least.
#[derive(Debug, Clone)]
pub struct Trust {
    pub keys: Vec<PublicKey>,
    pub signatures: usize,
}

/// A text that enough trusted keys signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<'a> {
    pub text: &'a str,
    /// Of the text, to compare it with others.
    pub digest: String,
    /// The names of the trusted keys that signed it.
    pub signers: Vec<String>,
}

/// A roster that is signed by enough trusted keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified<'a> {
    pub signed: Signed<'a>,
    pub roster: Roster,
}

fn refusal(fault: RosterFault, why: impl Into<String>) -> RosterRefusal {
    RosterRefusal::new(fault, why)
}

/// Checks the signatures, then the text. Parses nothing that no trusted key signed.
pub fn verify<'a>(
    text: &'a [u8],
    signatures: &str,
    trust: &Trust,
) -> Result<Verified<'a>, RosterRefusal> {
    let signed = verify_signatures(text, signatures, trust)?;
    let roster = Roster::parse(signed.text).map_err(is_malformed)?;
    too_few(&signed.signers, roster.signatures)?;
    Ok(Verified { signed, roster })
}

/// Checks the signatures of a roster that was verified before. It asked for so many of them.
pub fn verify_again<'a>(
    text: &'a [u8],
    signatures: &str,
    trust: &Trust,
    asked: usize,
) -> Result<Signed<'a>, RosterRefusal> {
    let signed = verify_signatures(text, signatures, trust)?;
    too_few(&signed.signers, asked)?;
    Ok(signed)
}

/// One gate's part of a roster that was verified before, which takes less memory than the whole. Nothing in it counts after `end`.
pub fn signed_part(
    signed: &Signed<'_>,
    gate: &str,
    end: Option<Timestamp>,
) -> Result<Part, RosterRefusal> {
    let mut writer = PartWriter::new(gate, end);
    // A part is about as long as the roster. A text that grows would leave holes in memory.
    let length = signed.text.len().saturating_mul(5) / 4;
    writer.part.users.reserve(length);
    let roster = Roster::each_user(signed.text, |roster, user| writer.add(roster, &user));
    too_few(&signed.signers, roster.map_err(is_malformed)?.signatures)?;
    Ok(writer.part)
}

fn is_malformed(error: Malformed) -> RosterRefusal {
    refusal(RosterFault::Malformed, error.to_string())
}

fn verify_signatures<'a>(
    text: &'a [u8],
    signatures: &str,
    trust: &Trust,
) -> Result<Signed<'a>, RosterRefusal> {
    if text.len() > ROSTER_MAX || signatures.len() > SIGNATURES_TEXT_MAX {
        return Err(too_large());
    }
    if signatures.trim().is_empty() {
        let why = "it has no signature; sign it with: posternd roster sign";
        return Err(refusal(RosterFault::Unsigned, why));
    }
    let Some(all) = Signature::parse_all(signatures) else {
        let why = "its signatures are not in minisign's format; sign it again";
        return Err(refusal(RosterFault::Unsigned, why));
    };
    let bytes = SignedBytes::new(text);
    let signed = |key: &&PublicKey| all.iter().any(|one| one.verifies(key, &bytes));
    let mut signed_by: Vec<&PublicKey> = Vec::new();
    for key in trust.keys.iter().filter(signed) {
        // A key that is listed under two names counts once.
        if !signed_by.iter().any(|one| one.is_same_key(key)) {
            signed_by.push(key);
        }
    }
    let signers: Vec<String> = signed_by.into_iter().map(PublicKey::id).collect();
    if signers.is_empty() {
        let is_named = |key: &PublicKey| all.iter().any(|one| one.names(key));
        return Err(if trust.keys.iter().any(is_named) {
            let why = "it is not what a trusted key signed: changed, cut short or longer";
            refusal(RosterFault::BadSignature, why)
        } else {
            let why = "no trusted key signed it; the trusted keys are in [roster] trust";
            refusal(RosterFault::Untrusted, why)
        });
    }
    too_few(&signers, trust.signatures)?;
    let text = std::str::from_utf8(text)
        .map_err(|_| refusal(RosterFault::Malformed, "it is not UTF-8 text"))?;
    Ok(Signed {
        text,
        digest: bytes.digest(),
        signers,
    })
}

pub fn too_large() -> RosterRefusal {
    let why = format!("it is larger than {} MiB", ROSTER_MAX >> 20);
    refusal(RosterFault::TooLarge, why)
}

fn too_few(signers: &[String], needed: usize) -> Result<(), RosterRefusal> {
    let found = signers.len();
    if found >= needed {
        return Ok(());
    }
    let why = format!("{found} of {needed} trusted keys signed it; let others sign it, too");
    Err(refusal(RosterFault::TooFewSignatures, why))
}

/// Whether a gate takes a verified roster after the last one: a newer one, or the same again.
pub fn accept(
    verified: &Verified<'_>,
    gate: &str,
    last: Option<&Floor>,
    now: Timestamp,
) -> Result<(), RosterRefusal> {
    let roster = &verified.roster;
    if let Some(last) = last {
        // A stolen key must not lower the number for itself.
        too_few(&verified.signed.signers, last.signatures)?;
    }
    if !roster.gate.contains_key(gate) {
        let why = format!("it is for other gates: it has no [gate.{gate:?}]");
        return Err(refusal(RosterFault::OtherGate, why));
    }
    let version = roster.version;
    if let Some(last) = last
        && version <= last.version
        && (version, &verified.signed.digest) != (last.version, &last.digest)
    {
        let why = format!(
            "its version {version} is not higher than {}, which this gate has",
            last.version
        );
        return Err(refusal(RosterFault::Older, why));
    }
    check_end(roster, now)
}

/// Whether a roster has not ended.
pub fn check_end(roster: &Roster, now: Timestamp) -> Result<(), RosterRefusal> {
    let until = roster.until();
    if until > now {
        return Ok(());
    }
    let why = format!("it ended at {until}; sign it again with --until");
    Err(refusal(RosterFault::Expired, why))
}
