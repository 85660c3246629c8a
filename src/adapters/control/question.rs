//! The questions and answers of the control socket.

use serde::{Deserialize, Serialize};

use super::mark_text::MarkText;
use super::status::Status;
use crate::core::gate::Seen;
use crate::core::order::{Reloaded, Selection};
use crate::model::fleet::ClusterGrant;
use crate::model::grant::ListedGrant;
use crate::model::self_test::FirewallState;

/// The version of answers.
pub(crate) const VERSION: u32 = 1;

pub(crate) const UNEXPECTED: &str =
    "unexpected answer from posternd; are daemon and command of the same version?";

/// A question to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Question {
    /// The status.
    Status,
    /// The open grants.
    Grants,
    /// The live grants of all gates of this name, as this gate knows them.
    ClusterGrants,
    /// Close grants.
    Close(Selection),
    /// End a trial and keep the firewall rules.
    Confirm,
    /// Reload the config.
    Reload,
    /// Whether a packet with this mark was seen.
    Seen(MarkText),
    /// The counters, for a monitoring system.
    Metrics,
    /// What the host's rules do with each service.
    Firewall,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Answer {
    /// To `Status`.
    Status(Box<Status>),
    /// To `Grants`.
    Grants(Vec<ListedGrant>),
    /// To `ClusterGrants`.
    ClusterGrants(Vec<ClusterGrant>),
    /// To `Close`: how many were closed.
    Closed(usize),
    /// To `Confirm`: whether there was a trial.
    Confirmed(bool),
    /// To `Reload`: the outcome.
    Reloaded(Reloaded),
    /// To `Seen`.
    Seen(Option<Seen>),
    /// To `Metrics`: OpenMetrics text.
    Metrics(String),
    /// To `Firewall`.
    Firewall(FirewallState),
    /// Why it was not done.
    Failed(String),
}
