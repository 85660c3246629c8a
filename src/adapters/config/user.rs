//! One user's table: the policy and the keys of DESIGN section 4.
//!
//! What needs other users (names and keys given twice) is the user table's.

use postern_proto::{CodeKey, CodeKeyError, PresharedKey, PublicKey, SharedKey};

use super::bounds;
use super::fields::{Fields, one_of};
use super::page::Page;
use super::problem::fault;
use super::quota;
use super::secret::{self, KeyTexts};
use super::sections::Head;
use crate::model::policy::{GrantTo, MaxPrefix, Policy};
use crate::model::service::Wanted;
use crate::model::time;

const KEYS: &[&str] = &[
    "name",
    "key",
    "key_file",
    "public_key",
    "psk",
    "totp",
    "totp_digits",
    "services",
    "targets",
    "grant_to",
    "networks",
    "max_prefix",
    "duration",
    "max_duration",
    "quota",
    "end_connections",
    "disabled",
];
const KEY_KINDS: [&str; 3] = ["key", "key_file", "public_key"];

/// What a user is known by.
pub(super) enum Secret {
    Shared(SharedKey),
    Pair(PublicKey, Option<PresharedKey>),
}

/// A user's policy; `None` where the page says what is wrong with it. `head` is missing where `posternd.toml` is not TOML.
pub(super) fn policy(
    page: &mut Page<'_>,
    fields: &Fields<'_>,
    head: Option<&Head>,
) -> Option<Policy> {
    fields.only(page, &[KEYS, &super::old::KEYS].concat());
    fields.require(page, "name", "\"alice\"");
    fields.require(page, "services", "[\"tcp/22\"]");
    let name = fields.text(page, "name", bounds::user_name);
    let services = services(page, fields, head);
    // The other values are looked at even where these are wrong, so that all is said at once.
    let mut policy = Policy::for_user(
        name.unwrap_or_default(),
        services.as_deref().unwrap_or_default().to_vec(),
    );
    if let Some(targets) = fields.texts(page, "targets", bounds::network) {
        policy.targets = targets.into_iter().map(|(_, network)| network).collect();
    }
    let kinds = [
        ("claimed", GrantTo::Claimed),
        ("observed", GrantTo::Observed),
        ("either", GrantTo::Either),
    ];
    if let Some(grant_to) = fields.text(page, "grant_to", |text| one_of("grant_to", &kinds, text)) {
        policy.grant_to = grant_to;
    }
    networks(page, fields, &mut policy);
    if let Some(widest) = fields.table(page, "max_prefix", "max_prefix = { v4 = 32, v6 = 128 }") {
        policy.max_prefix = max_prefix(page, &widest, policy.max_prefix);
    }
    durations(page, fields, &mut policy);
    if let Some(quota) = fields.text(page, "quota", quota::read) {
        policy.quota = quota;
    }
    policy.end_connections = fields.flag(page, "end_connections").unwrap_or_default();
    (name.is_some() && services.is_some()).then_some(policy)
}

fn services(page: &mut Page<'_>, fields: &Fields<'_>, head: Option<&Head>) -> Option<Vec<Wanted>> {
    let wanted = fields.texts(page, "services", bounds::wanted)?;
    if wanted.is_empty() {
        page.refuse(
            fields.span_of("services"),
            fault(
                "this user may open nothing",
                "write services = [\"tcp/22\"], or take the user out",
            ),
        );
        return None;
    }
    let mut known = Vec::with_capacity(wanted.len());
    for (span, wanted) in wanted {
        match &wanted {
            Wanted::Named(name) if head.is_some_and(|head| !head.service_names.contains(name)) => {
                let what = format!(
                    "{} is no service of this gate",
                    super::problem::quoted(name)
                );
                page.refuse(span, fault(what, "add a [service.NAME] of this name to posternd.toml, or write ports like tcp/22"));
            }
            _ => known.push(wanted),
        }
    }
    Some(known)
}

fn networks(page: &mut Page<'_>, fields: &Fields<'_>, policy: &mut Policy) {
    let Some(networks) = fields.texts(page, "networks", bounds::network) else {
        return;
    };
    if networks.is_empty() {
        let cure =
            "leave networks out to let any address in, or name some, like [\"192.0.2.0/24\"]";
        page.refuse(
            fields.span_of("networks"),
            fault("networks is empty: no address could ever be let in", cure),
        );
    }
    policy.networks = networks.into_iter().map(|(_, network)| network).collect();
}

fn max_prefix(page: &mut Page<'_>, fields: &Fields<'_>, default: MaxPrefix) -> MaxPrefix {
    fields.only(page, &["v4", "v6"]);
    let mut bits = |key, most, default| {
        fields
            .number(page, key, 0, most)
            .and_then(|bits| u8::try_from(bits).ok())
            .unwrap_or(default)
    };
    MaxPrefix {
        v4: bits("v4", 32, default.v4),
        v6: bits("v6", 128, default.v6),
    }
}

fn durations(page: &mut Page<'_>, fields: &Fields<'_>, policy: &mut Policy) {
    let longest = fields.text(page, "max_duration", bounds::max_duration);
    let wrong = longest.is_none() && fields.has("max_duration");
    policy.max_duration = longest.unwrap_or(policy.max_duration);
    match fields.text(page, "duration", bounds::duration) {
        Some(duration) if duration > policy.max_duration && !wrong => {
            let what = format!(
                "a duration of {} is longer than max_duration, {}",
                time::human(duration),
                time::human(policy.max_duration)
            );
            page.refuse(
                fields.span_of("duration"),
                fault(what, "shorten it, or raise max_duration (720h at most)"),
            );
        }
        Some(duration) => policy.duration = duration,
        None => policy.duration = policy.duration.min(policy.max_duration),
    }
}

/// The user's key; `None` where the page says what is wrong with it.
pub(super) fn secret(
    page: &mut Page<'_>,
    fields: &Fields<'_>,
    texts: &KeyTexts<'_>,
) -> Option<Secret> {
    if fields.has("psk") && !fields.has("public_key") {
        page.refuse(
            fields.span_of("psk"),
            fault(
                "psk stands without public_key",
                "take psk out; it only strengthens a key pair",
            ),
        );
    }
    let mut given: Vec<&str> = KEY_KINDS
        .into_iter()
        .filter(|kind| fields.has(kind))
        .collect();
    given.sort_by_key(|kind| fields.span_of(kind).start);
    match given.as_slice() {
        ["key"] => fields
            .text(page, "key", |text| {
                secret::key(text, SharedKey::from_base64)
            })
            .map(Secret::Shared),
        ["key_file"] => key_file(page, fields, texts).map(Secret::Shared),
        ["public_key"] => {
            let preshared = fields.text(page, "psk", |text| {
                secret::key(text, PresharedKey::from_base64)
            });
            let wrong = preshared.is_none() && fields.has("psk");
            let public = fields.text(page, "public_key", |text| {
                secret::key(text, PublicKey::from_base64)
            })?;
            (!wrong).then_some(Secret::Pair(public, preshared))
        }
        [] => {
            let cure =
                "add key = \"…\", the line that postern keygen prints, or key_file or public_key";
            page.refuse(fields.span.clone(), fault("this user has no key", cure));
            None
        }
        [first, second, ..] => {
            page.refuse(
                fields.span_of(second),
                fault(
                    format!("this user has both {first} and {second}"),
                    "keep one of key, key_file, public_key",
                ),
            );
            None
        }
        [_] => None,
    }
}

/// The secret of the one-time codes that the user must send. What is wrong with it is said without a byte of it.
pub(super) fn code_key(page: &mut Page<'_>, fields: &Fields<'_>) -> Option<CodeKey> {
    if fields.has("totp_digits") && !fields.has("totp") {
        page.refuse(
            fields.span_of("totp_digits"),
            fault(
                "totp_digits stands without totp",
                "add totp = \"BASE32\", or take it out",
            ),
        );
    }
    let digits = fields
        .number(page, "totp_digits", 6, 8)
        .and_then(|digits| u8::try_from(digits).ok())
        .unwrap_or(6);
    fields.text(page, "totp", |text| {
        CodeKey::from_base32(text, digits).map_err(|error| {
            let cure = match error {
                CodeKeyError::Digits => "write totp_digits = 6, 7 or 8",
                CodeKeyError::Base32 | CodeKeyError::Length => {
                    "write 32 characters of base32, the text form of 20 random bytes"
                }
            };
            fault(format!("totp: {error}"), cure)
        })
    })
}

fn key_file(page: &mut Page<'_>, fields: &Fields<'_>, texts: &KeyTexts<'_>) -> Option<SharedKey> {
    let file = page.path;
    let path = fields.text(page, "key_file", |text| bounds::key_path(file, text))?;
    let named_at = page.named(fields.span_of("key_file").start);
    texts
        .key(&path, SharedKey::from_base64, &named_at)
        .map_err(|problem| page.refuse_other(problem))
        .ok()
}
