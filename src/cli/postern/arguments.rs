//! The arguments of `postern`. A key is never an argument, because other users of the machine can see command lines.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use postern_proto::GateName;

use crate::cli::deferred::Deferred;
use crate::client::profile::{self, AllowSetting, Endpoint, Host, TimeOffset};
use crate::client::token::is_profile_name;
use crate::model::service::Wanted;
use crate::model::time::parse_duration;

/// Open hidden ports: one encrypted UDP packet opens a port for one address, for a short time
#[derive(Debug, Parser)]
#[command(name = "postern", version, propagate_version = true, after_help = AFTER)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]
    #[arg(
        long,
        global = true,
        env = CONFIG_VARIABLE,
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(super) config: Option<PathBuf>,
}

/// Where the config is, unless an argument says it.
pub(super) const CONFIG_VARIABLE: &str = "POSTERN_CONFIG";

const AFTER: &str = "\
Exit status: 0 done, 1 failed, 2 wrong usage, 3 the port did not open in time, 66 file missing,
68 host unknown, 69 no route to the gate, 73 file cannot be created, 74 input or output failed,
77 permission missing, 78 config or key wrong. `postern run` returns the status of its command:
128 and the signal if one ended it, 126 if it cannot be run, 127 if it is not found.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Send a knock to each address of a gate to open a service
    Knock(Deferred<Knock>),
    /// Close open grants early; all of them if no service is named
    Close(Deferred<Close>),
    /// Connect to a port and relay standard input and output; knock if it is closed (ssh's ProxyCommand)
    Connect(Deferred<Connect>),
    /// Knock, run a command, and close the grant when the command ends
    Run(Deferred<Run>),
    /// Keep services open until a signal ends it, also when this machine's address changes
    Keep(Deferred<Keep>),
    /// List the profiles of the config
    Profiles(Deferred<Profiles>),
    /// Make a key pair and print the enrolment request for a gate; the private key stays on this machine
    Enroll(Deferred<Enroll>),
    /// Add a profile from the token or the TOML text of the gate's administrator, or profiles from a .fwknoprc
    Import(Deferred<Import>),
    /// Make a shared key or a key pair
    Keygen(Deferred<Keygen>),
    /// Open a packet with the profile's key and show its request
    OpenPacket(Deferred<OpenPacket>),
}

#[derive(Debug, Default, Args)]
pub(super) struct Knock {
    #[command(flatten)]
    pub(super) request: RequestArguments,
    #[command(flatten)]
    pub(super) grant: GrantLength,
    /// Read the one-time code from standard input [default: from POSTERN_CODE, or as the profile says]
    #[arg(long, conflicts_with = "key_stdin")]
    pub(super) code_stdin: bool,
    /// Hit the ports of the profile's sequence [default: if the profile has no key]
    #[arg(long, conflicts_with_all = ["key_file", "key_stdin", "code_stdin", "spoof_source"])]
    pub(super) sequence: bool,
    /// The same, if it is an encrypted sequence of fwknop 1.9
    #[arg(long, conflicts_with_all = ["sequence", "key_file", "key_stdin", "code_stdin", "spoof_source"])]
    pub(super) encrypted_sequence: bool,
    /// Wait until the first requested TCP port opens; exit with status 3 if it does not
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "5s",
          value_parser = parse_duration, conflicts_with_all = ["print", "dry_run"])]
    pub(super) wait: Option<Duration>,
    /// With --wait, knock once and do not repeat the knock
    #[arg(long, requires = "wait")]
    pub(super) once: bool,
    /// Send from this source address, which this machine does not have; requires root and --allow
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["print", "dry_run"])]
    pub(super) spoof_source: Option<IpAddr>,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Close {
    #[command(flatten)]
    pub(super) request: RequestArguments,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = CONNECT)]
pub(super) struct Connect {
    /// Use this profile of the config
    #[arg(value_name = "PROFILE")]
    pub(super) profile: String,
    /// Connect to this host: the gate, or with --target a host behind it
    #[arg(value_name = "HOST")]
    pub(super) host: Host,
    /// Connect to this TCP port
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,
    #[command(flatten)]
    pub(super) options: RequestOptions,
    /// Treat HOST as a host behind the gate
    #[arg(long)]
    pub(super) target: bool,
    #[command(flatten)]
    pub(super) grant: GrantLength,
    #[command(flatten)]
    pub(super) wait: WaitLimit,
    #[command(flatten)]
    pub(super) messages: Messages,
}

const CONNECT: &str = "\
In ~/.ssh/config:
  Host gate.example.org
      ProxyCommand postern connect home %h %p

The knock asks for the services of -s, else for those of the profile if they cover PORT, else for tcp/PORT.";

#[derive(Debug, Args)]
#[command(after_help = RUN)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) request: RequestArguments,
    #[command(flatten)]
    pub(super) grant: GrantLength,
    /// Renew the grant before it ends, until the command ends
    #[arg(long)]
    pub(super) keep_open: bool,
    /// Read the one-time code from standard input [default: from POSTERN_CODE, or as the profile says]
    #[arg(long, conflicts_with = "key_stdin")]
    pub(super) code_stdin: bool,
    #[command(flatten)]
    pub(super) wait: WaitLimit,
    #[command(flatten)]
    pub(super) messages: Messages,
    /// Run this command with its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

const RUN: &str = "\
The command starts when the first requested TCP port is open, or at once if no TCP port is requested.
Closing the grant stops new connections from the same address, also those of other commands;
established connections stay. With a profile that cannot close, such as one with fwknop,
the grant ends by itself. The command does not get POSTERN_KEY and POSTERN_CODE.";

#[derive(Debug, Args)]
#[command(after_help = KEEP)]
pub(super) struct Keep {
    #[command(flatten)]
    pub(super) request: RequestArguments,
    #[command(flatten)]
    pub(super) grant: GrantLength,
    #[command(flatten)]
    pub(super) messages: Messages,
}

const KEEP: &str = "\
It knocks again before the grant ends, when this machine's address or its route to the gate changes, and
after a suspend. Without a length it asks for 60s. It asks the gate to close when SIGINT, SIGTERM or
SIGHUP ends it, if the profile can close. As a service of a user: systemctl --user enable --now postern-keep@PROFILE.";

#[derive(Debug, Args)]
pub(super) struct Profiles {
    /// Write one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Which gate, what to ask for, and which host to reach.
#[derive(Debug, Default, Args)]
pub(super) struct RequestArguments {
    #[command(flatten)]
    pub(super) gate: Gate,
    #[command(flatten)]
    pub(super) options: RequestOptions,
    /// Reach this host behind the gate
    #[arg(long, value_name = "HOST")]
    pub(super) target: Option<Host>,
}

/// Which gate, and with which key. These arguments take precedence over the profile.
#[derive(Debug, Default, Args)]
pub(super) struct Gate {
    /// Use this profile of the config; not needed with --gate
    #[arg(value_name = "PROFILE", required_unless_present = "gate")]
    pub(super) profile: Option<String>,
    #[command(flatten)]
    pub(super) named: NamedGate,
}

#[derive(Debug, Default, Args)]
pub(super) struct NamedGate {
    /// Use this gate name, as in the gate's own config
    #[arg(long, value_name = "NAME", value_parser = GateName::new)]
    pub(super) gate: Option<GateName>,
    // Not a doc comment, which would read [IPv6] as a link.
    #[arg(
        long,
        value_name = "HOST:PORT",
        help = "Knock at HOST, HOST:PORT or [IPv6]:PORT; repeatable [default: the gate's name]"
    )]
    pub(super) address: Vec<Endpoint>,
    /// Read the shared key from this file, which holds nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "key_stdin")]
    pub(super) key_file: Option<PathBuf>,
    /// Read the shared key from standard input [default: from the profile, or POSTERN_KEY]
    #[arg(long)]
    pub(super) key_stdin: bool,
}

/// What to ask for, and over which families.
#[derive(Debug, Default, Args)]
pub(super) struct RequestOptions {
    /// Request a service: tcp/22, udp/5000-5010, icmp, or a service that the gate defines; repeatable
    #[arg(short, long = "service", value_name = "SERVICE")]
    pub(super) services: Vec<Wanted>,
    /// Allow this address: auto, both, source, source/24, an address, a network, or stun:HOST to ask a STUN server
    #[arg(long, value_name = "ADDRESS")]
    pub(super) allow: Option<AllowSetting>,
    /// Knock over IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(super) ipv4: bool,
    /// Knock over IPv6 only
    #[arg(short = '6', long)]
    pub(super) ipv6: bool,
    /// Correct this machine's clock: +30s if it is behind, -30s if it is ahead
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) time_offset: Option<TimeOffset>,
}

#[derive(Debug, Default, Args)]
pub(super) struct GrantLength {
    /// Open for this time, such as 30s or 10m [default: as the profile says, or the gate's default]
    #[arg(long = "for", value_name = "TIME", value_parser = profile::duration)]
    pub(super) duration: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct WaitLimit {
    /// Wait this long for the port to open; exit with status 3 if it does not
    #[arg(long = "wait", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(super) limit: Duration,
    /// Knock once and do not repeat the knock
    #[arg(long)]
    pub(super) once: bool,
}

/// What to do with a knock.
#[derive(Debug, Default, Args)]
pub(super) struct Output {
    /// Write each packet as a line of base64, fwknop's as it is, or each hit of a sequence as HOST PORT, and send nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) print: bool,
    /// Show the request, and send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Write one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Messages on standard error, for commands that use standard output for data.
#[derive(Debug, Args)]
pub(super) struct Messages {
    /// Write nothing except errors
    #[arg(short, long, conflicts_with = "json")]
    pub(super) quiet: bool,
    /// Write one JSON object to standard error
    #[arg(long)]
    pub(super) json: bool,
}

impl Messages {
    /// Whether to write messages for people.
    pub(super) fn are_wanted(&self) -> bool {
        !self.quiet && !self.json
    }
}

#[derive(Debug, Args)]
pub(super) struct Enroll {
    /// Save the private key as NAME.key beside the config [default: the profile's name, or home]
    #[arg(value_name = "NAME", value_parser = profile_name)]
    pub(super) name: Option<String>,
    /// Choose the name of the profile [default: NAME]
    #[arg(long, value_name = "PROFILE", value_parser = profile_name)]
    pub(super) profile: Option<String>,
    /// Write one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// Read the token, the profile, or a .fwknoprc of fwknop, from this file, or - for standard input; a token without a key may be the argument itself [default: -]
    #[arg(value_name = "TOKEN-FILE")]
    pub(super) source: Option<String>,
    /// Choose the name of the profile [default: as enrolled, or the first part of the gate's name]
    #[arg(long, value_name = "NAME", value_parser = profile_name)]
    pub(super) profile: Option<String>,
    /// Replace the profile of this name, or the only profile of the gate; with a .fwknoprc, all of its names
    #[arg(long)]
    pub(super) replace: bool,
    /// Print the profiles of a .fwknoprc with … in place of each key, and write nothing
    #[arg(long, conflicts_with_all = ["profile", "replace"])]
    pub(super) dry_run: bool,
    /// Write one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Not a name for a profile.
#[derive(Debug, thiserror::Error)]
#[error(
    "this is no name for a profile; write 1 to 32 letters, digits, - and _, the first a letter or digit"
)]
struct InvalidName;

fn profile_name(text: &str) -> Result<String, InvalidName> {
    is_profile_name(text)
        .then(|| text.to_owned())
        .ok_or(InvalidName)
}

#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// Make a key pair instead of a shared key
    #[arg(long)]
    pub(super) pair: bool,
    /// Write the secret key to this new file, readable by its owner only [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Write one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct OpenPacket {
    /// Use this profile of the config; with --gate, this is the packet
    #[arg(value_name = "PROFILE", required_unless_present = "gate")]
    pub(super) first: Option<String>,
    /// Open this packet in base64, as --print writes it [default: from standard input]
    #[arg(value_name = "PACKET")]
    pub(super) second: Option<String>,
    #[command(flatten)]
    pub(super) named: NamedGate,
    /// Write one JSON object
    #[arg(long)]
    pub(super) json: bool,
}
