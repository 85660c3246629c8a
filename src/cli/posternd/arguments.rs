//! The commands of `posternd`.

use clap::{Args, Parser, Subcommand};

use super::check::Check;
use super::explain::ExplainArguments;
use super::grants::Grants;
use super::import::Import;
use super::init::Init;
use super::requests::Close;
use super::roster_arguments::Roster;
use super::shared_arguments::{Config, Report};
use super::status::StatusArguments;
use super::user_arguments::User;
use crate::admin::demo;
use crate::cli::deferred::Deferred;
use crate::model::time;

/// The Postern gate: hides services behind single-packet authorization.
#[derive(Debug, Parser)]
#[command(name = "posternd", version, propagate_version = true, about, max_term_width = 100, after_help = AFTER)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

const AFTER: &str = "\
Exit status: 0 done, 1 failed, 2 wrong usage, 65 neither packet nor recording, or no roster,
66 file missing, 69 something needed is missing, or posternd does not answer, 71 system error,
74 input or output error, 77 permission missing, 78 config wrong or missing.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Set up a gate: config, keys, folders and the engine's user; keep everything that exists
    Init(Deferred<Init>),
    /// Add, list, change and remove users
    User(Deferred<User>),
    /// Make, sign and verify a roster, the users of many gates in one file; take one at a gate
    Roster(Deferred<Roster>),
    /// Import configs of fwknopd and knockd: add their users and services, which open no more than before
    Import(Deferred<Import>),
    /// Run the gate in the foreground
    Run(Deferred<Run>),
    /// Check config and host, and list every error and warning
    Check(Deferred<Check>),
    /// Show counters, captures, quotas and open grants of the running gate
    Status(Deferred<StatusArguments>),
    /// List open grants
    Grants(Deferred<Grants>),
    /// Print metrics as OpenMetrics text
    Metrics(Deferred<Config>),
    /// Close grants before they end
    Close(Deferred<Close>),
    /// Explain why a knock does not work: from a packet, a recording or live traffic
    Explain(Deferred<ExplainArguments>),
    /// Confirm a trial run and keep the firewall rules
    Confirm(Deferred<Report>),
    /// Reload the config of the running gate; keep open grants that it still allows
    Reload(Deferred<Report>),
    /// Remove all of Postern's rules from the firewall
    Flush(Deferred<Report>),
    /// Admit knocks again after the clock was ahead: set the recorded time to now; posternd must not run
    ResetClock(Deferred<Report>),
    /// Run a real gate and a real client in temporary network namespaces, step by step
    Demo(Deferred<demo::Options>),
    /// Install the last protection again, without a config; only `postern-protect.service` runs it
    #[command(hide = true)]
    Protect,
    /// Run the unprivileged engine; only `run` starts it
    #[command(hide = true)]
    Engine,
    /// Run the process that talks to the coordinator; only `run` starts it
    #[command(hide = true)]
    Cluster,
    /// Take one roster of the coordinator; only `run` starts it
    #[command(hide = true)]
    TakeRoster(Deferred<TakeRoster>),
    /// Run the client of the demo, with the arguments of `postern`
    #[command(hide = true, disable_help_flag = true)]
    AsClient {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) config: Config,
    /// Remove all rules after this time, such as 5m, unless a knock is admitted or `posternd confirm` runs first
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    pub(super) trial: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(super) struct TakeRoster {
    #[command(flatten)]
    pub(super) config: Config,
    /// The version that the running gate has loaded, 0 for none
    #[arg(long, value_name = "VERSION")]
    pub(super) loaded: u64,
}
