//! What `--json` writes: one object a command, with a version that changes only when a field changes its meaning or goes.
//!
//! Fields may be added. No key is among them but in what `keygen` makes.

use postern_proto::{Action, Allow, Request};
use serde::Serialize;

use super::words::{self, OverIpv4};
use super::{Exit, Failure, say};
use crate::service::Wanted;

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

#[derive(Serialize)]
pub(super) struct Waited {
    pub(super) open: bool,
    pub(super) address: Option<String>,
    pub(super) after_ms: Option<u64>,
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
    let text = serde_json::to_string(&Versioned { version: VERSION, command, content })
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write JSON: {error}"), "leave out --json"))?;
    say(&format!("{text}\n"))
}
