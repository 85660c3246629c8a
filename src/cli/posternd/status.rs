//! `posternd status`: the state of the running gate, once or repeatedly.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::ask::{ask, unexpected, wait_until_serving};
use super::grants::{self, Shown};
use super::output::{json_line, print_json, print_while_read};
use super::shared_arguments::Report;
use crate::adapters::clock;
use crate::adapters::control::status::{CaptureStatus, QuotaStatus, Status, StoreStatus};
use crate::adapters::control::{Answer, Question};
use crate::model::exit::ExitError;
use crate::model::time::{self, Timestamp, human};

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    report: Report,
    /// Repeat until Ctrl-C; on a terminal, in place
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = interval)]
    watch: Option<Duration>,
    /// Wait until the gate serves, at most this long; exit 1 if it does not
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "30", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: Option<u64>,
}

/// The engine's status and the monitor's grants.
#[derive(Serialize)]
struct GateState {
    #[serde(flatten)]
    status: Box<Status>,
    /// `None` if the monitor did not answer.
    grants: Option<Vec<Shown>>,
    /// Why the monitor did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    grants_failed: Option<String>,
}

/// Limit for the quotas in text.
const MAX_QUOTAS: usize = 10;
/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn status(arguments: &StatusArguments) -> Result<ExitCode, ExitError> {
    if let Some(seconds) = arguments.wait {
        wait_until_serving(
            &arguments.report.config.config,
            Duration::from_secs(seconds),
        )?;
    }
    let Some(pause) = arguments.watch else {
        let whole = read(&arguments.report)?;
        return if arguments.report.json {
            print_json(&whole)
        } else {
            print_while_read(&text(&whole, clock::wall())).map(|_| ExitCode::SUCCESS)
        };
    };
    let clear = std::io::stdout().is_terminal() && !arguments.report.json;
    let mut first = true;
    loop {
        // Wait for a daemon that restarts, but not for one that never ran.
        let output = match read(&arguments.report) {
            Ok(whole) if arguments.report.json => json_line(&whole)?,
            Ok(whole) => text(&whole, clock::wall()),
            Err(stop) if first => return Err(stop),
            Err(stop) if arguments.report.json => json_line(
                &serde_json::json!({ "version": crate::adapters::control::VERSION, "failed": stop.message }),
            )?,
            Err(stop) => format!("{stop}\n"),
        };
        let between = if clear {
            CLEAR
        } else if first || arguments.report.json {
            ""
        } else {
            "\n"
        };
        if !print_while_read(&format!("{between}{output}"))? {
            return Ok(ExitCode::SUCCESS);
        }
        first = false;
        std::thread::sleep(pause);
    }
}

fn read(report: &Report) -> Result<GateState, ExitError> {
    let Answer::Status(status) = ask(report, &Question::Status)? else {
        return Err(unexpected());
    };
    let (grants, grants_failed) = match grants::open_now(report) {
        Ok(grants) => (Some(grants), None),
        Err(stop) => (None, Some(stop.message)),
    };
    Ok(GateState {
        status,
        grants,
        grants_failed,
    })
}

fn interval(text: &str) -> Result<Duration, String> {
    match time::parse_duration(text).map_err(|error| error.to_string())? {
        short if short < Duration::from_millis(100) => {
            Err("the shortest interval is 100ms".to_owned())
        }
        length => Ok(length),
    }
}

fn text(
    GateState {
        status,
        grants,
        grants_failed,
    }: &GateState,
    now: Timestamp,
) -> String {
    let (daemon, engine) = (
        Duration::from_millis(status.daemon_uptime_ms),
        Duration::from_millis(status.uptime_ms),
    );
    let users = time::count(status.users, "user");
    let mut text = format!(
        "gate {}: up {}, {users}, firewall by {}\n",
        status.gate,
        whole(daemon),
        status.backend
    );
    if daemon.saturating_sub(engine) > Duration::from_secs(2) {
        line(
            &mut text,
            format_args!(
                "counting for {}, since the config was last read or the engine last started",
                whole(engine)
            ),
        );
    }
    if status.clock_ahead_ms > 0 {
        let ahead = human(Duration::from_millis(status.clock_ahead_ms));
        line(
            &mut text,
            format_args!(
                "the gate's clock is {ahead} ahead of the system's, which was set back: knocks are too old until it catches up"
            ),
        );
    }
    status
        .captures
        .iter()
        .for_each(|capture| text.push_str(&capture_line(capture)));
    text.push_str(&store_line(&status.store, status.marks, now));
    line(&mut text, format_args!("admitted {}", status.admitted));
    let widest = status
        .reasons
        .keys()
        .map(String::len)
        .max()
        .unwrap_or_default();
    for (reason, count) in &status.reasons {
        line(&mut text, format_args!("  {reason:widest$}  {count}"));
    }
    text.push_str(&quotas(&status.quotas, status.more_quotas, now));
    grants
        .iter()
        .for_each(|grants| text.push_str(&grants::table(grants)));
    grants_failed
        .iter()
        .for_each(|why| line(&mut text, format_args!("open grants are unknown: {why}")));
    text
}

fn capture_line(capture: &CaptureStatus) -> String {
    let name = match capture.name.as_str() {
        "any" => "every interface",
        name => name,
    };
    let dropped = capture
        .dropped
        .map(|dropped| format!(", {dropped} dropped by the kernel"))
        .unwrap_or_default();
    let counts = format!(
        "{} received{dropped}",
        time::count(
            usize::try_from(capture.received).unwrap_or(usize::MAX),
            "datagram"
        )
    );
    match &capture.why {
        Some(why) => format!("NOT listening on {name}: {why}; {counts}\n"),
        None => format!("listening on {name}: {counts}\n"),
    }
}

fn store_line(store: &StoreStatus, marks: usize, now: Timestamp) -> String {
    let remembered = time::count(marks, "mark");
    let Some(last) = store.last else {
        return format!("store: {remembered} remembered, nothing written yet\n");
    };
    let (ago, took) = (
        whole(now.since(last)),
        Duration::from_micros(store.last_took_us),
    );
    let commits = time::count(
        usize::try_from(store.commits).unwrap_or(usize::MAX),
        "commit",
    );
    let written = format!(
        "{} written in {commits}, at most {} at once",
        store.marks, store.largest_group
    );
    format!("store: {remembered} remembered, {written}; the last {ago} ago took {took:.1?}\n")
}

fn quotas(quotas: &[QuotaStatus], more: usize, now: Timestamp) -> String {
    let mut text = String::new();
    let line_of = |quota: &QuotaStatus| {
        format!(
            "quota of {}: {} of {} left, all of it in {}\n",
            quota.user,
            quota.left,
            quota.quota,
            human(quota.whole.since(now))
        )
    };
    text.extend(quotas.iter().take(MAX_QUOTAS).map(line_of));
    match quotas.len().saturating_sub(MAX_QUOTAS).saturating_add(more) {
        0 => {}
        more => line(
            &mut text,
            format_args!("and {more} more users have used part of their quota"),
        ),
    }
    text
}

/// A duration in whole seconds.
fn whole(length: Duration) -> String {
    human(Duration::from_secs(length.as_secs()))
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}
