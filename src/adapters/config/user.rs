//! The policy in one user's table.

use super::fields::Fields;
use super::main_file::MainFile;
use super::problem::{quoted, refusal};
use super::sequence_user;
use super::user_keys;
use super::values;
use crate::model::policy::{self, GrantTo, MaxPrefix, Policy};
use crate::model::service::Wanted;
use crate::model::time;

/// Beside those of a policy.
const OWN_KEYS: [&str; 3] = ["name", "disabled", "break_glass"];

/// More do not fit into the firewall, see `PORTS_MAX` of the ledger.
const MAX_GRANTS: u16 = 32_768;

/// A user's policy; `None` if it is wrong. `main` is `None` if `posternd.toml` is not TOML.
pub(super) fn policy(fields: &Fields<'_>, main: Option<&MainFile>) -> Option<Policy> {
    let keys = [&OWN_KEYS[..], &policy::KEYS, &user_keys::KEYS];
    fields.only(&[&keys.concat()[..], &sequence_user::KEYS].concat());
    fields.require("name", "\"alice\"");
    fields.require("services", "[\"tcp/22\"]");
    let name = fields.text("name", values::user_name);
    let services = services(fields, main);
    // The other values are read even if these are wrong, so that all problems are reported at once.
    let mut policy = Policy::for_user(
        name.unwrap_or_default(),
        services.clone().unwrap_or_default(),
    );
    if let Some(targets) = fields.texts("targets", values::network) {
        policy.targets = targets.into_iter().map(|(_, network)| network).collect();
    }
    if let Some(from) = fields.texts("from", values::network) {
        if from.is_empty() {
            let cure = "remove from to admit knocks from anywhere, or name networks, like [\"203.0.113.0/24\"]";
            let what = "from is empty, so no knock could be admitted";
            fields.refuse("from", what, cure);
        }
        policy.from = from.into_iter().map(|(_, network)| network).collect();
    }
    policy.expires = fields.time(
        "expires",
        "a time or a day, 2027-06-30",
        values::time_or_day,
    );
    let kinds = GrantTo::ALL.map(|kind| (kind.name(), kind));
    policy.grant_to = fields.word("grant_to", &kinds).unwrap_or(policy.grant_to);
    if let Some(networks) = fields.texts("networks", values::network) {
        if networks.is_empty() {
            let cure =
                "remove networks to allow any address, or name some, like [\"192.0.2.0/24\"]";
            let what = "networks is empty, so no address could be allowed";
            fields.refuse("networks", what, cure);
        }
        policy.networks = networks.into_iter().map(|(_, network)| network).collect();
    }
    if let Some(mut fields) = fields.table("max_prefix", "max_prefix = { v4 = 32, v6 = 128 }") {
        fields.name = "max_prefix";
        policy.max_prefix = max_prefix(&fields, policy.max_prefix);
    }
    durations(fields, &mut policy);
    policy.quota = fields.text("quota", values::quota).unwrap_or(policy.quota);
    let most = fields.number("max_grants", 1..=MAX_GRANTS);
    policy.max_grants = most.unwrap_or(policy.max_grants);
    policy.end_connections = fields.flag("end_connections").unwrap_or_default();
    policy.break_glass = fields.flag("break_glass").unwrap_or_default();
    if policy.break_glass {
        check_break_glass(fields, main);
    }
    (name.is_some() && services.is_some()).then_some(policy)
}

/// The key must open no other gate of the cluster.
fn check_break_glass(fields: &Fields<'_>, main: Option<&MainFile>) {
    if main.is_some_and(|main| !main.has_member()) {
        let what = "break_glass requires [cluster] with member";
        let cure = "add member = \"gate1.example.org\", the gate name of this user's clients";
        fields.refuse("break_glass", what, cure);
    }
    if let Some(kind) = ["fwknop", "sequence", "sequences_file"]
        .into_iter()
        .find(|kind| fields.has(kind))
    {
        let what =
            format!("break_glass can't be used with {kind}, which has no gate name in its key");
        let cure = "give the user key, key_file or public_key";
        fields.refuse("break_glass", what, cure);
    }
}

fn services(fields: &Fields<'_>, main: Option<&MainFile>) -> Option<Vec<Wanted>> {
    let wanted = fields.texts("services", values::wanted)?;
    if wanted.is_empty() {
        let cure = "write services = [\"tcp/22\"], or remove the user";
        fields.refuse("services", "this user has no services", cure);
        return None;
    }
    let unknown = |wanted: &Wanted| match wanted {
        Wanted::Named(name) if !main?.services.names.contains_key(name) => Some(quoted(name)),
        _ => None,
    };
    for (at, wanted) in &wanted {
        if let Some(name) = unknown(wanted) {
            let cure =
                "add a [service.NAME] with this name to posternd.toml, or write ports like tcp/22";
            fields
                .file
                .refuse(*at, refusal(format!("unknown service {name}"), cure));
        }
    }
    Some(wanted.into_iter().map(|(_, wanted)| wanted).collect())
}

fn max_prefix(fields: &Fields<'_>, default: MaxPrefix) -> MaxPrefix {
    fields.only(&["v4", "v6"]);
    let bits = |key, most, default| {
        let bits = fields.number(key, 0..=most);
        bits.and_then(|bits| u8::try_from(bits).ok())
            .unwrap_or(default)
    };
    MaxPrefix {
        v4: bits("v4", 32, default.v4),
        v6: bits("v6", 128, default.v6),
    }
}

fn durations(fields: &Fields<'_>, policy: &mut Policy) {
    let longest = fields.text("max_duration", values::max_duration);
    let is_wrong = longest.is_none() && fields.has("max_duration");
    policy.max_duration = longest.unwrap_or(policy.max_duration);
    match fields.text("duration", values::duration) {
        Some(duration) if duration > policy.max_duration && !is_wrong => {
            let (long, longest) = (time::human(duration), time::human(policy.max_duration));
            let what = format!("a duration of {long} is longer than max_duration, {longest}");
            let cure = "shorten it, or raise max_duration (720h at most)";
            fields.refuse("duration", what, cure);
        }
        Some(duration) => policy.duration = duration,
        None => policy.duration = policy.duration.min(policy.max_duration),
    }
}
