//! What this gate closes: remembered, and published until it comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;

use super::content::{Closing, Content, Group, Said};
use super::table::LiveGrant;
use super::{CLOSES, Fleet};
use crate::core::claims::{MARGIN, Publish, PublishKind};
use crate::core::order::Selection;
use crate::model::fleet::{ClosedGrant, SharedId, hexadecimal};
use crate::model::grant::{Grant, GrantId};
use crate::model::request::CloseRequest;
use crate::model::time::{Timestamp, millis};

/// No config allows a longer grant than 30 days. The clocks of the gates may differ.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

impl Fleet {
    /// A user closes grants.
    pub fn close(&mut self, now: Timestamp, request: &CloseRequest) {
        let Some(ids) = self.closed_by(request) else {
            return;
        };
        // Which services the grants have that are told later, nobody knows yet.
        let is_all = request.services.is_empty() || self.behind.is_some();
        let group = Group::UserAt(&request.user, request.allow);
        self.close_all(now, is_all.then(|| group.name()), ids);
    }

    /// The administrator closes grants.
    pub fn end(&mut self, now: Timestamp, which: &Selection) {
        let ids = self.table.ids(|entry| {
            let (here, grant) = (entry.here(), &entry.grant);
            which.selects(here, &grant.user, &grant.allow)
        });
        if let (Selection::Id(id), false) = (which, ids.is_empty()) {
            self.ended_by_id.insert(*id);
        }
        let group = match which {
            Selection::All => Some(Group::All),
            Selection::User(user) => Some(Group::User(user)),
            Selection::Address(address) => Some(Group::Network((*address).into())),
            Selection::Id(_) | Selection::Ids(_) => None,
        };
        let mut groups: Vec<SharedId> = group.map(Group::name).into_iter().collect();
        if let (Selection::Address(address), true) = (which, self.behind.is_some()) {
            let longest = IpNet::from(*address).prefix_len();
            let wider = (0..longest).filter_map(|len| IpNet::new(*address, len).ok());
            groups.extend(wider.map(|network| Group::Network(network).name()));
        }
        self.close_all(now, groups, ids);
    }

    /// The monitor has closed these. Of one that was told to no engine before this one, only user and address are known.
    pub fn ended(&mut self, now: Timestamp, grants: &[Grant]) {
        let is_behind = self.behind.is_some();
        let mut grants: Vec<&Grant> = grants.iter().collect();
        // It is closed already, and its user's other grants stay open.
        grants.retain(|grant| !self.ended_by_id.remove(&grant.id) || is_behind);
        let closed: BTreeSet<GrantId> = grants.iter().map(|grant| grant.id).collect();
        let is_closed = |entry: &LiveGrant| entry.here().is_some_and(|id| closed.contains(&id));
        let ids = self.table.ids(is_closed);
        let known: BTreeSet<GrantId> = ids
            .iter()
            .filter_map(|id| self.table.get(*id)?.here())
            .collect();
        let unknown = grants.iter().filter(|grant| !known.contains(&grant.id));
        let groups = unknown.map(|grant| Group::UserAt(&grant.user, grant.allow).name());
        // If all that is live was told, it was not shared, or waits for its order.
        let is_shared =
            |name: &SharedId| self.behind.is_some() || !self.table.closed_by(*name, now).is_empty();
        let groups: Vec<SharedId> = groups.filter(is_shared).collect();
        self.close_all(now, groups, ids);
    }

    /// Remembers and publishes that these are closed.
    fn close_all(
        &mut self,
        now: Timestamp,
        groups: impl IntoIterator<Item = SharedId>,
        ids: Vec<SharedId>,
    ) {
        let now = self.clock(now);
        let mut names: Vec<SharedId> = groups.into_iter().collect();
        let mut ids = BTreeSet::from_iter(ids);
        for name in &names {
            for id in self.table.closed_by(*name, now) {
                // Nobody else ends it here.
                if ids.insert(id) {
                    self.to_end
                        .extend(self.table.get(id).and_then(LiveGrant::here));
                }
            }
        }
        names.extend(ids);
        // Those that a clock ahead of this one has made are closed apart, and no others for such a time.
        let is_ahead = |id: &SharedId| self.table.get(*id).is_some_and(|entry| entry.made > now);
        let (ahead, others): (Vec<_>, Vec<_>) = names.into_iter().partition(is_ahead);
        for ids in ahead.chunks(CLOSES).chain(others.chunks(CLOSES)) {
            let entries: Vec<LiveGrant> =
                ids.iter().filter_map(|id| self.table.remove(*id)).collect();
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
        // The coordinator's owner can tell old ones again, and each would be written to the disk.
        if until <= now {
            return;
        }
        let closed = ClosedGrant { until, ..closed };
        let Some(record) = self.closed.insert(now, closed) else {
            return;
        };
        if record.id == ClosedGrant::ALL {
            self.unsaved.retain(|before| !record.covers(before));
        }
        self.unsaved.push(record);
        self.remembered = self.remembered.saturating_add(1);
    }

    /// The coordinator does not have these: an engine before this one could not publish them, or it lost them.
    pub(super) fn publish_untold(&mut self, now: Timestamp) {
        while self.outbox.has_room()
            && let Some(((at, until), mut ids)) = self.untold.pop_first()
        {
            ids.retain(|id| now < until && self.closed.is_untold(*id));
            if ids.len() > CLOSES {
                let more = ids.split_off(CLOSES);
                self.untold.insert((at, until), more);
            }
            if !ids.is_empty() {
                self.publish_close(now, Closing { ids, at, until });
            }
        }
    }

    fn publish_close(&mut self, now: Timestamp, closing: Closing) {
        let (at, until) = (closing.at, closing.until);
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
        self.outbox.close(now, at, number, publish);
    }
}
