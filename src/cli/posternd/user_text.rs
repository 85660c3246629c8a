//! Users as text and as JSON, without secrets.

use serde::{Serialize, Serializer};

use crate::adapters::config::{KeyKind, Listed, SequenceName};
use crate::adapters::control;
use crate::cli::columns::columns;
use crate::model::service;
use crate::model::time::{Timestamp, human};

pub(super) fn table(users: &[Listed], now: Timestamp) -> String {
    if users.is_empty() {
        return "there are no users\nnext: posternd user add NAME -s tcp/22\n".to_owned();
    }
    let rows = users.iter().map(|user| {
        [
            user.policy.user.to_string(),
            state(user, now),
            key(&user.key, user.totp),
            service::list(&user.policy.services),
            format!("{}:{}", user.file.display(), user.line),
        ]
    });
    columns(["NAME", "STATE", "KEY", "SERVICES", "FILE"], rows) + "next: posternd user show NAME\n"
}

pub(super) fn details(user: &Listed, now: Timestamp) -> String {
    let policy = &user.policy;
    let name = &policy.user;
    let list = |values: &[ipnet::IpNet], none: &str| {
        if values.is_empty() {
            none.to_owned()
        } else {
            service::list(values)
        }
    };
    let others = if user.own_file { "" } else { ", beside others" };
    let prefix = policy.max_prefix;
    let (usual, most) = (policy.duration, policy.max_duration);
    let connections = if policy.end_connections {
        "end with the grant"
    } else {
        "outlast the grant"
    };
    let mut rows = vec![
        ("state", state(user, now)),
        (
            "file",
            format!("{}:{}{others}", user.file.display(), user.line),
        ),
        ("key", key(&user.key, user.totp)),
        ("services", service::list(&policy.services)),
        ("targets", list(&policy.targets, "the gate itself")),
        ("from", list(&policy.from, "anywhere")),
        ("networks", list(&policy.networks, "none")),
        ("grant_to", policy.grant_to.name().to_owned()),
        (
            "max_prefix",
            format!("/{} for IPv4, /{} for IPv6", prefix.v4, prefix.v6),
        ),
        (
            "duration",
            format!("{}, at most {}", human(usual), human(most)),
        ),
        ("quota", policy.quota.to_string()),
        ("max_grants", policy.max_grants.to_string()),
        (
            "expires",
            policy
                .expires
                .map_or("never".to_owned(), |end| end.to_string()),
        ),
        ("connections", connections.to_owned()),
    ];
    if let KeyKind::Pair { public, .. } = &user.key {
        rows.insert(3, ("public_key", public.to_base64().to_string()));
    }
    if let Some((kind, until)) = &user.old {
        let ends = if *until > now { "works until" } else { "ended" };
        rows.insert(3, ("old key", format!("{}, {ends} {until}", kind.name())));
    }
    let mut text = format!("user {name}\n");
    for (what, value) in rows {
        text += &format!("  {what:<11} {value}\n");
    }
    let next = if !user.own_file {
        "edit it there, then: posternd reload".to_owned()
    } else if user.disabled {
        format!("posternd user enable {name}")
    } else if matches!(user.key, KeyKind::Fwknop { .. } | KeyKind::Sequence(_)) {
        format!("posternd user disable {name}, or remove")
    } else {
        format!("posternd user rotate {name}, or disable, or remove")
    };
    format!("{text}next: {next}\n")
}

/// All users as JSON, made one by one while they are written.
#[derive(Serialize)]
pub(super) struct JsonList<'u> {
    #[serde(serialize_with = "each")]
    users: (&'u [Listed], Timestamp),
    version: u32,
}

impl<'u> JsonList<'u> {
    pub(super) fn of(users: &'u [Listed], now: Timestamp) -> Self {
        Self {
            users: (users, now),
            version: control::VERSION,
        }
    }
}

fn each<S: Serializer>((users, now): &(&[Listed], Timestamp), to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(users.iter().map(|user| json(user, *now)))
}

pub(super) fn json(user: &Listed, now: Timestamp) -> serde_json::Value {
    let policy = &user.policy;
    let name = &policy.user;
    let (public_key, key_file, psk) = match &user.key {
        KeyKind::Shared | KeyKind::Fwknop { .. } | KeyKind::Sequence(_) => (None, None, false),
        KeyKind::SharedFile(path) => (None, Some(path.display().to_string()), false),
        KeyKind::Pair { public, psk } => (Some(public.to_base64().to_string()), None, *psk),
    };
    let old = user.old.as_ref().map(|(kind, until)| serde_json::json!({ "key": kind_word(kind), "until": until, "ended": *until <= now }));
    serde_json::json!({
        "name": name.as_str(), "file": user.file.display().to_string(), "line": user.line, "own_file": user.own_file, "disabled": user.disabled,
        "key": kind_word(&user.key), "public_key": public_key, "key_file": key_file, "psk": psk, "totp": user.totp, "old_key": old,
        "services": policy.services, "targets": policy.targets, "from": policy.from, "networks": policy.networks, "grant_to": policy.grant_to,
        "max_prefix": { "v4": policy.max_prefix.v4, "v6": policy.max_prefix.v6 },
        "duration_s": policy.duration.as_secs(), "max_duration_s": policy.max_duration.as_secs(), "quota": policy.quota.to_string(), "max_grants": policy.max_grants, "end_connections": policy.end_connections, "expires": policy.expires,
    })
}

fn state(user: &Listed, now: Timestamp) -> String {
    let old = user.old.as_ref().filter(|(_, until)| *until > now);
    match (old, user.policy.expires) {
        _ if user.disabled => "disabled".to_owned(),
        (_, Some(end)) if end <= now => format!("expired {end}"),
        (Some((_, until)), _) => format!("old key until {until}"),
        (None, Some(end)) => format!("expires {end}"),
        (None, None) => "active".to_owned(),
    }
}

fn key(kind: &KeyKind, totp: bool) -> String {
    format!("{}{}", kind.name(), if totp { " and code" } else { "" })
}

fn kind_word(kind: &KeyKind) -> &'static str {
    match kind {
        KeyKind::Shared => "shared",
        KeyKind::SharedFile(_) => "shared-file",
        KeyKind::Pair { .. } => "pair",
        KeyKind::Fwknop { hmac: true } => "fwknop",
        KeyKind::Fwknop { hmac: false } => "fwknop-without-hmac",
        KeyKind::Sequence(SequenceName::Plain) => "sequence",
        KeyKind::Sequence(SequenceName::OneTime) => "one-time-sequences",
        KeyKind::Sequence(SequenceName::Keyed) => "keyed-sequence",
        KeyKind::Sequence(SequenceName::Encrypted) => "encrypted-sequence",
    }
}
