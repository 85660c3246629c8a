//! The `[roster]` section.

use super::fields::Fields;
use super::problem::{Refusal, refusal};
use super::values;
use crate::core::roster::minisign::{PublicKey, SIGNATURES_MAX};
use crate::model::roster::{Freshness, RosterSettings};

/// Of `max_age`, in seconds.
const AGES: (u64, u64) = (60, 366 * 86_400);

pub(super) fn read(fields: &Fields<'_>) -> Option<RosterSettings> {
    fields.only(&[
        "trust",
        "signatures",
        "url",
        "ca_file",
        "from",
        "stale",
        "max_age",
    ]);
    fields.require("trust", "[\"…\"], the public keys of those who sign it");
    let trust = fields.texts("trust", |text| {
        let key = PublicKey::parse(text).ok().map(|key| key.line());
        let cure = "write the line that posternd roster init or minisign -G prints, from RW on";
        key.ok_or_else(|| refusal("this is no public key of a signer", cure))
    });
    let mut trust: Vec<String> = trust?.into_iter().map(|(_, key)| key).collect();
    trust.sort_unstable();
    trust.dedup();
    if trust.is_empty() || trust.len() > SIGNATURES_MAX {
        let what = format!("trust lists {} keys", trust.len());
        fields.refuse("trust", what, format!("write 1 to {SIGNATURES_MAX} keys"));
        return None;
    }
    let most = u16::try_from(trust.len()).unwrap_or(u16::MAX);
    let signatures = fields.number("signatures", 1..=most);
    fields.requires(
        "ca_file",
        "url",
        "remove ca_file, or add url = \"https://…\"",
    );
    Some(RosterSettings {
        trust,
        signatures: signatures.map_or(1, usize::from),
        url: fields.text("url", url).map(str::to_owned),
        from_coordinator: fields
            .word("from", &[("coordinator", true)])
            .unwrap_or_default(),
        ca_file: fields.text("ca_file", values::absolute),
        freshness: freshness(fields),
    })
}

fn url(text: &str) -> Result<&str, Refusal> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain && !rest.is_empty() && !rest.contains('@') {
        return Ok(text);
    }
    let cure = "write url = \"https://host.example.org/fleet.toml\", without a user or a password";
    Err(refusal("url is not the https address of a roster", cure))
}

fn freshness(fields: &Fields<'_>) -> Freshness {
    fields.requires(
        "stale",
        "max_age",
        "add max_age = \"168h\", or remove stale",
    );
    let (least, most) = AGES;
    let age = fields.text("max_age", values::bounded("max_age", least, most));
    let is_strict = fields.word("stale", &[("strict", true), ("best_effort", false)]);
    match (age, is_strict.unwrap_or(true)) {
        (None, _) => Freshness::Any,
        (Some(age), true) => Freshness::Strict(age),
        (Some(age), false) => Freshness::BestEffort(age),
    }
}
