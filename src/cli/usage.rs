//! A command line that is wrong, told in one line: what clap finds wrong, without what could be a key, and where help is.

use clap::error::ErrorKind;

use crate::client::profile::without_secrets;

/// The line, of this program.
pub(super) fn line(error: &clap::Error, program: &str) -> String {
    let said = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return format!("no command; try {} --help", used(&said).unwrap_or(program));
    }
    let first = said.split("\n\n").next().unwrap_or_default();
    let what = without_secrets(first.strip_prefix("error: ").unwrap_or(first));
    if what.contains("; ") {
        what
    } else {
        format!("{what}; see {program} --help, or --help behind the command")
    }
}

/// The commands in the help's line of usage, without what comes behind them.
fn used(help: &str) -> Option<&str> {
    let usage = help.lines().find_map(|line| line.strip_prefix("Usage: "))?;
    usage.split(['<', '[']).next().map(str::trim_end)
}
