//! Grants that were closed and may still be open here: the monitor ended before it had closed them, or an engine before this one opened
//! them, so that this one does not know their ids.

use super::content::SharedGrant;
use super::{Fleet, ORDERED_MAX};
use crate::model::fleet::SharedId;
use crate::model::request::CloseRequest;

/// More of them end by themselves.
const LEFTOVERS_MAX: usize = 1024;

impl Fleet {
    pub(super) fn may_be_left(&mut self, grant: SharedGrant) {
        let request = CloseRequest {
            user: grant.user,
            allow: grant.allow,
            target: grant.target,
            services: grant.services,
        };
        if self.leftovers.len() < LEFTOVERS_MAX && !self.leftovers.contains(&request) {
            self.leftovers.push_back(request);
        }
    }

    /// The next of them, after all that is live was told. What a later knock has opened stays open.
    pub fn take_leftover(&mut self) -> Option<CloseRequest> {
        if self.behind.is_some() || self.ordered >= ORDERED_MAX {
            return None;
        }
        loop {
            let request = self.leftovers.pop_front()?;
            if self.closed_by(&request).is_some_and(|live| live.is_empty()) {
                self.ordered = self.ordered.saturating_add(1);
                return Some(request);
            }
        }
    }

    /// The live grants that this closes; `None` if it is not allowed.
    pub(super) fn closed_by(&self, request: &CloseRequest) -> Option<Vec<SharedId>> {
        let asked = self.clearance.close(request).ok()?;
        Some(self.table.ids(|entry| {
            let grant = &entry.grant;
            let is_own = grant.user == request.user && grant.allow == request.allow;
            let covers = || {
                let opens = self.clearance.ports_of(&grant.services);
                grant.target == request.target
                    && opens.is_ok_and(|opens| asked.cover(&opens.services, &opens.forwards))
            };
            is_own && (request.services.is_empty() || covers())
        }))
    }
}
