//! What a command and a profile come to together: a wish, the way to the gate, and where a one-time code comes from.
//!
//! What the command line says goes before what the profile says. Sends nothing and asks nobody.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use postern_proto::{Action, UserKeys};

use super::arguments::{Asking, Gate, Target};
use super::gate;
use crate::client::profile::{CodeSource, Host};
use crate::client::{Failure, Families, KnockRequest, Way};

/// All that a knock is made from but the code itself.
pub(super) struct Plan {
    pub(super) wish: KnockRequest,
    pub(super) way: Way,
    pub(super) keys: UserKeys,
    pub(super) code: Option<CodeSource>,
}

impl Plan {
    /// For a command that opens: what it does not say, the profile says.
    pub(super) fn to_open(
        gate: Gate,
        asking: Asking,
        target: Target,
        duration: Option<Duration>,
        config: Option<&Path>,
    ) -> Result<Self, Failure> {
        Self::of(Action::Open, gate, asking, target.target, duration, config)
    }

    /// For a command that closes: everything, unless it names services itself, for those of the profile say what to open.
    pub(super) fn to_close(
        gate: Gate,
        asking: Asking,
        target: Target,
        config: Option<&Path>,
    ) -> Result<Self, Failure> {
        Self::of(Action::Close, gate, asking, target.target, None, config)
    }

    fn of(
        action: Action,
        gate: Gate,
        asking: Asking,
        target: Option<Host>,
        duration: Option<Duration>,
        config: Option<&Path>,
    ) -> Result<Self, Failure> {
        let (profile, keys) = gate::choose(gate.profile.as_deref(), gate.named, config)?;
        let services = if asking.services.is_empty() && action == Action::Open {
            profile.services
        } else {
            asking.services
        };
        let wish = KnockRequest {
            gate: profile.gate,
            action,
            services,
            allow: asking.allow.unwrap_or(profile.allow),
            duration: duration.or(profile.duration),
            target: target.or(profile.target),
            code: None,
            time_offset: asking.time_offset.unwrap_or(profile.time_offset),
        };
        let families = match (asking.ipv4, asking.ipv6) {
            (true, _) => Families::V4,
            (false, true) => Families::V6,
            (false, false) => Families::Both,
        };
        Ok(Self {
            wish,
            way: Way {
                to: profile.addresses,
                families,
                source: None,
            },
            keys,
            code: profile.code,
        })
    }

    /// From a source that is not this machine's own.
    pub(super) fn forged_from(mut self, source: Option<IpAddr>) -> Self {
        self.way.source = source;
        self
    }
}
