//! `posternd check`: the findings, or with `--from` what becomes of packets of one address.

use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::{answer, note, print};
use super::shared_arguments::Report;
use crate::admin::check::{self, Passages};
use crate::model::exit::ExitError;
use crate::model::service::Wanted;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    report: Report,
    /// Show what the host's rules do with a new connection from this address, and which rule decides
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Print the rules that the host's own chains need, as commands; posternd inserts them itself
    #[arg(long, conflicts_with = "from")]
    plan: bool,
    /// Show it for this service only, such as tcp/22
    #[arg(value_name = "SERVICE", requires = "from")]
    service: Option<Wanted>,
}

pub(super) fn carry_out(check: &Check) -> Result<ExitCode, ExitError> {
    let report = &check.report;
    if check.plan {
        let plan = check::plan(&report.config.config)?;
        let mut text = String::new();
        for chain in &plan.dropping {
            let _ = writeln!(text, "# {chain}");
        }
        if let Some(line) = &plan.sensor {
            let _ = writeln!(text, "# {line}");
        }
        for command in &plan.rules {
            let _ = writeln!(text, "{command}");
        }
        let told = json!({ "dropping": plan.dropping, "rules": plan.rules });
        return answer(report, told, &text);
    }
    let Some(address) = check.from else {
        let findings = check::check(&report.config.config);
        print(&if report.json {
            findings.json()
        } else {
            findings.to_string()
        })?;
        return Ok(ExitCode::from(findings.exit_code()));
    };
    let Passages { packets, unseen } =
        check::judge(&report.config.config, address, check.service.as_ref())?;
    let mut text = String::new();
    for packet in &packets {
        let _ = writeln!(text, "{packet}");
    }
    if !report.json {
        unseen.iter().for_each(|gap| note(gap));
    }
    answer(
        report,
        json!({ "packets": packets, "unseen": unseen }),
        &text,
    )
}
