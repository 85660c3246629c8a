//! A wrong command line as one line: the message of clap without possible keys, and a pointer to help.

use clap::error::ErrorKind;

use crate::client::profile::without_secrets;

pub(super) fn line(error: &clap::Error, program: &str) -> String {
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let command = commands(&text).unwrap_or(program);
        return format!("no command; try {command} --help");
    }
    let first = text.split("\n\n").next().unwrap_or_default();
    let what = without_secrets(first.strip_prefix("error: ").unwrap_or(first));
    if what.contains("; ") {
        what
    } else {
        format!("{what}; see {program} --help, or --help after the command")
    }
}

/// The commands in the usage line of a help text, without arguments.
fn commands(help: &str) -> Option<&str> {
    let usage = help.lines().find_map(|line| line.strip_prefix("Usage: "))?;
    usage.split(['<', '[']).next().map(str::trim_end)
}
