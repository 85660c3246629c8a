//! The command line of the daemon: arguments in, text or JSON and an exit code out. Decides nothing.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::control::{self, Answer, Question};
use crate::grant::GrantId;
use crate::monitor::{self, check};
use crate::order::Selection;
use crate::stop::{FAILED, Stop, UNAVAILABLE};
use crate::{clock, demo, engine, log, time};

/// The Postern gate: hides services behind single-packet authorization.
#[derive(Debug, Parser)]
#[command(name = "posternd", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate in the foreground
    Run(Run),
    /// Look at config and host: every error and every warning
    Check(Report),
    /// Show how the running gate does: counters by reason
    Status(Report),
    /// Show what is open now
    Grants(Report),
    /// Close grants before their time
    Close(Close),
    /// Say that you can still get in: a trial is over and Postern stays
    Confirm(Report),
    /// Remove all that Postern put into the firewall
    Flush(Config),
    /// Show a real gate and a real client in throw-away network namespaces, step by step
    Demo(demo::Options),
    /// The unprivileged role; started by `run`
    #[command(hide = true)]
    Engine,
    /// The client in the demo; takes the arguments of `postern`
    #[command(hide = true, disable_help_flag = true)]
    AsClient {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Args)]
struct Config {
    /// The gate's config
    #[arg(long, value_name = "FILE", env = "POSTERND_CONFIG", default_value = "/etc/postern/posternd.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    config: Config,
    /// Take everything back after this time, such as 5m, unless a knock is admitted or `posternd confirm` comes before
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    trial: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
struct Report {
    #[command(flatten)]
    config: Config,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Close {
    #[command(flatten)]
    report: Report,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Every grant
    #[arg(long)]
    all: bool,
    /// The grants of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The grants that let this address in
    #[arg(long, value_name = "ADDRESS")]
    address: Option<std::net::IpAddr>,
    /// This grant
    #[arg(long, value_name = "NUMBER")]
    id: Option<u64>,
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    log::start();
    match carry_out(Arguments::parse().command) {
        Ok(code) => code,
        Err(stop) => {
            for line in stop.message.lines() {
                let _ = writeln!(std::io::stderr(), "posternd: {line}");
            }
            ExitCode::from(stop.code)
        }
    }
}

fn carry_out(command: Command) -> Result<ExitCode, Stop> {
    match command {
        Command::Run(run) => monitor::run(&run.config.config, run.trial).map(|()| ExitCode::SUCCESS),
        Command::Engine => engine::run().map(|()| ExitCode::SUCCESS),
        Command::Check(report) => {
            let findings = check::check(&report.config.config);
            say(&if report.json { findings.json() } else { findings.to_string() })?;
            Ok(ExitCode::from(findings.exit_code()))
        }
        Command::Flush(config) => {
            let said = monitor::flush(&config.config)?;
            say(&said).map(|()| ExitCode::SUCCESS)
        }
        Command::Status(report) => status(&report),
        Command::Grants(report) => grants(&report),
        Command::Close(close) => end(&close),
        Command::Confirm(report) => confirm(&report),
        Command::Demo(options) => demo::run(&options),
        Command::AsClient { arguments } => Ok(super::postern::run_as(arguments)),
    }
}

fn status(report: &Report) -> Result<ExitCode, Stop> {
    let Answer::Status(status) = ask(report, &Question::Status)? else { return Err(odd()) };
    if report.json {
        return say_json(&status);
    }
    let up = std::time::Duration::from_millis(status.uptime_ms);
    let mut text =
        format!("gate {}: up {}, {}\nadmitted {}\n", status.gate, time::human(up), time::count(status.users, "user"), status.admitted);
    for (reason, count) in &status.reasons {
        text.push_str(&format!("{reason} {count}\n"));
    }
    say(&text).map(|()| ExitCode::SUCCESS)
}

fn grants(report: &Report) -> Result<ExitCode, Stop> {
    let Answer::Grants(grants) = ask(report, &Question::Grants)? else { return Err(odd()) };
    if report.json {
        return say_json(&serde_json::json!({ "version": control::VERSION, "grants": grants }));
    }
    let now = clock::wall();
    let lines = grants.iter().map(|grant| format!("{grant}, {} left\n", time::human(grant.until.since(now))));
    let text: String = lines.collect();
    say(if text.is_empty() { "nothing is open\n" } else { &text }).map(|()| ExitCode::SUCCESS)
}

fn end(close: &Close) -> Result<ExitCode, Stop> {
    let which = match &close.which {
        Which { user: Some(user), .. } => Selection::User(user.clone()),
        Which { address: Some(address), .. } => Selection::Address(*address),
        Which { id: Some(id), .. } => Selection::Id(GrantId(*id)),
        Which { .. } => Selection::All,
    };
    let Answer::Closed(count) = ask(&close.report, &Question::Close(which))? else { return Err(odd()) };
    if close.report.json {
        return say_json(&serde_json::json!({ "version": control::VERSION, "closed": count }));
    }
    say(&format!("closed {}\n", time::count(count, "grant"))).map(|()| ExitCode::SUCCESS)
}

fn confirm(report: &Report) -> Result<ExitCode, Stop> {
    let Answer::Confirmed(trial) = ask(report, &Question::Confirm)? else { return Err(odd()) };
    if report.json {
        return say_json(&serde_json::json!({ "version": control::VERSION, "trial": trial }));
    }
    say(if trial { "the trial is over, Postern stays\n" } else { "there was no trial, Postern stays\n" }).map(|()| ExitCode::SUCCESS)
}

/// Asks the running daemon; where there is none, says so.
fn ask(report: &Report, question: &Question) -> Result<Answer, Stop> {
    let path = monitor::control_socket(&report.config.config)?;
    let answer = control::ask(&path, question).map_err(|error| {
        Stop::new(UNAVAILABLE, format!("no posternd answers on {}: {error}; is it running, and are you root?", path.display()))
    })?;
    match answer {
        Answer::Failed(why) => Err(Stop::new(FAILED, why)),
        answer => Ok(answer),
    }
}

fn odd() -> Stop {
    Stop::new(FAILED, "posternd answered something else; are daemon and command of one version?")
}

fn say(text: &str) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Stop::system("writing to standard output"))
}

fn say_json(value: &impl serde::Serialize) -> Result<ExitCode, Stop> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Stop::new(FAILED, error))?;
    say(&format!("{text}\n")).map(|()| ExitCode::SUCCESS)
}
