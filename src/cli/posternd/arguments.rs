//! The arguments of `posternd`.
//!
//! What an argument may say is decided by the types it is read into.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::explain::Explaining;
use super::status::Watching;
use super::user_arguments::{Init, User};
use crate::admin::demo;
use crate::model::time;

/// Where the gate's config lies if nobody says otherwise.
pub(super) const CONFIG: &str = "/etc/postern/posternd.toml";

/// The Postern gate: hides services behind single-packet authorization.
#[derive(Debug, Parser)]
#[command(name = "posternd", version, propagate_version = true, about, max_term_width = 100, after_help = AFTER)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

const AFTER: &str = "\
Exit status: 0 done, 1 failed, 2 wrong usage, 65 no packet and no recording, 66 file missing, 69 something it needs
is not there, or no posternd answers, 71 the system refused something, 74 input or output, 77 a right is missing,
78 config wrong or missing.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Set a gate up: config, keys, folders and the engine's user; nothing that is there is changed
    Init(Init),
    /// Add, list, change and remove users
    User(User),
    /// Run the gate in the foreground
    Run(Run),
    /// Look at config and host: every error and every warning
    Check(Report),
    /// Show how the running gate does: counters by reason, what it listens with, quotas, what is open
    Status(Watching),
    /// Show what is open now
    Grants(Report),
    /// Print what is counted, as OpenMetrics text
    Metrics(Config),
    /// Close grants before their time
    Close(Close),
    /// Say why a knock does not work: a packet, a recording, or knocks as they come
    Explain(Explaining),
    /// Say that you can still get in: a trial is over and Postern stays
    Confirm(Report),
    /// Have the running gate read its config anew; open grants stay where they are still allowed
    Reload(Report),
    /// Remove all that Postern put into the firewall
    Flush(Report),
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
pub(super) struct Config {
    /// The gate's config
    #[arg(long, value_name = "FILE", env = "POSTERND_CONFIG", hide_env_values = true, default_value = CONFIG)]
    pub(super) config: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) config: Config,
    /// Take everything back after this time, such as 5m, unless a knock is admitted or `posternd confirm` comes before
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    pub(super) trial: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(super) struct Report {
    #[command(flatten)]
    pub(super) config: Config,
    /// Write JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Close {
    #[command(flatten)]
    pub(super) report: Report,
    #[command(flatten)]
    pub(super) which: Which,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Every grant
    #[arg(long)]
    pub(super) all: bool,
    /// The grants of this user
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// The grants that let this address in
    #[arg(long, value_name = "ADDRESS")]
    pub(super) address: Option<std::net::IpAddr>,
    /// This grant
    #[arg(long, value_name = "NUMBER")]
    pub(super) id: Option<u64>,
}
