//! The arguments of `posternd init` and `posternd user`.
//!
//! What an argument may say is decided by the types it is read into, or by the config that it goes into.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use postern_proto::GateName;

use super::arguments::Report;
use crate::model::endpoint::{Endpoint, EndpointError};
use crate::model::policy::is_user_name;
use crate::model::service::Wanted;
use crate::model::time;

#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    pub(super) report: Report,
    /// The gate's name, part of every key [default: this host's name with its domain]
    #[arg(long, value_name = "GATE", value_parser = GateName::new)]
    pub(super) name: Option<GateName>,
    /// Where clients send to: HOST or HOST:PORT; may be repeated, once for each family [default: the gate's name]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) address: Vec<String>,
    /// The UDP port that knocks come to [default: 62201]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
}

#[derive(Debug, Args)]
pub(super) struct User {
    #[command(subcommand)]
    pub(super) command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user and print what the client needs: a profile, and the same as a token
    Add(Box<Add>),
    /// Show all users
    List(Report),
    /// Show what one user may do
    Show(Named),
    /// Remove a user, file and key; open grants end
    Remove(Remove),
    /// Let a user do nothing for a while; open grants end, services stay closed
    Disable(Named),
    /// Let a disabled user knock again
    Enable(Named),
    /// Give a user a new key; the old one counts for a while yet
    Rotate(Rotate),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The user
    #[arg(value_name = "NAME", value_parser = user_name)]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) report: Report,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    pub(super) named: Named,
    /// Also where services are then open to everyone, because no other user may open them
    #[arg(long)]
    pub(super) unprotect: bool,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    #[command(flatten)]
    pub(super) named: Named,
    /// What the user may open: tcp/22, udp/5000-5010, icmp, or the NAME of a [service.NAME]; may be repeated
    #[arg(short, long = "service", value_name = "SERVICE", required = true)]
    pub(super) services: Vec<Wanted>,
    /// A network behind the gate that the user may reach, such as 10.0.0.0/24; may be repeated
    #[arg(long = "target", value_name = "CIDR")]
    pub(super) targets: Vec<String>,
    /// A network that addresses must lie in to be let in; may be repeated [default: all]
    #[arg(long = "network", value_name = "CIDR")]
    pub(super) networks: Vec<String>,
    /// Which address may be let in: the one inside the knock, the source of the packet, or either [default: either]
    #[arg(long, value_name = "WHICH", value_parser = PossibleValuesParser::new(["claimed", "observed", "either"]))]
    pub(super) grant_to: Option<String>,
    /// How long a grant lasts when a knock does not say [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    pub(super) duration: Option<Duration>,
    /// How long a grant may last at most [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub(super) max_duration: Option<String>,
    /// How many knocks are admitted in a time, such as 30/min [default: 30/min]
    #[arg(long, value_name = "QUOTA")]
    pub(super) quota: Option<String>,
    #[command(flatten)]
    pub(super) pair: Pair,
    /// Ask for one-time codes (TOTP), too, and print what an authenticator program needs
    #[arg(long)]
    pub(super) totp: bool,
    #[command(flatten)]
    pub(super) handing: Handing,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    pub(super) named: Named,
    #[command(flatten)]
    pub(super) pair: Pair,
    /// How long the old key counts beside the new one; 0s: not at all
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = keep_old)]
    pub(super) keep_old: Duration,
    #[command(flatten)]
    pub(super) handing: Handing,
}

/// A key pair instead of a shared key.
#[derive(Debug, Args)]
pub(super) struct Pair {
    /// The line that postern enroll printed at the client, or - for standard input: no secret travels then
    #[arg(long, value_name = "LINE", conflicts_with = "pair")]
    pub(super) request: Option<String>,
    /// Make a key pair here and hand out its private key; postern enroll at the client is the better way
    #[arg(long)]
    pub(super) pair: bool,
    /// Mix a pre-shared key into the key pair; it is a secret, and the token then holds it
    #[arg(long)]
    pub(super) psk: bool,
}

/// What is printed for the client.
#[derive(Debug, Args)]
pub(super) struct Handing {
    /// Where this client sends to, instead of what the config says; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", value_parser = address)]
    pub(super) address: Vec<String>,
    /// Show the token as a QR code, too
    #[arg(long, conflicts_with = "json")]
    pub(super) qr: bool,
}

fn user_name(text: &str) -> Result<String, String> {
    let why = "this is not a user's name; write 1 to 64 letters, digits, dots, underscores, hyphens or @, the first a letter or digit";
    if is_user_name(text) {
        Ok(text.to_owned())
    } else {
        Err(why.to_owned())
    }
}

/// Kept as it was written: which port it has where it names none, only the gate's config says.
fn address(text: &str) -> Result<String, EndpointError> {
    text.parse().map(|_: Endpoint| text.to_owned())
}

/// Long enough for everybody's holidays, and short enough that an old key does not count for ever.
fn keep_old(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_secs(90 * 86_400);
    let time = time::parse_duration(text)?;
    if time <= MOST {
        Ok(time)
    } else {
        Err("an old key may count for 90 days at most; write 2160h or less".to_owned())
    }
}
