//! What the host's rules do with packets of a service, with a grant and without.

use serde::{Deserialize, Serialize};

use crate::model::address::Family;
use crate::model::service::Ports;

/// The firewall as the monitor judges it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallState {
    /// Why no grant opens now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub obstacle: Option<String>,
    pub tests: Vec<SelfTest>,
    /// What else keeps grants from opening, or cuts sessions.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One service over one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    pub service: Ports,
    pub family: Family,
    /// What happens to a packet with a grant, and the rule that decides.
    pub granted: String,
    /// The same for a stranger's packet.
    pub stranger: String,
    /// Why a session ends with its grant; `None` if it lives on.
    #[serde(default)]
    pub session: Option<String>,
    /// Whether a grant opens it and, with protection, a stranger's packet is dropped. `None` if a rule is not understood.
    pub is_right: Option<bool>,
}

impl FirewallState {
    /// How many services do not open, or are not hidden.
    pub fn faults(&self) -> usize {
        let wrong = self
            .tests
            .iter()
            .filter(|test| test.is_right == Some(false));
        let wrong = wrong.count().max(usize::from(self.obstacle.is_some()));
        wrong.saturating_add(self.warnings.len())
    }
}
