//! What this gate closes: remembered, and published until it comes back.

use std::time::Duration;

use super::content::{Closing, Content, Said};
use super::table::Entry;
use super::{CLOSES, Fleet};
use crate::core::claims::{MARGIN, Publish, PublishKind};
use crate::core::order::Selection;
use crate::model::fleet::{ClosedGrant, SharedId, hexadecimal};
use crate::model::request::CloseRequest;
use crate::model::time::{Timestamp, millis};

/// No config allows a longer grant than 30 days. The clocks of the gates may differ.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

impl Fleet {
    /// A user closes grants.
    pub fn close(&mut self, now: Timestamp, request: &CloseRequest) {
        let Ok(asked) = self.clearance.close(request) else {
            return;
        };
        let ids = self.table.ids(|entry| {
            let grant = &entry.grant;
            let is_own = grant.user == request.user && grant.allow == request.allow;
            let covers = || {
                let opens = self.clearance.ports_of(&grant.services);
                grant.target == request.target
                    && opens.is_ok_and(|opens| asked.cover(&opens.services, &opens.forwards))
            };
            is_own && (request.services.is_empty() || covers())
        });
        self.close_all(now, ids);
    }

    /// The administrator closes grants.
    pub fn end(&mut self, now: Timestamp, which: &Selection) {
        self.note_unheard(now, which);
        let ids = self.table.ids(|entry| {
            let (here, grant) = (entry.here(), &entry.grant);
            which.selects(here, &grant.user, &grant.allow)
        });
        self.close_all(now, ids);
    }

    /// A grant that is told only now must not open again what was closed here. Of an id alone nobody knows what it was.
    fn note_unheard(&mut self, now: Timestamp, which: &Selection) {
        let at = self.clock(now);
        let longest = self.longest;
        self.ended_unheard
            .retain(|(_, ended)| at < ended.plus(longest));
        let has_name = !matches!(which, Selection::Id(_) | Selection::Ids(_));
        if self.behind.is_some() && has_name {
            if self.ended_unheard.len() >= super::UNHEARD_MAX {
                self.ended_unheard.pop_front();
            }
            self.ended_unheard.push_back((which.clone(), at));
        }
    }

    /// Remembers and publishes that these are closed.
    pub(super) fn close_all(&mut self, now: Timestamp, ids: Vec<SharedId>) {
        let now = self.clock(now);
        for ids in ids.chunks(CLOSES) {
            let entries: Vec<Entry> = ids.iter().filter_map(|id| self.table.remove(*id)).collect();
            let made = entries.iter().map(|entry| entry.made);
            let ends = entries.iter().map(|entry| entry.grant.until);
            let at = made.fold(now, Timestamp::max);
            let until = ends
                .fold(now.plus(self.longest), Timestamp::max)
                .plus(MARGIN)
                .min(now.plus(LONGEST));
            for &id in ids {
                self.remember(now, ClosedGrant { id, at, until });
            }
            let ids = ids.to_vec();
            self.publish_close(now, Closing { ids, at, until });
        }
    }

    /// As long as a publication of it could open something here. The gate that closed it may have shorter policies, or lie.
    pub(super) fn remember(&mut self, now: Timestamp, closed: ClosedGrant) {
        let ends = closed.until.max(closed.at.plus(self.longest));
        let until = ends.min(now.plus(LONGEST));
        let closed = ClosedGrant { until, ..closed };
        let Some(record) = self.closed.insert(now, closed) else {
            return;
        };
        if record.id == ClosedGrant::ALL {
            self.unsaved.retain(|before| !record.covers(before));
        }
        self.unsaved.push(record);
    }

    fn publish_close(&mut self, now: Timestamp, closing: Closing) {
        let until = closing.until;
        let said = Said {
            member: self.member.clone(),
            made: now,
            content: Content::Close(closing),
        };
        let Some((number, sealed)) = self.sealing.seal(&said) else {
            return;
        };
        let unique = [self.sealing.run().as_slice(), &number.to_be_bytes()].concat();
        let publish = Publish {
            kind: PublishKind::Close,
            name: hexadecimal(&self.sealing.name(&unique)),
            sealed,
            lasts_ms: millis(until.since(now)),
        };
        self.outbox.close(now, number, publish);
    }
}
