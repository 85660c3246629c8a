//! Reads ahead of the gate: what the next datagrams will be judged by is read for all of them at once, so that it is in the
//! processor's caches when their turn comes. Decides nothing, changes nothing; every decision is the same without it.
//!
//! Among 100,000 users hardly any row that a packet needs is in a cache. Memory answers many questions in the time of one, as long as
//! none waits for the answer to another: so each pass here reads one thing for all datagrams, and asks nothing of what it reads.

use std::hint::black_box;

use postern_proto::limits::HINT_LEN;
use postern_proto::{Hint, Packet};

use super::Gate;
use crate::model::datagram::Datagram;

/// Datagrams that are read ahead for at once: what is read for so many stays in the nearest cache.
const AT_ONCE: usize = 64;

impl Gate {
    /// Comes before [`Gate::handle`] has these datagrams, in this order, where several wait.
    pub fn look_ahead(&self, datagrams: &[Datagram]) {
        datagrams
            .chunks(AT_ONCE)
            .for_each(|some| self.look_at(some));
    }

    fn look_at(&self, some: &[Datagram]) {
        let mut ahead = [(Hint([0; HINT_LEN]), 0); AT_ONCE];
        let known = some
            .iter()
            .filter_map(|datagram| Some(Packet::parse(datagram.payload()).ok()?.hint()));
        let count = ahead
            .iter_mut()
            .zip(known.filter(|hint| self.hints.may_hold(*hint)))
            .map(|(place, hint)| place.0 = hint)
            .count();
        let ahead = ahead.get_mut(..count).unwrap_or_default();
        black_box(
            ahead
                .iter()
                .fold(0, |read, (hint, _)| read ^ self.hints.slot(*hint)),
        );
        ahead
            .iter_mut()
            .for_each(|(hint, row)| *row = self.hints.likely_row(*hint));
        black_box(ahead.iter().fold(0, |read, (_, row)| {
            let (hint, keys) = self.hints.hint_and_keys(*row);
            read ^ hint ^ self.users.near(keys) as u64
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use postern_proto::{GateName, KeyMaterial, SharedKey, Step, UserKeys};

    use super::*;
    use crate::core::gate::{HintTable, User};
    use crate::model::catalog::NamedServices;
    use crate::model::mark::Kept;
    use crate::model::policy::Policy;
    use crate::model::reason;
    use crate::model::time::Timestamp;

    #[test]
    fn whatever_is_looked_at_ahead_is_judged_as_it_would_be_without() {
        let now = Timestamp::from_millis(1_760_000_000_000);
        let keys = UserKeys::derive(
            &GateName::new("gate.example.org").unwrap(),
            &KeyMaterial::shared(&SharedKey::from_bytes([7; 32])),
        );
        let hint = keys.hint_key().hint(Step::of(now.as_millis()));
        let user = User {
            keys,
            policy: Policy::for_user("alice", Vec::new()),
        };
        let mut gate = Gate::new(
            vec![user],
            NamedServices::new(),
            Duration::from_secs(30),
            Kept::default(),
        );
        let known = [&hint.0[..], &[0; 200]].concat();
        let datagram = |payload: &[u8]| {
            let address = IpAddr::from(Ipv4Addr::LOCALHOST);
            Datagram::new(address, address, 62201, payload)
        };
        let mut datagrams: Vec<Datagram> = [&[][..], &[7; 131], &[7; 132], &[7; 517], &known]
            .map(datagram)
            .to_vec();
        datagrams.extend(vec![datagram(&known); 2 * AT_ONCE]);
        // A gate without a table knows nobody.
        gate.look_ahead(&datagrams);
        gate.install(HintTable::build(
            &gate.hint_keys(),
            gate.table_wanted(now).unwrap(),
        ));
        gate.look_ahead(&datagrams);
        datagrams
            .iter()
            .for_each(|datagram| drop(gate.handle(now, datagram)));
        let counted = [
            reason::Drop::Length,
            reason::Drop::UnknownHint,
            reason::Drop::BadMac,
        ]
        .map(|drop| gate.counters().of(reason::Reason::Drop(drop)));
        assert_eq!(counted, [3, 1, 1 + 2 * AT_ONCE as u64]);
    }
}
