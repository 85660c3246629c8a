//! The other gates of the name, as their heartbeats show them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::refusal::Refusal;
use crate::core::claims::MARGIN;
use crate::model::fleet::MemberStatus;
use crate::model::time::{Timestamp, millis};

const MEMBERS_MAX: usize = 64;

/// The longest name of a member or a user, in bytes. The names of all members must fit into a message to the monitor.
pub(super) const NAME_MAX: usize = 255;

/// A member that was not heard for so long is gone.
const GONE: Duration = Duration::from_secs(600);

const GAP: Duration = Duration::from_secs(10);

/// A heartbeat that is older was told again. No right clock is so far ahead of this gate's.
const OLD: Duration = Duration::from_secs(30).saturating_add(MARGIN);

#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<String, Member>);

#[derive(Debug)]
struct Member {
    run: [u8; 16],
    number: u64,
    made: Timestamp,
    heard: Timestamp,
    /// How many came without a gap.
    beats: u32,
}

impl Members {
    /// A heartbeat. Old ones, told again, keep no member alive. Returns how many came without a gap, from any of its engines.
    pub(super) fn beat(
        &mut self,
        now: Timestamp,
        name: String,
        run: [u8; 16],
        number: u64,
        made: Timestamp,
    ) -> Result<u32, Refusal> {
        if made.since(now) > OLD {
            return Err(Refusal::Clock);
        }
        if now.since(made) > OLD {
            return Err(Refusal::Stale);
        }
        let mut beats = 1;
        if let Some(known) = self.0.get(&name) {
            let is_next = known.run == run && known.number < number;
            // The gate has another engine, which started later.
            let is_after = known.run != run && known.made < made;
            if !is_next && !is_after {
                return Err(Refusal::Stale);
            }
            if now.since(known.heard) < GAP {
                beats = known.beats.saturating_add(1);
            }
        }
        self.0.retain(|_, member| now.since(member.heard) < GONE);
        if self.0.len() >= MEMBERS_MAX && !self.0.contains_key(&name) {
            return Err(Refusal::Full);
        }
        let heard = now;
        let member = Member {
            run,
            number,
            made,
            heard,
            beats,
        };
        self.0.insert(name, member);
        Ok(beats)
    }

    pub(super) fn status(&self, now: Timestamp) -> Vec<MemberStatus> {
        let heard = self.0.iter();
        let heard = heard.filter(|(_, member)| now.since(member.heard) < GONE);
        let status = heard.map(|(name, member)| MemberStatus {
            member: name.clone(),
            heard_ms: millis(now.since(member.heard)),
            age_ms: member.heard.age_of(member.made),
        });
        status.collect()
    }
}
