//! `posternd status`: how the running gate does, once or again and again.
//!
//! Owns how it is told, in text or JSON; all that is told is the engine's and the monitor's own word.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::arguments::Report;
use super::asking::{ask, odd, wait_until_serving};
use super::grants::{self, Shown};
use super::say::{is_heard, json_line, say_json};
use crate::adapters::clock;
use crate::adapters::control::status::{CaptureStatus, QuotaStatus, Status, StoreStatus};
use crate::adapters::control::{Answer, Question};
use crate::model::exit::ExitError;
use crate::model::time::{self, Timestamp, human};

/// How to tell it.
#[derive(Debug, Args)]
pub(super) struct Watching {
    #[command(flatten)]
    report: Report,
    /// Tell it again and again, until Ctrl-C; on a terminal in place
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = interval)]
    watch: Option<Duration>,
    /// Wait until the gate serves, at most this long; exit 1 if it does not
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "30", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: Option<u64>,
}

/// What JSON tells: the engine's status, and the grants that the monitor has open.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    status: Box<Status>,
    /// None where the monitor did not tell.
    grants: Option<Vec<Shown>>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    grants_failed: Option<String>,
}

/// Quotas that are told in text.
const QUOTAS_TOLD: usize = 10;
/// Clears a terminal and begins at its upper left corner.
const AFRESH: &str = "\x1b[H\x1b[2J";

pub(super) fn status(watching: &Watching) -> Result<ExitCode, ExitError> {
    if let Some(seconds) = watching.wait {
        wait_until_serving(&watching.report.config.config, Duration::from_secs(seconds))?;
    }
    let Some(pause) = watching.watch else {
        let whole = look(&watching.report)?;
        return if watching.report.json {
            say_json(&whole)
        } else {
            is_heard(&text(&whole, clock::wall())).map(|_| ExitCode::SUCCESS)
        };
    };
    let afresh = std::io::stdout().is_terminal() && !watching.report.json;
    let mut first = true;
    loop {
        // A daemon that starts again is waited for; one that never was there is not.
        let told = match look(&watching.report) {
            Ok(whole) if watching.report.json => json_line(&whole)?,
            Ok(whole) => text(&whole, clock::wall()),
            Err(stop) if first => return Err(stop),
            Err(stop) if watching.report.json => json_line(
                &serde_json::json!({ "version": crate::adapters::control::VERSION, "failed": stop.message }),
            )?,
            Err(stop) => format!("{stop}\n"),
        };
        let between = if afresh {
            AFRESH
        } else if first || watching.report.json {
            ""
        } else {
            "\n"
        };
        if !is_heard(&format!("{between}{told}"))? {
            return Ok(ExitCode::SUCCESS);
        }
        first = false;
        std::thread::sleep(pause);
    }
}

fn look(report: &Report) -> Result<Whole, ExitError> {
    let Answer::Status(status) = ask(report, &Question::Status)? else {
        return Err(odd());
    };
    let (grants, grants_failed) = match grants::open_now(report) {
        Ok(grants) => (Some(grants), None),
        Err(stop) => (None, Some(stop.message)),
    };
    Ok(Whole {
        status,
        grants,
        grants_failed,
    })
}

fn interval(text: &str) -> Result<Duration, String> {
    match time::parse_duration(text)? {
        short if short < Duration::from_millis(100) => {
            Err("look at most ten times a second: 100ms".to_owned())
        }
        length => Ok(length),
    }
}

fn text(
    Whole {
        status,
        grants,
        grants_failed,
    }: &Whole,
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
        .for_each(|why| line(&mut text, format_args!("what is open can't be told: {why}")));
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
    let heard = format!(
        "{} received{dropped}",
        time::count(
            usize::try_from(capture.received).unwrap_or(usize::MAX),
            "datagram"
        )
    );
    match &capture.why {
        Some(why) => format!("NOT listening on {name}: {why}; {heard}\n"),
        None => format!("listening on {name}: {heard}\n"),
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
    let told = |quota: &QuotaStatus| {
        format!(
            "quota of {}: {} of {} left, all of it in {}\n",
            quota.user,
            quota.left,
            quota.quota,
            human(quota.whole.since(now))
        )
    };
    text.extend(quotas.iter().take(QUOTAS_TOLD).map(told));
    match quotas
        .len()
        .saturating_sub(QUOTAS_TOLD)
        .saturating_add(more)
    {
        0 => {}
        more => line(
            &mut text,
            format_args!("and {more} more users have used some of their quota up"),
        ),
    }
    text
}

/// A length of time without fractions, where nobody cares for them.
fn whole(length: Duration) -> String {
    human(Duration::from_secs(length.as_secs()))
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}
