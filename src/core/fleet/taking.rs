//! What other gates publish: opened, checked, and kept for an order.

use super::Fleet;
use super::content::{Closing, Content, Said, SharedGrant};
use super::members::NAME_MAX;
use super::refusal::{Refusal, Refused};
use super::sealing::Opened;
use super::table::{Here, LiveGrant};
use crate::model::fleet::ClosedGrant;
use crate::model::grant::GrantId;
use crate::model::reason::Rule;
use crate::model::request::OpenRequest;
use crate::model::time::Timestamp;

/// After a reload the old engine of this gate may send so many more heartbeats.
const LAST_BEATS: u32 = 5;

impl Fleet {
    pub(super) fn take(&mut self, system: Timestamp, sealed: &str) -> Result<(), Refused> {
        let now = self.clock(system);
        let of_nobody = |refusal| Refused {
            refusal,
            member: None,
            user: None,
        };
        let Opened { run, number, said } = self.sealing.open(sealed).map_err(of_nobody)?;
        let Said {
            member,
            made,
            content,
        } = said;
        if run == *self.sealing.run() {
            self.outbox.echoed(number);
            match content {
                Content::Heartbeat => {
                    self.outbox.heard(system);
                    self.lag = Some(system.since(made));
                }
                Content::Grant(grant) => self.note_own(now, member, made, grant),
                Content::Close(Closing { ids, at, .. }) => self.closed.told(&ids, at),
                Content::Notice { .. } | Content::Unknown => {}
            }
            return Ok(());
        }
        let is_long = matches!(&content, Content::Grant(grant) if grant.user.len() > NAME_MAX);
        if is_long || member.len() > NAME_MAX {
            return Err(of_nobody(Refusal::Unreadable));
        }
        let (from, mut user) = (member.clone(), None);
        let done = match content {
            Content::Grant(grant) => {
                user = Some(grant.user.clone());
                self.take_grant(now, member, made, grant)
            }
            Content::Close(closing) => {
                self.take_close(now, closing);
                Ok(())
            }
            Content::Heartbeat => {
                let is_own = member == self.member;
                let beats = self.members.beat(system, member, run, number, made);
                match beats {
                    Ok(beats) if is_own && beats > LAST_BEATS => Err(Refusal::Twin),
                    beats => beats.map(drop),
                }
            }
            Content::Notice { roster } => {
                self.notices.heard(roster);
                Ok(())
            }
            Content::Unknown => Ok(()),
        };
        done.map_err(|refusal| Refused {
            refusal,
            member: Some(from),
            user,
        })
    }

    /// A claim whose answer never came was carried out late, and other gates open its grant. This gate has refused the knock, but a
    /// close must cover the grant.
    fn note_own(&mut self, now: Timestamp, member: String, made: Timestamp, grant: SharedGrant) {
        let names = grant.names();
        let id = names[0];
        let is_live = grant.until > now && !self.closed.covers(&names, made);
        if is_live && self.table.get(id).is_none() && self.table.has_room_for(id, &grant.user) {
            let here = Here::Refused(Rule::Coordinator.name());
            self.keep(member, made, grant, here);
        }
    }

    pub(super) fn keep(&mut self, member: String, made: Timestamp, grant: SharedGrant, here: Here) {
        let names = grant.names();
        let entry = LiveGrant {
            member,
            made,
            grant,
            names,
            here,
        };
        self.table.put(names[0], entry);
    }

    fn take_grant(
        &mut self,
        now: Timestamp,
        member: String,
        made: Timestamp,
        grant: SharedGrant,
    ) -> Result<(), Refusal> {
        let names = grant.names();
        let id = names[0];
        if grant.until <= now {
            return Err(Refusal::Ended);
        }
        if self.closed.covers(&names, made) {
            if self.behind.is_some() {
                self.may_be_left(grant);
            }
            return Err(Refusal::Closed);
        }
        let known = self.table.get(id).is_some_and(|entry| {
            let is_refused = matches!(entry.here, Here::Refused(_));
            !is_refused && entry.grant.until >= grant.until && entry.made >= made
        });
        if known {
            return Ok(());
        }
        if !self.table.has_room_for(id, &grant.user) {
            return Err(Refusal::Full);
        }
        let allowed = self.request_of(now, made, &grant);
        let here = allowed
            .as_ref()
            .err()
            .map_or(Here::Ordered, |rule| Here::Refused(rule.name()));
        self.keep(member, made, grant, here);
        allowed.map_err(Refusal::Policy)?;
        self.table.want(id);
        Ok(())
    }

    /// What this gate's policy allows of a grant: it lasts from the time when it was made, at most as long as the policy says.
    pub(super) fn request_of(
        &self,
        now: Timestamp,
        made: Timestamp,
        grant: &SharedGrant,
    ) -> Result<OpenRequest, Rule> {
        self.clearance
            .check_source(&grant.user, grant.source, now)?;
        let latest = self.clearance.latest_end(&grant.user, made.min(now));
        let request = OpenRequest {
            user: grant.user.clone(),
            allow: grant.allow,
            from: grant.from,
            target: grant.target,
            services: grant.services.clone(),
            duration: grant.until.min(latest).since(now),
        };
        self.clearance.open(&request, now)?;
        Ok(request)
    }

    fn take_close(&mut self, now: Timestamp, Closing { ids, at, until }: Closing) {
        let mut ended = Vec::new();
        for &id in ids.iter().filter(|id| **id != ClosedGrant::ALL) {
            self.remember(now, ClosedGrant { id, at, until });
            for id in self.table.closed_by(id, at) {
                let Some(entry) = self.table.remove(id) else {
                    continue;
                };
                match entry.here() {
                    Some(here) => ended.push(here),
                    None => self.may_be_left(entry.grant),
                }
                self.counters.closed = self.counters.closed.saturating_add(1);
            }
        }
        self.closed.told(&ids, at);
        self.forget_local(&ended);
        self.to_end.extend(ended);
    }

    /// Several shared grants may be one grant here, which is closed now.
    fn forget_local(&mut self, ended: &[GrantId]) {
        if ended.is_empty() {
            return;
        }
        let is_ended = |entry: &LiveGrant| entry.here().is_some_and(|here| ended.contains(&here));
        for id in self.table.ids(is_ended) {
            self.table.remove(id);
        }
    }
}
