//! Clearance: the monitor's own look at every order, with its own copy of the policies (invariant 5).
//!
//! Whatever the engine says, nothing is opened here that the config does not allow that user. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::opening::Opening;
use crate::policy::Policy;
use crate::reason::Rule;
use crate::service::{NamedServices, Wanted};
use crate::settings::{ServiceOptions, Settings};
use crate::terms::{Closing, Terms};

/// What the monitor knows of users.
#[derive(Debug)]
pub struct Clearance {
    policies: HashMap<String, Policy>,
    named: NamedServices,
    options: BTreeMap<String, ServiceOptions>,
}

impl Clearance {
    /// From the monitor's own reading of the config.
    pub fn new(settings: &Settings) -> Self {
        let policies = settings.policies.iter().map(|policy| (policy.user.clone(), policy.clone())).collect();
        Self { policies, named: settings.named.clone(), options: settings.options.clone() }
    }

    /// What these terms open, where their user may have it.
    ///
    /// # Errors
    /// The rule that says no.
    pub fn open(&self, terms: &Terms) -> Result<Opening, Rule> {
        let policy = self.policies.get(&terms.user).ok_or(Rule::User)?;
        policy.check(terms, &self.named, &self.options)?;
        self.opening(&terms.services)
    }

    /// What a user wants closed; closing needs no right beyond being a user.
    ///
    /// # Errors
    /// The rule that says no.
    pub fn close(&self, closing: &Closing) -> Result<Opening, Rule> {
        if !self.policies.contains_key(&closing.user) {
            return Err(Rule::User);
        }
        self.opening(&closing.services)
    }

    /// Whether a grant that was found open may stay: its user still has the right to it.
    pub fn still_allows(&self, grant: &crate::grant::Grant) -> bool {
        let Some(policy) = self.policies.get(&grant.user) else { return false };
        let mut services: Vec<Wanted> = grant.services.iter().copied().map(Wanted::Ports).collect();
        for forward in &grant.forwards {
            // by whatever name leads there today
            let leads_there = |wanted: &&Wanted| crate::opening::forward_of(wanted, &self.options) == Some(forward);
            let Some(name) = policy.services.iter().find(leads_there) else { return false };
            services.push(name.clone());
        }
        let terms = |from| Terms {
            user: grant.user.clone(),
            allow: grant.allow,
            from,
            target: grant.target,
            services: services.clone(),
            duration: std::time::Duration::from_secs(1),
        };
        // How the address was named is not written down, and does not matter once it was let in.
        [crate::terms::AddressFrom::Claimed, crate::terms::AddressFrom::Observed]
            .into_iter()
            .any(|from| policy.check(&terms(from), &self.named, &self.options).is_ok())
    }

    fn opening(&self, services: &[Wanted]) -> Result<Opening, Rule> {
        Opening::of(services, &self.named, &self.options).ok_or(Rule::UnknownService)
    }
}
