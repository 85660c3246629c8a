//! Commands that ask the running daemon one question: `metrics`, `close` and `confirm`.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::ask::{ask, unexpected};
use super::output::{answer, print};
use super::shared_arguments::{Config, Report};
use crate::adapters::control::{Answer, Question};
use crate::core::order::Selection;
use crate::model::exit::ExitError;
use crate::model::grant::GrantId;
use crate::model::time;

#[derive(Debug, Args)]
pub(super) struct Close {
    #[command(flatten)]
    report: Report,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Close every grant
    #[arg(long)]
    all: bool,
    /// Close the grants of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Close the grants that admit this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// Close this grant
    #[arg(long, value_name = "NUMBER")]
    id: Option<u64>,
}

pub(super) fn metrics(config: Config) -> Result<ExitCode, ExitError> {
    let report = Report {
        config,
        json: false,
    };
    match ask(&report, &Question::Metrics)? {
        Answer::Metrics(text) => print(&text),
        _ => Err(unexpected()),
    }
}

pub(super) fn close(close: &Close) -> Result<ExitCode, ExitError> {
    let which = match (&close.which.user, close.which.address, close.which.id) {
        (Some(user), _, _) => Selection::User(user.clone()),
        (_, Some(address), _) => Selection::Address(address),
        (_, _, Some(id)) => Selection::Id(GrantId(id)),
        _ => Selection::All,
    };
    let Answer::Closed(count) = ask(&close.report, &Question::Close(which))? else {
        return Err(unexpected());
    };
    let text = format!("closed {}\n", time::count(count, "grant"));
    answer(&close.report, json!({ "closed": count }), &text)
}

pub(super) fn confirm(report: &Report) -> Result<ExitCode, ExitError> {
    let Answer::Confirmed(trial) = ask(report, &Question::Confirm)? else {
        return Err(unexpected());
    };
    let text = if trial {
        "the trial is over, the firewall rules stay\n"
    } else {
        "there was no trial, the firewall rules stay\n"
    };
    answer(report, json!({ "trial": trial }), text)
}
