//! `posternd init`: reports what was made, what was kept, and what to do next.

use std::process::ExitCode;

use clap::Args;
use postern_proto::GateName;

use super::output::{print, print_json};
use super::shared_arguments::{Report, config_option};
use crate::adapters::control;
use crate::admin::init::{SetUp, Wanted, init};
use crate::model::endpoint::{DEFAULT_PORT, Endpoint};
use crate::model::exit::{ExitError, USAGE};

#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    report: Report,
    /// Set the gate's name, a part of every key [default: this host's name with its domain]
    #[arg(long, value_name = "GATE", value_parser = GateName::new)]
    name: Option<GateName>,
    /// Send knocks to this HOST or HOST:PORT; may be repeated, once for each family [default: the gate's name]
    #[arg(long, value_name = "HOST[:PORT]")]
    address: Vec<String>,
    /// Receive knocks on this UDP port [default: 62201]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

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
        let step = |step: &crate::admin::init::SetUpStep| serde_json::json!({ "what": step.what, "name": step.name, "made": step.is_new });
        let steps: Vec<_> = set_up.steps.iter().map(step).collect();
        return print_json(&serde_json::json!({
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
    print(&text).map(|()| ExitCode::SUCCESS)
}

/// The next commands, in order.
fn next(set_up: &SetUp, config: &str) -> Vec<String> {
    let add = format!("posternd user add NAME -s tcp/22{config}");
    let rest = ["check", "run --trial 5m"].map(|command| format!("posternd {command}{config}"));
    (set_up.users == 0)
        .then_some(add)
        .into_iter()
        .chain(rest)
        .collect()
}
