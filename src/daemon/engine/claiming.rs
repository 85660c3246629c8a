//! The knocks of a gate in a cluster, from the admission until the claim is won or the knock is refused.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tracing::warn;

use crate::adapters::control::status::ClusterStatus;
use crate::core::claims::{Claim, Claims, Outcome};
use crate::core::fleet::{Announced, Fleet};
use crate::core::gate::{Admission, ApprovedRequest};
use crate::model::cluster::{Cluster, CoordinatorKind};
use crate::model::counters::ClaimCounters;
use crate::model::time::{ClockStep, Timestamp};

/// An admitted knock, and when it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) admission: Admission,
    pub(super) arrived: Timestamp,
    pub(super) source: IpAddr,
    /// What the other gates are told with its claim.
    pub(super) announced: Option<Announced>,
}

/// Admitted knocks, by what they wait for: the store, their turn, or the answer to their claim.
#[derive(Debug)]
pub(super) struct Claiming {
    gate_name: String,
    coordinator: CoordinatorKind,
    window: Duration,
    pub(super) claims: Claims<Admitted>,
    committing: HashMap<u64, Admitted>,
    /// Their marks are durable, and their claims are not asked yet.
    durable: VecDeque<(u64, Admitted)>,
}

impl Claiming {
    /// Each claim has this time from its knock's arrival.
    pub(super) fn new(gate_name: &str, window: Duration, cluster: &Cluster) -> Self {
        Self {
            gate_name: gate_name.to_owned(),
            coordinator: cluster.coordinator,
            window,
            claims: Claims::new(cluster.deadline),
            committing: HashMap::new(),
            durable: VecDeque::new(),
        }
    }

    /// Asks the next claim. Returns the knock if it cannot be asked in time.
    pub(super) fn ask_next(
        &mut self,
        now: Timestamp,
        fleet: Option<&mut Fleet>,
    ) -> Option<Result<(), (Admitted, Outcome)>> {
        let (ticket, mut admitted) = self.durable.pop_front()?;
        let open = match &admitted.admission.request {
            ApprovedRequest::Open(request) => Some(request),
            ApprovedRequest::Close(_) => None,
        };
        let announced = open.zip(fleet);
        let announced =
            announced.and_then(|(open, fleet)| fleet.announce(now, open, admitted.source));
        let (announced, publish) = announced.unzip();
        admitted.announced = announced;
        let claim = Claim::new(&self.gate_name, &admitted.admission, self.window, now);
        let arrived = admitted.arrived;
        let asked = self
            .claims
            .ask(now, arrived, ticket, claim, publish, admitted);
        Some(asked.map_err(|(admitted, why)| (admitted, Outcome::Unknown { why })))
    }

    /// Takes a knock whose mark is to be made durable. Returns it if it needs no claim.
    pub(super) fn take(&mut self, ticket: u64, admitted: Admitted) -> Option<Admitted> {
        if admitted.admission.break_glass {
            let user = user_of(&admitted.admission.request);
            warn!(user, "break glass: {user} opens this gate without a claim");
            return Some(admitted);
        }
        self.committing.insert(ticket, admitted);
        None
    }

    /// Its mark is durable, and it waits for its claim. Otherwise returns it.
    pub(super) fn stored(&mut self, ticket: u64, is_durable: bool) -> Option<Admitted> {
        let admitted = self.committing.remove(&ticket)?;
        if !is_durable {
            return Some(admitted);
        }
        self.durable.push_back((ticket, admitted));
        None
    }

    pub(super) fn is_idle(&self) -> bool {
        self.committing.is_empty() && self.durable.is_empty() && self.claims.is_idle()
    }

    pub(super) fn counters(&self) -> ClaimCounters {
        self.claims.counters()
    }

    pub(super) fn status(&self) -> ClusterStatus {
        let counters = self.counters();
        ClusterStatus {
            coordinator: self.coordinator.name().to_owned(),
            away: self.claims.why_away().map(str::to_owned),
            won: counters.won,
            lost: counters.lost,
            unknown: counters.unknown,
            fleet: None,
        }
    }

    pub(super) fn clock_was_set(&mut self, step: ClockStep) {
        self.claims.clock_was_set(step);
    }
}

pub(super) fn user_of(request: &ApprovedRequest) -> &str {
    match request {
        ApprovedRequest::Open(request) => &request.user,
        ApprovedRequest::Close(request) => &request.user,
    }
}
