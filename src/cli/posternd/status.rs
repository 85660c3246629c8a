//! `posternd status`: the state of the running gate, once or repeatedly.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::ask::{ask, unexpected, wait_until_serving};
use super::attempts;
use super::grants::{self, Shown};
use super::output::{json_line, print_json, print_while_read};
use super::shared_arguments::Report;
use crate::adapters::clock;
use crate::adapters::control::status::{
    CaptureStatus, ClusterStatus, QuotaStatus, Status, StoreStatus,
};
use crate::adapters::control::{self, Answer, Question};
use crate::model::address::Family;
use crate::model::exit::ExitError;
use crate::model::fleet::{FleetStatus, MemberStatus};
use crate::model::self_test::{FirewallState, SelfTest};
use crate::model::time::{self, Timestamp, human};

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    report: Report,
    /// Repeat until Ctrl-C; on a terminal, replace the last output
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
    /// What the host's rules do with each service; `None` if the monitor did not answer.
    firewall: Option<FirewallState>,
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
        let patience = Duration::from_secs(seconds);
        wait_until_serving(&arguments.report.config.config, patience)?;
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
            Err(stop) if arguments.report.json => {
                json_line(&json!({ "version": control::VERSION, "failed": stop.message }))?
            }
            Err(stop) => format!("{stop}\n"),
        };
        let between = match clear {
            true => CLEAR,
            false if first || arguments.report.json => "",
            false => "\n",
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
    let firewall = match ask(report, &Question::Firewall) {
        Ok(Answer::Firewall(state)) => Some(state),
        _ => None,
    };
    Ok(GateState {
        status,
        firewall,
        grants,
        grants_failed,
    })
}

fn interval(text: &str) -> Result<Duration, String> {
    match time::parse_duration(text).map_err(|error| error.to_string())? {
        length if length >= Duration::from_millis(100) => Ok(length),
        _ => Err("the shortest interval is 100ms".to_owned()),
    }
}

fn text(state: &GateState, now: Timestamp) -> String {
    let status = &state.status;
    let daemon = Duration::from_millis(status.daemon_uptime_ms);
    let engine = Duration::from_millis(status.uptime_ms);
    let (users, up) = (time::count(status.users, "user"), whole(daemon));
    let (gate, backend) = (&status.gate, &status.backend);
    let mut text = format!("gate {gate}: up {up}, {users}, firewall by {backend}\n");
    if daemon.saturating_sub(engine) > Duration::from_secs(2) {
        let since = "since the config was last read or the engine last started";
        text += &format!("counting for {}, {since}\n", whole(engine));
    }
    if status.clock_ahead_ms > 0 {
        let ahead = human(Duration::from_millis(status.clock_ahead_ms));
        let what = "knocks are too old until it catches up";
        text += &format!(
            "the gate's clock is {ahead} ahead of the system's, which was set back: {what}\n"
        );
    }
    text.extend(state.firewall.iter().map(firewall_lines));
    text.extend(status.captures.iter().map(capture_line));
    text += &store_line(&status.store, status.marks, now);
    text.extend(status.cluster.iter().map(cluster_line));
    let fleets = status
        .cluster
        .iter()
        .filter_map(|cluster| cluster.fleet.as_ref());
    text.extend(fleets.map(fleet_lines));
    text += &format!("admitted {}\n", status.admitted);
    let widest = status.reasons.keys().map(String::len).max();
    let widest = widest.unwrap_or_default();
    for (reason, count) in &status.reasons {
        text += &format!("  {reason:widest$}  {count}\n");
    }
    text += &quotas(&status.quotas, status.more_quotas, now);
    text += &attempts::lines(&status.attempts, &status.unused, now);
    if let Some(grants) = &state.grants {
        text += &grants::table(grants);
    }
    if let Some(why) = &state.grants_failed {
        text += &format!("open grants are unknown: {why}\n");
    }
    text
}

fn firewall_lines(state: &FirewallState) -> String {
    let obstacle = state.obstacle.iter();
    let mut text: String = obstacle
        .map(|why| format!("NO GRANT OPENS: {why}\n"))
        .collect();
    text.extend(state.warnings.iter().map(|why| format!("WRONG: {why}\n")));
    // A service with the same outcome over both families has one line.
    let mut tests: Vec<(&SelfTest, Vec<Family>)> = Vec::new();
    for test in &state.tests {
        let has_same_outcome = |(other, _): &&mut (&SelfTest, _)| {
            let family = other.family;
            SelfTest {
                family,
                ..test.clone()
            } == **other
        };
        match tests.iter_mut().find(has_same_outcome) {
            Some((_, families)) => families.push(test.family),
            None => tests.push((test, vec![test.family])),
        }
    }
    let is_wrong = |(test, _): &(&SelfTest, _)| test.is_right != Some(true);
    let is_wrong = state.obstacle.is_some() || tests.iter().any(is_wrong);
    for (test, families) in tests {
        let start = match test.is_right {
            Some(true) => "",
            Some(false) => "WRONG: ",
            None => "unclear: ",
        };
        let families: Vec<String> = families.iter().map(ToString::to_string).collect();
        let (service, families) = (test.service, families.join(" and "));
        let (granted, stranger) = (&test.granted, &test.stranger);
        let session = test.session.iter();
        let session = session.map(|why| format!("; a session ends with its grant: {why}"));
        let session: String = session.collect();
        text += &format!(
            "{start}{service} over {families}: granted: {granted}; stranger: {stranger}{session}\n"
        );
    }
    if is_wrong {
        text += "to see which rule decides about a client: posternd check --from ADDRESS\n";
    }
    text
}

fn capture_line(capture: &CaptureStatus) -> String {
    let name = match (capture.name.as_str(), capture.name.strip_prefix("nflog/")) {
        ("any", _) => "every interface".to_owned(),
        ("kmsg", _) => "the kernel's log".to_owned(),
        ("journal", _) => "the journal".to_owned(),
        (_, Some(group)) => format!("group {group} of NFLOG"),
        (name, None) => name.to_owned(),
    };
    let what = if capture.malformed.is_some() {
        "hit"
    } else {
        "datagram"
    };
    let mut counts = time::count(capture.received, what) + " received";
    if let Some(dropped) = capture.dropped {
        counts += &format!(", {dropped} dropped by the kernel");
    }
    if let Some(malformed) = capture.malformed {
        let malformed = time::count(malformed, "malformed line");
        counts += &format!(", {malformed}");
    }
    if let Some(restarts @ 1..) = capture.restarts {
        let times = time::count(restarts, "time");
        counts += &format!(", journalctl started again {times}");
    }
    match &capture.why {
        Some(why) => format!("NOT listening on {name}: {why}; {counts}\n"),
        None => format!("listening on {name}: {counts}\n"),
    }
}

fn cluster_line(cluster: &ClusterStatus) -> String {
    let name = &cluster.coordinator;
    let (won, lost, unknown) = (cluster.won, cluster.lost, cluster.unknown);
    let counts = format!("claims: {won} won, {lost} lost, {unknown} unknown");
    match &cluster.away {
        None => format!("cluster: {name} answers, {counts}\n"),
        Some(why) => {
            format!("cluster: KNOCKS ARE REFUSED, {name} does not answer: {why}; {counts}\n")
        }
    }
}

fn fleet_lines(fleet: &FleetStatus) -> String {
    let counters = &fleet.counters;
    let state = match (&fleet.behind, fleet.lag_ms) {
        (Some(why), _) => format!("grants of other gates MAY BE MISSED: {why}"),
        (None, Some(lag)) => format!("current, {lag} ms behind"),
        (None, None) => "current".to_owned(),
    };
    let live = time::count(fleet.grants, "live grant");
    let (published, taken, closed) = (counters.published, counters.taken, counters.closed);
    let mut text = format!(
        "fleet: {} is {state}; {live}; {published} published, {taken} taken, {closed} closed by others\n",
        fleet.member
    );
    for one in &fleet.members {
        let MemberStatus {
            member,
            heard_ms,
            age_ms,
        } = one;
        let ago = human(Duration::from_millis(*heard_ms));
        let (state, ago) = if one.is_heard() {
            ("heard", format!("{ago} ago"))
        } else {
            ("NOT HEARD for", ago)
        };
        text += &format!("fleet: {member} {state} {ago}, clock and way {age_ms} ms\n");
    }
    let refused = counters.refused.iter();
    let refused: Vec<String> = refused
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if !refused.is_empty() {
        text += &format!("fleet: publications refused: {}\n", refused.join(", "));
    }
    text
}

fn store_line(store: &StoreStatus, marks: usize, now: Timestamp) -> String {
    let remembered = time::count(marks, "mark");
    let Some(last) = store.last else {
        return format!("store: {remembered} remembered, nothing written yet\n");
    };
    let ago = whole(now.since(last));
    let took = Duration::from_micros(store.last_took_us);
    let commits = time::count(store.commits, "commit");
    let (marks, most) = (store.marks, store.largest_group);
    let written = format!("{marks} written in {commits}, at most {most} at once");
    format!("store: {remembered} remembered, {written}; the last {ago} ago took {took:.1?}\n")
}

fn quotas(quotas: &[QuotaStatus], more: usize, now: Timestamp) -> String {
    let mut text = String::new();
    for quota in quotas.iter().take(MAX_QUOTAS) {
        let (user, left, most) = (&quota.user, quota.left, &quota.quota);
        let time = human(quota.whole.since(now));
        text += &format!("quota of {user}: {left} of {most} left, all of it in {time}\n");
    }
    let more = quotas.len().saturating_sub(MAX_QUOTAS).saturating_add(more);
    if more > 0 {
        text += &format!("and {more} more users have used part of their quota\n");
    }
    text
}

/// A duration in whole seconds.
fn whole(length: Duration) -> String {
    human(Duration::from_secs(length.as_secs()))
}
