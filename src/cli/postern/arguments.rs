//! The arguments of `postern`. A key is never one of them: other users of the machine see a command line.
//!
//! What an argument may say is decided by the types it is read into.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use postern_proto::GateName;

use crate::client::profile::{self, AllowSetting, Endpoint, Host, TimeOffset};
use crate::client::token::is_profile_name;
use crate::model::service::Wanted;
use crate::model::time;

/// Knocks at hidden doors: one encrypted UDP packet opens a port for one address, for a short time.
#[derive(Debug, Parser)]
#[command(name = "postern", version, propagate_version = true, after_help = AFTER)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// The config with the profiles [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]
    #[arg(
        long,
        global = true,
        env = "POSTERN_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(super) config: Option<PathBuf>,
}

const AFTER: &str = "\
Exit status: 0 done, 1 failed, 2 wrong usage, 3 waited and the port did not open, 66 file missing,
68 host unknown, 69 no way to the gate, 73 file cannot be made, 74 input or output, 77 not allowed,
78 config or key wrong; of run: that of its command, 128 and the signal, 126 not runnable, 127 not found.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ask a gate to open: one knock over each family, IPv4 and IPv6
    Knock(Knock),
    /// Close what one has opened, before its time; all of it if no service is named
    Close(Close),
    /// Reach a port: knock if it is closed, then relay standard input and output (ssh's ProxyCommand)
    Connect(Connect),
    /// Knock, run a command behind the open door, and close the door after it
    Run(Run),
    /// List the profiles of the config
    Profiles(Profiles),
    /// Make a key pair for a gate and print the request to be enrolled there; the private key stays on this machine
    Enroll(Enroll),
    /// Add a profile from the token, or the profile in TOML, that the gate's administrator sent
    Import(Import),
    /// Make a key to share with a gate, or a key pair
    Keygen(Keygen),
    /// Open a packet with the profile's key and show what it asks for
    OpenPacket(OpenPacket),
}

#[derive(Debug, Args)]
pub(super) struct Knock {
    #[command(flatten)]
    pub(super) gate: Gate,
    #[command(flatten)]
    pub(super) asking: Asking,
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) length: Length,
    /// Read the one-time code from standard input; else POSTERN_CODE is asked, then the profile
    #[arg(long, conflicts_with = "key_stdin")]
    pub(super) code_stdin: bool,
    /// Wait until the first TCP port asked for opens; exit status 3 if it does not
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "5s",
          value_parser = time::parse_duration, conflicts_with_all = ["print", "dry_run"])]
    pub(super) wait: Option<Duration>,
    /// Send from this address, which is not one's own: needs root, and --allow for who is let in
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["print", "dry_run"])]
    pub(super) spoof_source: Option<IpAddr>,
    #[command(flatten)]
    pub(super) showing: Showing,
}

#[derive(Debug, Args)]
pub(super) struct Close {
    #[command(flatten)]
    pub(super) gate: Gate,
    #[command(flatten)]
    pub(super) asking: Asking,
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) showing: Showing,
}

#[derive(Debug, Args)]
#[command(after_help = CONNECT)]
pub(super) struct Connect {
    /// A profile of the config
    #[arg(value_name = "PROFILE")]
    pub(super) profile: String,
    /// Where to connect to: the gate, or with --target a host behind it
    #[arg(value_name = "HOST")]
    pub(super) host: Host,
    /// The TCP port to connect to
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,
    #[command(flatten)]
    pub(super) asking: Asking,
    /// Ask for HOST, which stands behind the gate
    #[arg(long)]
    pub(super) target: bool,
    #[command(flatten)]
    pub(super) length: Length,
    #[command(flatten)]
    pub(super) patience: Patience,
    #[command(flatten)]
    pub(super) telling: Telling,
}

const CONNECT: &str = "\
In ~/.ssh/config:
  Host gate.example.org
      ProxyCommand postern connect home %h %p

Asked for is what -s names; else what the profile names if that covers the port; else tcp/PORT.";

#[derive(Debug, Args)]
#[command(after_help = RUN)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) gate: Gate,
    #[command(flatten)]
    pub(super) asking: Asking,
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) length: Length,
    /// Knock again before the time of --for is over, as long as the command runs
    #[arg(long)]
    pub(super) keep_open: bool,
    /// Read the one-time code from standard input; else POSTERN_CODE is asked, then the profile
    #[arg(long, conflicts_with = "key_stdin")]
    pub(super) code_stdin: bool,
    #[command(flatten)]
    pub(super) patience: Patience,
    #[command(flatten)]
    pub(super) telling: Telling,
    /// The command and its arguments, behind --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

const RUN: &str = "\
Waits until the first TCP port asked for opens, if there is one. What is closed afterwards is closed for every
connection to come from the same address, also those of another command; connections that exist live on.
POSTERN_KEY and POSTERN_CODE are not passed on to the command.";

#[derive(Debug, Args)]
pub(super) struct Profiles {
    /// Write one JSON object, for programs
    #[arg(long)]
    pub(super) json: bool,
}

/// Which gate, and with which key. What is given here goes before what the profile says.
#[derive(Debug, Args)]
pub(super) struct Gate {
    /// A profile of the config; or name the gate with --gate
    #[arg(value_name = "PROFILE", required_unless_present = "gate")]
    pub(super) profile: Option<String>,
    #[command(flatten)]
    pub(super) named: NamedGate,
}

#[derive(Debug, Default, Args)]
pub(super) struct NamedGate {
    /// The gate's name, as its own config says it
    #[arg(long, value_name = "NAME", value_parser = GateName::new)]
    pub(super) gate: Option<GateName>,
    // Not a doc comment, which would read [IPv6] as a link.
    #[arg(
        long,
        value_name = "HOST:PORT",
        help = "Where knocks go: HOST, HOST:PORT or [IPv6]:PORT; may be repeated [default: the gate's name]"
    )]
    pub(super) address: Vec<Endpoint>,
    /// A file that holds the shared key and nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "key_stdin")]
    pub(super) key_file: Option<PathBuf>,
    /// Read the shared key from standard input; without any key, the variable POSTERN_KEY is asked
    #[arg(long)]
    pub(super) key_stdin: bool,
}

/// What to ask for, and over which families.
#[derive(Debug, Args)]
pub(super) struct Asking {
    /// tcp/22, udp/5000-5010, icmp, or a service that the gate names; may be repeated
    #[arg(short, long = "service", value_name = "SERVICE")]
    pub(super) services: Vec<Wanted>,
    /// Whom to let in: auto, source, source/24, an address, a network, or stun:HOST for the address that a STUN server sees
    #[arg(long, value_name = "ADDRESS")]
    pub(super) allow: Option<AllowSetting>,
    /// Knock over IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(super) ipv4: bool,
    /// Knock over IPv6 only
    #[arg(short = '6', long)]
    pub(super) ipv6: bool,
    /// Added to this machine's clock: +30s where it is behind, -30s where it is ahead
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) time_offset: Option<TimeOffset>,
}

#[derive(Debug, Args)]
pub(super) struct Target {
    /// A host behind the gate to reach
    #[arg(long, value_name = "HOST")]
    pub(super) target: Option<Host>,
}

#[derive(Debug, Args)]
pub(super) struct Length {
    /// For how long to open, such as 30s or 10m [default: the profile's, or what the gate grants]
    #[arg(long = "for", value_name = "TIME", value_parser = profile::duration)]
    pub(super) duration: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct Patience {
    /// How long to wait for the port to open; exit status 3 if it does not
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time::parse_duration)]
    pub(super) wait: Duration,
}

/// What to do with a knock.
#[derive(Debug, Args)]
pub(super) struct Showing {
    /// Send nothing; write each packet as a line of base64
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) print: bool,
    /// Send nothing; show what would be asked
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Write one JSON object, for programs
    #[arg(long)]
    pub(super) json: bool,
}

/// What is said on standard error, where standard output is another's.
#[derive(Debug, Args)]
pub(super) struct Telling {
    /// Say nothing but why it failed
    #[arg(short, long, conflicts_with = "json")]
    pub(super) quiet: bool,
    /// Write one JSON object, for programs, to standard error
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Enroll {
    /// The name of the key: it lies in NAME.key beside the config [default: the profile's, or home]
    #[arg(value_name = "NAME", value_parser = profile_name)]
    pub(super) name: Option<String>,
    /// What the profile will be called [default: NAME]
    #[arg(long, value_name = "PROFILE", value_parser = profile_name)]
    pub(super) profile: Option<String>,
    /// Write one JSON object, for programs
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// A file with the token or the profile, - for standard input, or a token that holds no key [default: standard input]
    #[arg(value_name = "TOKEN-FILE")]
    pub(super) source: Option<String>,
    /// What to call the profile [default: as it was enrolled, or the first part of the gate's name]
    #[arg(long, value_name = "NAME", value_parser = profile_name)]
    pub(super) profile: Option<String>,
    /// Put it in the place of the profile that has its name, or of the only one for its gate
    #[arg(long)]
    pub(super) replace: bool,
    /// Write one JSON object, for programs
    #[arg(long)]
    pub(super) json: bool,
}

fn profile_name(text: &str) -> Result<String, String> {
    let why = "this is no name for a profile; write 1 to 32 letters, digits, - and _, the first a letter or digit";
    if is_profile_name(text) {
        Ok(text.to_owned())
    } else {
        Err(why.to_owned())
    }
}

#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// A key pair instead of a shared key
    #[arg(long)]
    pub(super) pair: bool,
    /// Write the secret key into this new file, readable by its owner only, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Write one JSON object, for programs
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct OpenPacket {
    /// A profile, then the packet in base64 [default: from standard input]; with --gate, the packet alone
    #[arg(value_name = "PROFILE", required_unless_present = "gate")]
    pub(super) first: Option<String>,
    /// The packet in base64, as --print wrote it
    #[arg(value_name = "PACKET")]
    pub(super) second: Option<String>,
    #[command(flatten)]
    pub(super) named: NamedGate,
    /// Write one JSON object, for programs
    #[arg(long)]
    pub(super) json: bool,
}
