//! `posternd init`: reports what was made, what was kept, and what to do next.

use std::process::ExitCode;

use clap::Args;
use postern_proto::GateName;
use serde_json::json;

use super::output::answer;
use super::shared_arguments::{Report, config_option};
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
    let texts = arguments.address.iter();
    let addresses = texts.map(|text| Endpoint::with_default(text, port));
    let wanted = Wanted {
        name: arguments.name.clone(),
        addresses: addresses
            .collect::<Result<_, _>>()
            .map_err(|error| ExitError::new(USAGE, error))?,
        port: arguments.port,
    };
    let config = &arguments.report.config.config;
    let set_up = init(config, &wanted)?;
    let next = next(&set_up, &config_option(config));
    let steps = set_up.steps.iter();
    let steps: Vec<_> = steps
        .map(|step| json!({ "what": step.what, "name": step.name, "made": step.is_new }))
        .collect();
    let json = json!({
        "gate": set_up.gate.as_str(), "config": config, "run_as": set_up.run_as, "users": set_up.users,
        "steps": steps, "notes": set_up.notes, "next": next,
    });
    let mut text = format!("gate {}\n", set_up.gate);
    for step in &set_up.steps {
        let made = if step.is_new { "made" } else { "kept" };
        text += &format!("  {:<6} {made:<4} {}\n", step.what, step.name);
    }
    for note in &set_up.notes {
        text += &format!("note: {note}\n");
    }
    text += "next:\n";
    for line in &next {
        text += &format!("  {line}\n");
    }
    answer(&arguments.report, json, &text)
}

/// The next commands, in order.
fn next(set_up: &SetUp, config: &str) -> Vec<String> {
    let add = format!("posternd user add NAME -s tcp/22{config}");
    let rest = ["check", "run --trial 5m"].map(|command| format!("posternd {command}{config}"));
    let add = (set_up.users == 0).then_some(add);
    add.into_iter().chain(rest).collect()
}
