//! The arguments of `posternd user`.
//!
//! The config judges the values that go into it.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::shared_arguments::Report;
use crate::model::endpoint::{Endpoint, EndpointError};
use crate::model::service::Wanted;
use crate::model::time;
use crate::model::user_name::is_user_name;

#[derive(Debug, Args)]
pub(super) struct User {
    #[command(subcommand)]
    pub(super) command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user, and print the client's profile and token
    Add(Box<Add>),
    /// List all users
    List(Report),
    /// Show the rights of one user
    Show(Named),
    /// Remove a user, its file and its key; end the user's grants
    Remove(Remove),
    /// Disable a user; end the user's grants and keep services closed
    Disable(Named),
    /// Enable a disabled user
    Enable(Named),
    /// Give a user a new key; accept the old key for a while
    Rotate(Rotate),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// Name of the user
    #[arg(value_name = "NAME", value_parser = user_name)]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) report: Report,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    pub(super) named: Named,
    /// Remove the user even if no other user may open a service, which is then open to everyone
    #[arg(long)]
    pub(super) unprotect: bool,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    #[command(flatten)]
    pub(super) named: Named,
    /// Allow this service: tcp/22, udp/5000-5010, icmp, or the NAME of a [service.NAME]; may be repeated
    #[arg(short, long = "service", value_name = "SERVICE", required = true)]
    pub(super) services: Vec<Wanted>,
    /// Allow this network behind the gate, such as 10.0.0.0/24; may be repeated
    #[arg(long = "target", value_name = "CIDR")]
    pub(super) targets: Vec<String>,
    /// Admit only knocks whose packet comes from this network; may be repeated [default: all]
    #[arg(long = "from", value_name = "CIDR")]
    pub(super) from: Vec<String>,
    /// Admit only addresses of this network; may be repeated [default: all]
    #[arg(long = "network", value_name = "CIDR")]
    pub(super) networks: Vec<String>,
    /// Admit the address inside the knock (claimed), the packet's source (observed), only if both are the same (same), or either [default: either]
    #[arg(long, value_name = "WHICH", value_parser = PossibleValuesParser::new(["claimed", "observed", "same", "either"]))]
    pub(super) grant_to: Option<String>,
    /// Set how long a grant lasts if the knock names no time [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    pub(super) duration: Option<Duration>,
    /// Limit how long a grant may last [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub(super) max_duration: Option<String>,
    /// End the user at this time, or at the start of this day in UTC [default: never]
    #[arg(long, value_name = "DAY|TIME")]
    pub(super) expires: Option<String>,
    /// Limit admitted knocks, such as 30/min [default: 30/min]
    #[arg(long, value_name = "QUOTA")]
    pub(super) quota: Option<String>,
    #[command(flatten)]
    pub(super) key: KeyPair,
    /// Require one-time codes (TOTP), and print the URI for an authenticator program
    #[arg(long)]
    pub(super) totp: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    pub(super) named: Named,
    #[command(flatten)]
    pub(super) key: KeyPair,
    /// Accept the old key for this time; with 0s it ends at once
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = keep_old)]
    pub(super) keep_old: Duration,
    #[command(flatten)]
    pub(super) output: Output,
}

/// A key pair instead of a shared key.
#[derive(Debug, Args)]
pub(super) struct KeyPair {
    /// Use this request, a line that postern enroll printed at the client, or - for standard input; it holds no secret
    #[arg(long, value_name = "LINE", conflicts_with = "pair")]
    pub(super) request: Option<String>,
    /// Make a key pair here and print its private key; postern enroll at the client is safer
    #[arg(long)]
    pub(super) pair: bool,
    /// Add a pre-shared key to the key pair; the token then holds this secret
    #[arg(long)]
    pub(super) psk: bool,
}

/// What is printed for the client.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Send knocks to this address instead of the config's; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", value_parser = address)]
    pub(super) address: Vec<String>,
    /// Print the token as a QR code, too
    #[arg(long, conflicts_with = "json")]
    pub(super) qr: bool,
}

fn user_name(text: &str) -> Result<String, String> {
    let why = "this is no user name; write 1 to 64 letters, digits, dots, underscores, hyphens or @, the first a letter or digit";
    if is_user_name(text) {
        Ok(text.to_owned())
    } else {
        Err(why.to_owned())
    }
}

/// The text stays as written, because the gate's config knows the default port.
fn address(text: &str) -> Result<String, EndpointError> {
    text.parse().map(|_: Endpoint| text.to_owned())
}

/// An old key must not work for ever.
fn keep_old(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_secs(90 * 86_400);
    let time = time::parse_duration(text).map_err(|error| error.to_string())?;
    if time <= MOST {
        Ok(time)
    } else {
        Err("an old key works for 90 days at most; write 2160h or less".to_owned())
    }
}
