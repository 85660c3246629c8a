//! Combines the command line and the profile into a request, a destination, secrets and the source of a code.
//!
//! The command line takes precedence. Sends nothing.

use std::path::Path;
use std::time::Duration;

use postern_proto::Action;

use super::arguments::RequestArguments;
use super::gate::{self, Way};
use crate::client::profile::CodeSource;
use crate::client::{Destination, Families, KnockRequest, OpenGrant, Schedule, Secrets};
use crate::model::exit::{ExitError, USAGE};
use crate::model::quota::Quota;

/// Everything that a knock is made from, except the code itself.
pub(super) struct Plan {
    pub(super) request: KnockRequest,
    pub(super) destination: Destination,
    pub(super) secrets: Secrets,
    pub(super) code: Option<CodeSource>,
    quota: Quota,
}

impl Plan {
    /// The shortest time between knocks for which half of the quota is enough.
    pub(super) fn knock_pause(&self) -> Duration {
        (self.quota.per / self.quota.count.get()).saturating_mul(2)
    }

    /// Refuses what the knock cannot carry.
    pub(super) fn check(&self) -> Result<(), ExitError> {
        self.secrets.check(&self.request)
    }

    /// Refuses to renew a grant, where one knock follows another only later.
    pub(super) fn check_renewal(&self) -> Result<(), ExitError> {
        if matches!(self.secrets, Secrets::Sequence(_)) {
            let what =
                "a sequence cannot renew a grant; use a profile with a key, or postern knock";
            return Err(ExitError::new(USAGE, what));
        }
        Ok(())
    }

    /// The grant to ask for. With `once`, no knock is repeated.
    pub(super) fn into_grant(self, once: bool) -> OpenGrant {
        let quota = self.quota;
        OpenGrant::new(
            self.request,
            self.destination,
            self.secrets,
            Schedule { quota, once },
        )
    }

    /// The profile supplies what the command line leaves out. A close without services closes everything.
    pub(super) fn new(
        action: Action,
        arguments: RequestArguments,
        duration: Option<Duration>,
        config: Option<&Path>,
    ) -> Result<Self, ExitError> {
        Self::by(Way::Any, action, arguments, duration, config)
    }

    /// The same with this way to knock.
    pub(super) fn by(
        way: Way,
        action: Action,
        arguments: RequestArguments,
        duration: Option<Duration>,
        config: Option<&Path>,
    ) -> Result<Self, ExitError> {
        let (gate, options, target) = (arguments.gate, arguments.options, arguments.target);
        let (profile, secrets) = gate::choose(way, gate.profile.as_deref(), gate.named, config)?;
        let services = if options.services.is_empty() && action == Action::Open {
            profile.services
        } else {
            options.services
        };
        let families = match (options.ipv4, options.ipv6) {
            (true, _) => Families::V4,
            (false, true) => Families::V6,
            (false, false) => Families::Both,
        };
        let families = secrets.families(families, &profile.addresses)?;
        Ok(Self {
            request: KnockRequest {
                gate: profile.gate,
                action,
                services,
                allow: secrets.allow(options.allow.unwrap_or(profile.allow)),
                grant_to: profile.grant_to,
                duration: duration.or(profile.duration),
                target: target.or(profile.target),
                code: None,
                time_offset: options.time_offset.unwrap_or(profile.time_offset),
            },
            destination: Destination {
                addresses: profile.addresses,
                families,
                spoofed_source: None,
            },
            secrets,
            code: profile.code,
            quota: profile.quota,
        })
    }
}
