//! The output of `--json`: one object for each command, described in docs/json.md.
//!
//! Shows no key, except those that `keygen` makes.

use std::io;
use std::net::SocketAddr;

use postern_proto::{Action, Allow, Request};
use serde::Serialize;

use super::output::{hint, say};
use super::words::{self, OverIpv4};
use crate::client::{OpenPort, PreparedKnock, SentKnock};
use crate::model::address;
use crate::model::exit::{ExitError, FAILED};
use crate::model::service::Wanted;
use crate::model::time::millis;

/// Changes only when a field changes its meaning or is removed.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    command: &'a str,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize)]
pub(super) struct KnocksJson {
    pub(super) gate: String,
    pub(super) mode: &'static str,
    pub(super) knocks: Vec<KnockJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<WaitJson>,
}

#[derive(Serialize)]
pub(super) struct KnockJson {
    pub(super) to: String,
    pub(super) sent: bool,
    /// How many knocks were sent there.
    pub(super) count: usize,
    pub(super) error: Option<String>,
    /// `None` if there is no route to this address.
    pub(super) request: Option<RequestJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packet: Option<String>,
    /// The hits of a sequence, as `HOST PORT`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hits: Vec<String>,
}

impl KnockJson {
    fn new(
        to: SocketAddr,
        count: usize,
        request: Option<&Request>,
        error: Option<&io::Error>,
    ) -> Self {
        Self {
            to: address::place(to),
            sent: error.is_none(),
            count,
            error: error.map(ToString::to_string),
            request: request.map(|request| RequestJson::new(request, Some(to.is_ipv4()))),
            packet: None,
            hits: Vec::new(),
        }
    }

    pub(super) fn all(sent: &[SentKnock]) -> Vec<Self> {
        sent.iter()
            .map(|sent| {
                let (request, error) = (sent.request.as_ref(), sent.outcome.as_ref().err());
                Self::new(sent.to, sent.count, request, error)
            })
            .collect()
    }

    pub(super) fn unsent(knock: &PreparedKnock) -> Self {
        let (request, error) = match &knock.sealed {
            Ok(sealed) => (Some(&sealed.request), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            sent: false,
            ..Self::new(knock.to, 0, request, error)
        }
    }
}

#[derive(Serialize)]
pub(super) struct WaitJson {
    open: bool,
    address: Option<String>,
    after_ms: Option<u64>,
}

impl From<Option<OpenPort>> for WaitJson {
    fn from(port: Option<OpenPort>) -> Self {
        Self {
            open: port.is_some(),
            address: port.map(|port| port.at.to_string()),
            after_ms: port.map(|port| millis(port.after)),
        }
    }
}

#[derive(Serialize)]
pub(in crate::cli) struct RequestJson {
    action: &'static str,
    /// As in a profile: `source`, `source/24`, an address or a network.
    allow: String,
    allow_prefix: u8,
    /// `None` for the gate itself.
    target: Option<String>,
    services: Vec<Wanted>,
    /// `None` for the gate's default.
    duration_s: Option<u32>,
    timestamp_ms: u64,
}

impl RequestJson {
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

pub(super) fn write(command: &str, content: impl Serialize) -> Result<(), ExitError> {
    say(&format!("{}\n", line(command, content)?))
}

/// Writes the object to standard error, for commands that use standard output for data.
pub(super) fn write_aside(command: &str, content: impl Serialize) -> Result<(), ExitError> {
    hint(&line(command, content)?);
    Ok(())
}

fn line(command: &str, content: impl Serialize) -> Result<String, ExitError> {
    let object = Versioned {
        version: VERSION,
        command,
        content,
    };
    serde_json::to_string(&object).map_err(|error| {
        let what = format!("cannot write JSON: {error}; leave out --json");
        ExitError::new(FAILED, what)
    })
}
