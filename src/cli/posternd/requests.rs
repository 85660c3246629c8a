//! Commands that ask the running daemon one question: `metrics`, `close` and `confirm`.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;

use super::ask::{ask, unexpected};
use super::output::{print, print_json};
use super::shared_arguments::{Config, Report};
use crate::adapters::control::{self, Answer, Question};
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
    let Answer::Metrics(text) = ask(
        &Report {
            config,
            json: false,
        },
        &Question::Metrics,
    )?
    else {
        return Err(unexpected());
    };
    print(&text).map(|()| ExitCode::SUCCESS)
}

pub(super) fn close(close: &Close) -> Result<ExitCode, ExitError> {
    let which = match &close.which {
        Which {
            user: Some(user), ..
        } => Selection::User(user.clone()),
        Which {
            address: Some(address),
            ..
        } => Selection::Address(*address),
        Which { id: Some(id), .. } => Selection::Id(GrantId(*id)),
        Which { .. } => Selection::All,
    };
    let Answer::Closed(count) = ask(&close.report, &Question::Close(which))? else {
        return Err(unexpected());
    };
    if close.report.json {
        return print_json(&serde_json::json!({ "version": control::VERSION, "closed": count }));
    }
    print(&format!("closed {}\n", time::count(count, "grant"))).map(|()| ExitCode::SUCCESS)
}

pub(super) fn confirm(report: &Report) -> Result<ExitCode, ExitError> {
    let Answer::Confirmed(trial) = ask(report, &Question::Confirm)? else {
        return Err(unexpected());
    };
    if report.json {
        return print_json(&serde_json::json!({ "version": control::VERSION, "trial": trial }));
    }
    print(if trial {
        "the trial is over, Postern stays\n"
    } else {
        "there was no trial, Postern stays\n"
    })
    .map(|()| ExitCode::SUCCESS)
}
