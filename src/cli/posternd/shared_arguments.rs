//! Arguments that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;

/// The usual place of the config.
const CONFIG: &str = "/etc/postern/posternd.toml";

#[derive(Debug, Args)]
pub(super) struct Config {
    /// Use this config file
    #[arg(long, value_name = "FILE", env = "POSTERND_CONFIG", hide_env_values = true, default_value = CONFIG)]
    pub(super) config: PathBuf,
}

/// The arguments of a command that reports.
#[derive(Debug, Args)]
pub(super) struct Report {
    #[command(flatten)]
    pub(super) config: Config,
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

/// ` --config FILE`, or nothing for the usual place.
pub(super) fn config_option(config: &Path) -> String {
    if config == Path::new(CONFIG) {
        String::new()
    } else {
        format!(" --config {}", config.display())
    }
}
