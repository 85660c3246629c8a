//! `postern profiles`: lists the profiles of the config. Shows no key and no key file.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::arguments::Profiles;
use super::output::say;
use super::{gate, json};
use crate::cli::columns::columns;
use crate::client::profile::{CodeSource, Profile};
use crate::model::exit::ExitError;
use crate::model::service::{self, Wanted};

#[derive(Serialize)]
struct ProfilesJson {
    file: String,
    profiles: Vec<ProfileJson>,
}

#[derive(Serialize)]
struct ProfileJson {
    name: String,
    gate: String,
    addresses: Vec<String>,
    services: Vec<Wanted>,
    allow: String,
    duration_s: Option<u64>,
    target: Option<String>,
    code: Option<&'static str>,
}

pub(super) fn profiles(arguments: &Profiles, config: Option<&Path>) -> Result<(), ExitError> {
    let (profiles, path) = gate::profiles(config)?;
    let file = path.display().to_string();
    if arguments.json {
        let profiles = profiles.into_iter().map(|(name, profile)| ProfileJson {
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
        });
        let profiles = profiles.collect();
        return json::write("profiles", ProfilesJson { file, profiles });
    }
    if profiles.is_empty() {
        return say(&format!("{file} has no profile\n"));
    }
    let rows = profiles.iter().map(|(name, profile)| row(name, profile));
    say(&columns(["PROFILE", "GATE", "ADDRESS", "SERVICES"], rows))
}

fn row(name: &str, profile: &Profile) -> [String; 4] {
    let mut services = service::list(&profile.services);
    if services.is_empty() {
        services = "(none)".to_owned();
    }
    if let Some(target) = &profile.target {
        let _ = write!(services, " on {target}");
    }
    let (gate, addresses) = (profile.gate.to_string(), service::list(&profile.addresses));
    [name.to_owned(), gate, addresses, services]
}
