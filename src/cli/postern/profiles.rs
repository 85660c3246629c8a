//! `postern profiles`: what the config has, for people and for programs. Never a key, nor where one lies.

use std::fmt::Write;
use std::path::Path;

use super::arguments::Profiles;
use super::json::{Listed, ListedProfile};
use super::{Failure, gate, json, say};
use crate::client::profile::{CodeSource, Profile};
use crate::model::service;

pub(super) fn profiles(arguments: &Profiles, config: Option<&Path>) -> Result<(), Failure> {
    let (profiles, path) = gate::profiles(config)?;
    if arguments.json {
        let profiles = profiles
            .into_iter()
            .map(|(name, profile)| listed(name, profile))
            .collect();
        return json::write(
            "profiles",
            Listed {
                file: path.display().to_string(),
                profiles,
            },
        );
    }
    if profiles.is_empty() {
        return say(&format!("{} has no profile\n", path.display()));
    }
    let rows: Vec<[String; 4]> = profiles
        .iter()
        .map(|(name, profile)| row(name, profile))
        .collect();
    say(&table(&rows))
}

fn row(name: &str, profile: &Profile) -> [String; 4] {
    let addresses: Vec<String> = profile.addresses.iter().map(ToString::to_string).collect();
    let services = match service::list(&profile.services) {
        none if none.is_empty() => "(none)".to_owned(),
        services => services,
    };
    let target = profile
        .target
        .as_ref()
        .map(|target| format!(" on {target}"))
        .unwrap_or_default();
    [
        name.to_owned(),
        profile.gate.to_string(),
        addresses.join(", "),
        services + &target,
    ]
}

/// In columns, each as wide as its widest word; the last one is not filled up.
fn table(rows: &[[String; 4]]) -> String {
    let head = ["PROFILE", "GATE", "ADDRESS", "SERVICES"].map(str::to_owned);
    let width = |column: fn(&[String; 4]) -> &String| {
        rows.iter()
            .chain([&head])
            .map(|row| column(row).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (first, second, third) = (
        width(|row| &row[0]),
        width(|row| &row[1]),
        width(|row| &row[2]),
    );
    [&head].into_iter().chain(rows).fold(
        String::new(),
        |mut text, [name, gate, address, services]| {
            let _ = writeln!(
                text,
                "{name:first$}  {gate:second$}  {address:third$}  {services}"
            );
            text
        },
    )
}

fn listed(name: String, profile: Profile) -> ListedProfile {
    ListedProfile {
        name,
        gate: profile.gate.to_string(),
        addresses: profile.addresses.iter().map(ToString::to_string).collect(),
        services: profile.services,
        allow: profile.allow.to_string(),
        duration_s: profile.duration.map(|duration| duration.as_secs()),
        target: profile.target.map(|target| target.to_string()),
        code: profile.code.map(|code| match code {
            CodeSource::Ask => "ask",
            CodeSource::Program(_) => "command",
        }),
    }
}
