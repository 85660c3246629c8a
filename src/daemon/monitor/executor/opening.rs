//! From an order to open, or its announcement, to the grant and its report.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::Executor;
use super::plan::{Origin, Plan, log_not_open, refused};
use crate::adapters::firewall::FirewallError;
use crate::core::ledger::{Full, Opening};
use crate::core::order::Report;
use crate::model::grant::Change;
use crate::model::reason::Rule;
use crate::model::request::OpenRequest;
use crate::model::time::Timestamp;

/// An extension by less is that of a client that waits or renews, and one of many: its line is at debug level.
const RENEWAL: Duration = Duration::from_secs(60);

impl Executor {
    pub(super) fn plan_open(
        &mut self,
        now: Timestamp,
        ticket: u64,
        request: OpenRequest,
        origin: Origin,
    ) -> Plan {
        let ports = match self.grants.clearance.open(&request, now) {
            Ok(ports) => ports,
            Err(rule) => {
                let what = "the monitor refused an order that the gate should not have sent";
                warn!(user = request.user, rule = rule.name(), "{what}: {request}");
                return refused(ticket, rule, rule.sentence());
            }
        };
        let request = self.limited(now, request);
        let most = self.grants.clearance.max_grants(&request.user);
        // A knock is not said to open while none does.
        let opens = self.grants.backend.opens().is_ok();
        let opening = self.grants.ledger.open(now, &request, ports, most, opens);
        match opening {
            Ok(Opening::Change(change)) => Plan::Open {
                ticket,
                change,
                origin,
            },
            Ok(Opening::Repeat(grant)) => {
                self.admitted(origin);
                debug!(user = grant.user, id = grant.id.0, until = %grant.until, "extended: {grant}");
                Plan::Answer(Report::Opened { ticket, grant })
            }
            Err(full) => {
                let rule = match full {
                    Full::Gate => Rule::Firewall,
                    Full::User(_) => Rule::MaxGrants,
                };
                log_not_open(
                    origin,
                    &request.user,
                    rule,
                    format_args!("{request}: {full}"),
                );
                refused(ticket, rule, &full.to_string())
            }
        }
    }

    /// Prepares a new grant, and opens it if `is_wanted` says that its order has come. Otherwise returns `None`, and no grant has
    /// changed: the order is then carried out like any other.
    pub fn open_if(
        &mut self,
        now: Timestamp,
        ticket: u64,
        request: OpenRequest,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Option<Report> {
        let ports = self.grants.clearance.open(&request, now).ok()?;
        self.grants.correct_ends(now).ok()?;
        let request = self.limited(now, request);
        let most = self.grants.clearance.max_grants(&request.user);
        let change = self.grants.ledger.open_new(now, &request, ports, most)?;
        let done = self.grants.apply_if(now, &change, is_wanted)?;
        Some(self.report_open(ticket, change, Origin::Here, done))
    }

    /// The request with the duration that it gets.
    fn limited(&self, now: Timestamp, request: OpenRequest) -> OpenRequest {
        let latest = self.grants.clearance.latest_end(&request.user, now);
        let end = latest.min(now.plus(request.duration));
        let duration = self.grants.backend.end(end).since(now);
        OpenRequest {
            duration,
            ..request
        }
    }

    pub(super) fn report_open(
        &mut self,
        ticket: u64,
        change: Change,
        origin: Origin,
        done: Result<(), FirewallError>,
    ) -> Report {
        let (grant, gain) = match change {
            Change::Open(grant) | Change::Close(grant) => (grant, None),
            Change::Extend { old, new } => {
                let gain = new.until.since(old.until);
                (new, Some(gain))
            }
        };
        match done {
            Ok(()) => {
                self.admitted(origin);
                let (user, id, until) = (&grant.user, grant.id.0, grant.until);
                match gain {
                    None if origin == Origin::Elsewhere => {
                        info!(user, id, %until, "open, admitted by another gate: {grant}")
                    }
                    None => info!(user, id, %until, "open: {grant}"),
                    Some(gain) if gain >= RENEWAL => info!(user, id, %until, "extended: {grant}"),
                    Some(_) => debug!(user, id, %until, "extended: {grant}"),
                }
                Report::Opened { ticket, grant }
            }
            Err(error) => {
                let rule = Rule::Firewall;
                let cure = format_args!("to see why: posternd check --from {}", grant.allow.addr());
                log_not_open(
                    origin,
                    &grant.user,
                    rule,
                    format_args!("{grant}: {error}; {cure}"),
                );
                let why = error.to_string();
                Report::Refused { ticket, rule, why }
            }
        }
    }

    fn admitted(&mut self, origin: Origin) {
        if origin == Origin::Here {
            self.pass_trial("a knock was admitted");
        }
    }
}
