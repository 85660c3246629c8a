//! What `--json` writes: one object a command, with a version that changes only when a field changes its meaning or goes.
//!
//! Fields may be added. No key is among them but in what `keygen` makes.

use std::io::{self, Write};

use postern_proto::{Action, Allow, Request};
use serde::Serialize;

use super::words::{self, OverIpv4};
use super::{Exit, Failure, say};
use crate::client::{Sent, ServiceOpen};
use crate::model::service::Wanted;
use crate::model::time::millis;

const VERSION: u32 = 1;

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    command: &'a str,
    #[serde(flatten)]
    content: T,
}

/// What `knock` and `close` did, or would do.
#[derive(Serialize)]
pub(super) struct Knocked {
    pub(super) gate: String,
    /// `sent`, `printed` or `dry-run`.
    pub(super) mode: &'static str,
    pub(super) knocks: Vec<KnockedAt>,
    /// Only with `--wait`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<Waited>,
}

#[derive(Serialize)]
pub(super) struct KnockedAt {
    /// Address and port.
    pub(super) to: String,
    pub(super) sent: bool,
    pub(super) error: Option<String>,
    /// None if there is no way to this address.
    pub(super) request: Option<Asked>,
    /// Base64; only with `--print`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packet: Option<String>,
}

impl KnockedAt {
    /// What became of each knock.
    pub(super) fn all(sent: &[Sent]) -> Vec<Self> {
        let one = |sent: &Sent| Self {
            to: sent.to.to_string(),
            sent: sent.outcome.is_ok(),
            error: sent.outcome.as_ref().err().map(ToString::to_string),
            request: sent
                .request
                .as_ref()
                .map(|request| Asked::new(request, Some(sent.to.is_ipv4()))),
            packet: None,
        };
        sent.iter().map(one).collect()
    }
}

#[derive(Serialize)]
pub(super) struct Waited {
    pub(super) open: bool,
    pub(super) address: Option<String>,
    pub(super) after_ms: Option<u64>,
}

impl Waited {
    pub(super) fn of(opening: Option<ServiceOpen>) -> Self {
        Self {
            open: opening.is_some(),
            address: opening.map(|opening| opening.at.to_string()),
            after_ms: opening.map(|opening| millis(opening.after)),
        }
    }
}

/// How `connect` reached its port. To standard error, before the first byte is relayed.
#[derive(Serialize)]
pub(super) struct Connected {
    pub(super) gate: String,
    /// False where the port was open without a knock.
    pub(super) knocked: bool,
    pub(super) knocks: Vec<KnockedAt>,
    pub(super) wait: Waited,
}

/// What `run` did. To standard error, when all is done.
#[derive(Default, Serialize)]
pub(super) struct RanBehind {
    pub(super) gate: String,
    pub(super) knocks: Vec<KnockedAt>,
    /// None where no TCP port was asked for.
    pub(super) wait: Option<Waited>,
    /// How often it was knocked again while the command ran.
    pub(super) renewals: u32,
    /// None where the command did not end by itself.
    pub(super) exit_status: Option<i32>,
    /// The signal that ended it, or that came before it ran.
    pub(super) signal: Option<i32>,
    /// The knocks that ask to close.
    pub(super) closings: Vec<KnockedAt>,
}

/// What `profiles` lists.
#[derive(Serialize)]
pub(super) struct Listed {
    pub(super) file: String,
    pub(super) profiles: Vec<ListedProfile>,
}

#[derive(Serialize)]
pub(super) struct ListedProfile {
    pub(super) name: String,
    pub(super) gate: String,
    /// Host and port.
    pub(super) addresses: Vec<String>,
    pub(super) services: Vec<Wanted>,
    /// As a profile says it.
    pub(super) allow: String,
    /// None for what the gate grants by default.
    pub(super) duration_s: Option<u64>,
    /// None for the gate itself.
    pub(super) target: Option<String>,
    /// `ask`, `command`, or none where no code is needed.
    pub(super) code: Option<&'static str>,
}

/// A request.
#[derive(Serialize)]
pub(in crate::cli) struct Asked {
    action: &'static str,
    /// As a profile says it: `source`, `source/24`, an address or a network.
    allow: String,
    /// 0 to 128, in IPv6 space, as the wire has it: an IPv4 /24 is 120.
    allow_prefix: u8,
    /// None for the gate itself.
    target: Option<String>,
    services: Vec<Wanted>,
    /// None for what the gate grants by default.
    duration_s: Option<u32>,
    timestamp_ms: u64,
}

impl Asked {
    pub(in crate::cli) fn new(request: &Request, over_ipv4: OverIpv4) -> Self {
        let (Allow::Source { prefix } | Allow::Network { prefix, .. }) = request.allow;
        Self {
            action: match request.action {
                Action::Open => "open",
                Action::Close => "close",
            },
            allow: words::allow(request.allow, over_ipv4),
            allow_prefix: prefix,
            target: words::target(request),
            services: words::services(request),
            duration_s: (request.duration_s != 0).then_some(request.duration_s),
            timestamp_ms: request.timestamp_ms,
        }
    }
}

/// Writes the object on one line.
pub(super) fn write(command: &str, content: impl Serialize) -> Result<(), Failure> {
    say(&line(command, content)?)
}

/// The same to standard error, for commands whose standard output is another's.
pub(super) fn write_aside(command: &str, content: impl Serialize) -> Result<(), Failure> {
    let line = line(command, content)?;
    // If nobody can read it there is nobody left to tell.
    let _ = io::stderr().lock().write_all(line.as_bytes());
    Ok(())
}

fn line(command: &str, content: impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(&Versioned {
        version: VERSION,
        command,
        content,
    });
    let text = text.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write JSON: {error}"),
            "leave out --json",
        )
    })?;
    Ok(format!("{text}\n"))
}
