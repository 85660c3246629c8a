//! The key that a user had before and that counts for a while yet: `old_key` or `old_public_key`, and `old_until`.
//!
//! Whether that time is over is the gate's to say: nothing here reads a clock.

use postern_proto::{PresharedKey, PublicKey, SharedKey};
use toml::de::DeValue;

use super::fields::{Fields, wrong_type};
use super::page::Page;
use super::problem::{Fault, fault};
use super::secret;
use super::user::Secret;
use crate::model::time::{Timestamp, parse_time};

/// The keys of the config that are read here.
pub(super) const KEYS: [&str; 4] = ["old_key", "old_public_key", "old_psk", "old_until"];

pub(super) struct Old {
    pub(super) secret: Secret,
    pub(super) until: Timestamp,
}

/// What a user's table says of an old key; `None` where it says nothing, or the page says what is wrong with it.
pub(super) fn read(page: &mut Page<'_>, fields: &Fields<'_>) -> Option<Old> {
    let until = until(page, fields);
    let secret = match (fields.has("old_key"), fields.has("old_public_key")) {
        (true, true) => {
            page.refuse(
                fields.span_of("old_public_key"),
                fault(
                    "this user has both old_key and old_public_key",
                    "keep one of the two",
                ),
            );
            None
        }
        (true, false) => fields
            .text(page, "old_key", |text| {
                secret::key(text, SharedKey::from_base64)
            })
            .map(Secret::Shared),
        (false, true) => {
            let preshared = fields.text(page, "old_psk", |text| {
                secret::key(text, PresharedKey::from_base64)
            });
            let wrong = preshared.is_none() && fields.has("old_psk");
            let public = fields.text(page, "old_public_key", |text| {
                secret::key(text, PublicKey::from_base64)
            });
            public
                .filter(|_| !wrong)
                .map(|public| Secret::Pair(public, preshared))
        }
        (false, false) => {
            if fields.has("old_until") {
                page.refuse(
                    fields.span_of("old_until"),
                    fault(
                        "old_until stands without an old key",
                        "add old_key or old_public_key, or take it out",
                    ),
                );
            }
            None
        }
    };
    if fields.has("old_psk") && !fields.has("old_public_key") {
        page.refuse(
            fields.span_of("old_psk"),
            fault(
                "old_psk stands without old_public_key",
                "take old_psk out; it only strengthens a key pair",
            ),
        );
    }
    if let Some(kind) = ["old_key", "old_public_key"]
        .into_iter()
        .find(|kind| fields.has(kind))
        && !fields.has("old_until")
    {
        let cure = "add old_until = 2026-12-01T00:00:00Z, the moment from which on only the new key counts";
        page.refuse(
            fields.span_of(kind),
            fault(format!("{kind} has no end"), cure),
        );
    }
    Some(Old {
        secret: secret?,
        until: until?,
    })
}

/// A time of TOML's own, or the same in quotes.
fn until(page: &mut Page<'_>, fields: &Fields<'_>) -> Option<Timestamp> {
    let value = fields.get("old_until")?;
    let read = match value.get_ref() {
        DeValue::Datetime(time) => {
            parse_time(&time.to_string()).map_err(|_| not_a_time("this time"))
        }
        DeValue::String(text) => parse_time(text).map_err(|_| not_a_time("this text")),
        other => Err(wrong_type(
            "old_until",
            "a time, 2026-12-01T00:00:00Z",
            other,
        )),
    };
    page.check(value.span(), read)
}

fn not_a_time(what: &str) -> Fault {
    fault(
        format!("{what} is no point in time with its offset"),
        "write it like 2026-12-01T00:00:00Z, for UTC",
    )
}
