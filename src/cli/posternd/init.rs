//! `posternd init`: what was made, what was kept, and what comes next.

use std::process::ExitCode;

use super::say::{say, say_json};
use super::user_arguments::Init;
use crate::adapters::control;
use crate::admin::init::{SetUp, Wanted, init};
use crate::model::endpoint::{DEFAULT_PORT, Endpoint};
use crate::model::exit::{ExitError, USAGE};

pub(super) fn carry_out(arguments: &Init) -> Result<ExitCode, ExitError> {
    let port = arguments.port.unwrap_or(DEFAULT_PORT);
    let addresses = arguments
        .address
        .iter()
        .map(|text| Endpoint::with_default(text, port));
    let addresses = addresses
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ExitError::new(USAGE, error))?;
    let config = &arguments.report.config.config;
    let set_up = init(
        config,
        &Wanted {
            name: arguments.name.clone(),
            addresses,
            port: arguments.port,
        },
    )?;
    let next = next(&set_up, &config_option(config));
    if arguments.report.json {
        let step = |step: &crate::admin::init::Step| serde_json::json!({ "what": step.what, "name": step.name, "made": step.is_new });
        let steps: Vec<_> = set_up.steps.iter().map(step).collect();
        return say_json(&serde_json::json!({
            "version": control::VERSION, "gate": set_up.gate.as_str(), "config": config, "run_as": set_up.run_as, "users": set_up.users,
            "steps": steps, "notes": set_up.notes, "next": next,
        }));
    }
    let mut text = format!("gate {}\n", set_up.gate);
    for step in &set_up.steps {
        text.push_str(&format!(
            "  {:<6} {:<4} {}\n",
            step.what,
            if step.is_new { "made" } else { "kept" },
            step.name
        ));
    }
    set_up
        .notes
        .iter()
        .for_each(|note| text.push_str(&format!("note: {note}\n")));
    text.push_str("next:\n");
    next.iter()
        .for_each(|line| text.push_str(&format!("  {line}\n")));
    say(&text).map(|()| ExitCode::SUCCESS)
}

/// Commands, in the order in which they come.
fn next(set_up: &SetUp, config: &str) -> Vec<String> {
    let add = format!("posternd user add NAME -s tcp/22{config}");
    let rest = ["check", "run --trial 5m"].map(|command| format!("posternd {command}{config}"));
    (set_up.users == 0)
        .then_some(add)
        .into_iter()
        .chain(rest)
        .collect()
}

/// ` --config FILE` where it is not the usual one.
pub(super) fn config_option(config: &std::path::Path) -> String {
    if config == std::path::Path::new(super::arguments::CONFIG) {
        String::new()
    } else {
        format!(" --config {}", config.display())
    }
}
