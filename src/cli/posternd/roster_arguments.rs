//! The arguments of `posternd roster`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use postern_proto::{GateName, PublicKey};

use super::shared_arguments::Report;
use crate::adapters::clock;
use crate::model::time::{self, Timestamp};

#[derive(Debug, Args)]
pub(super) struct Roster {
    #[command(subcommand)]
    pub(super) command: RosterCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum RosterCommand {
    /// Make a roster, and the signing key if its file is missing
    Init(Init),
    /// Add a user to a roster
    Add(Add),
    /// Remove a user from a roster; gates then end the user's grants
    Remove(Remove),
    /// Sign a roster, beside the signatures of others if nothing was changed since
    Sign(Change),
    /// Check the signatures, the end and the content of a roster
    Verify(Verify),
    /// Take a roster at this gate, and reload the running gate
    Apply(Apply),
    /// Put a roster at the coordinator, from where gates with from = "coordinator" take it
    Publish(Publish),
    /// Fetch the roster from the url in the config, and take it
    Pull(Pull),
}

/// The roster, and how it is signed after a change.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// Use this roster; its signatures are in FILE.minisig
    #[arg(long = "roster", value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Sign with the key in this file, which minisign -G -W or `posternd roster init` made
    #[arg(long, value_name = "FILE")]
    pub(super) signing_key: Option<PathBuf>,
    /// Let the roster end after this time, or at this day or time, such as 30d or 2027-01-31
    #[arg(long, value_name = "TIME|DAY", value_parser = until)]
    pub(super) until: Option<Timestamp>,
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    pub(super) change: Change,
    /// Add this gate, with the public key that secrets are sealed for if it has one; may be repeated
    #[arg(long = "gate", value_name = "NAME[=PUBLIC_KEY]", value_parser = gate)]
    pub(super) gates: Vec<(String, Option<PublicKey>)>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("key").required(true))]
pub(super) struct Add {
    /// Name of the user
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) change: Change,
    /// Give the user this policy of the roster
    #[arg(long, value_name = "POLICY", default_value = "ssh")]
    pub(super) policy: String,
    /// Let the user open this gate or group of gates; may be repeated
    #[arg(long = "gate", value_name = "GATE|GROUP", default_value = "all")]
    pub(super) gates: Vec<String>,
    /// Use this public key of the user, from postern keygen --pair
    #[arg(long, value_name = "KEY", group = "key", value_parser = public_key)]
    pub(super) public_key: Option<PublicKey>,
    /// Seal the shared key in this file, from postern keygen, for each of the user's gates
    #[arg(long, value_name = "FILE", group = "key")]
    pub(super) key_file: Option<PathBuf>,
    /// End the user at this time, or at the start of this day in UTC [default: never]
    #[arg(long, value_name = "DAY|TIME")]
    pub(super) expires: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// Name of the user
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) change: Change,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Use this roster; its signatures are in FILE.minisig
    #[arg(long = "roster", value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Trust this public key; may be repeated [default: those that the config trusts]
    #[arg(long = "public-key", value_name = "KEY")]
    pub(super) public_keys: Vec<String>,
    #[command(flatten)]
    pub(super) report: Report,
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The roster; its signatures are in FILE.minisig
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) pull: Pull,
}

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The roster; its signatures are in FILE.minisig
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) report: Report,
}

#[derive(Debug, Args)]
pub(super) struct Pull {
    /// Keep services closed for the users of this roster only; those of former users may then be open to everyone
    #[arg(long)]
    pub(super) unprotect: bool,
    #[command(flatten)]
    pub(super) report: Report,
}

fn until(text: &str) -> Result<Timestamp, String> {
    let now = clock::wall();
    let end = match days(text) {
        Some(days) => now.plus(days),
        None => match time::parse_time_or_day(text) {
            Ok(end) => end,
            Err(_) => now.plus(time::parse_duration(text).map_err(|_| {
                format!("{text:?} is neither a length of time nor a day; write 30d or 2027-01-31")
            })?),
        },
    };
    if end <= now {
        return Err("this is not later than now".to_owned());
    }
    Ok(end)
}

/// Days and weeks, which have no end of the hour or of summer time here.
fn days(text: &str) -> Option<Duration> {
    let (number, days) = match text.strip_suffix('d') {
        Some(number) => (number, 1),
        None => (text.strip_suffix('w')?, 7),
    };
    let days: u64 = number
        .parse::<u16>()
        .ok()
        .map(u64::from)?
        .saturating_mul(days);
    Some(Duration::from_secs(days.saturating_mul(86_400)))
}

fn gate(text: &str) -> Result<(String, Option<PublicKey>), String> {
    let (name, key) = match text.split_once('=') {
        Some((name, key)) => (name, Some(public_key(key)?)),
        None => (text, None),
    };
    GateName::new(name).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), key))
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_base64(text).map_err(|error| error.to_string())
}
