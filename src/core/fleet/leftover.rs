//! Grants that were closed and may still be open here: the monitor ended before it had closed them, or an engine before this one opened
//! them, so that this one does not know their ids.

use super::content::{Group, SharedGrant};
use super::table::{GRANTS_MAX, LiveGrant};
use super::{Fleet, ORDERED_MAX};
use crate::model::fleet::SharedId;
use crate::model::request::CloseRequest;
use crate::model::time::Timestamp;

/// More of them end by themselves. No engine knew of more live grants.
const LEFTOVERS_MAX: usize = GRANTS_MAX;

impl Fleet {
    pub(super) fn may_be_left(&mut self, grant: SharedGrant) {
        if self.leftovers.len() < LEFTOVERS_MAX {
            let id = grant.id();
            let request = CloseRequest {
                user: grant.user,
                allow: grant.allow,
                target: grant.target,
                services: grant.services,
            };
            self.leftovers.insert(id, request);
        }
    }

    /// The next of them, after all that is live was told. What a later knock has opened stays open.
    pub fn take_leftover(&mut self) -> Option<CloseRequest> {
        if self.behind.is_some() || self.ordered >= ORDERED_MAX {
            return None;
        }
        loop {
            let (_, request) = self.leftovers.pop_first()?;
            if self.closed_by(&request).is_some_and(|live| live.is_empty()) {
                self.ordered = self.ordered.saturating_add(1);
                return Some(request);
            }
        }
    }

    /// The live grants that this closes; `None` if it is not allowed.
    pub(super) fn closed_by(&self, request: &CloseRequest) -> Option<Vec<SharedId>> {
        let asked = self.clearance.close(request).ok()?;
        let own = Group::UserAt(&request.user, request.allow).name();
        let mut ids = self.table.closed_by(own, Timestamp::from_millis(u64::MAX));
        ids.retain(|id| {
            let Some(LiveGrant { grant, .. }) = self.table.get(*id) else {
                return false;
            };
            let covers = || {
                let opens = self.clearance.ports_of(&grant.services);
                grant.target == request.target
                    && opens.is_ok_and(|opens| asked.cover(&opens.services, &opens.forwards))
            };
            grant.allow == request.allow && (request.services.is_empty() || covers())
        });
        Some(ids)
    }
}
