//! Clearance: the monitor's own look at every order, with its own copy of the policies (invariant 5).
//!
//! Whatever the engine says, nothing is opened here that the config does not allow that user. Pure.

use std::collections::HashMap;

use crate::policy::{self, Policy};
use crate::reason::Rule;
use crate::service::{NamedServices, Ports};
use crate::settings::Settings;
use crate::terms::{Closing, Terms};

/// What the monitor knows of users.
#[derive(Debug)]
pub struct Clearance {
    policies: HashMap<String, Policy>,
    named: NamedServices,
}

impl Clearance {
    /// From the monitor's own reading of the config.
    pub fn new(settings: &Settings) -> Self {
        let policies = settings.policies.iter().map(|policy| (policy.user.clone(), policy.clone())).collect();
        Self { policies, named: settings.named.clone() }
    }

    /// The ports that these terms open, where their user may have them.
    ///
    /// # Errors
    /// The rule that says no.
    pub fn open(&self, terms: &Terms) -> Result<Vec<Ports>, Rule> {
        let policy = self.policies.get(&terms.user).ok_or(Rule::User)?;
        policy.check(terms, &self.named)?;
        policy::ports_of(&terms.services, &self.named).ok_or(Rule::UnknownService)
    }

    /// The ports that a user wants closed; closing needs no right beyond being a user.
    ///
    /// # Errors
    /// The rule that says no.
    pub fn close(&self, closing: &Closing) -> Result<Vec<Ports>, Rule> {
        if !self.policies.contains_key(&closing.user) {
            return Err(Rule::User);
        }
        policy::ports_of(&closing.services, &self.named).ok_or(Rule::UnknownService)
    }

    /// Whether a grant that was found open may stay: its user still has the right to it.
    pub fn still_allows(&self, grant: &crate::grant::Grant) -> bool {
        let Some(policy) = self.policies.get(&grant.user) else { return false };
        let terms = |from| Terms {
            user: grant.user.clone(),
            allow: grant.allow,
            from,
            target: grant.target,
            services: grant.services.iter().copied().map(crate::service::Wanted::Ports).collect(),
            duration: std::time::Duration::from_secs(1),
        };
        // How the address was named is not written down, and does not matter once it was let in.
        [crate::terms::AddressFrom::Claimed, crate::terms::AddressFrom::Observed]
            .into_iter()
            .any(|from| policy.check(&terms(from), &self.named).is_ok())
    }
}
