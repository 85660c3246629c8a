//! Fair shares of the way through store and monitor: one user's knocks do not keep those of others waiting.
//!
//! A user has few knocks on the way. The next ones wait here, and others pass them.

use std::collections::{HashMap, VecDeque};

use crate::model::kept_name::UserName;

/// One user's knocks on the way to the firewall. About a batch of the monitor, so that a lone user is as fast as the firewall.
const ON_THE_WAY: usize = 128;

/// What waits or is on the way, by user.
#[derive(Debug)]
pub(super) struct Shares<T> {
    users: HashMap<UserName, Share<T>>,
    total: usize,
    most: usize,
}

#[derive(Debug)]
struct Share<T> {
    on_the_way: usize,
    waiting: VecDeque<T>,
}

/// Whether an item may go on its way.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<T> {
    Goes(T),
    Waits,
    /// The user's share of the room is taken.
    Full,
}

impl<T> Shares<T> {
    /// Room for `most` items.
    pub(super) fn new(most: usize) -> Self {
        Self {
            users: HashMap::new(),
            total: 0,
            most,
        }
    }

    /// A user gets no more room than stays free: alone a half, as one of two users a third. So there is always some for another user.
    pub(super) fn enter(&mut self, user: &str, item: T) -> Entry<T> {
        let user = UserName::from(user);
        let left = self.most.saturating_sub(self.total);
        let own = self.users.get(&user).map_or(0, Share::len);
        if own >= left {
            return Entry::Full;
        }
        self.total = self.total.saturating_add(1);
        let share = self.users.entry(user).or_insert_with(|| Share {
            on_the_way: 0,
            waiting: VecDeque::new(),
        });
        if share.on_the_way < ON_THE_WAY {
            share.on_the_way = share.on_the_way.saturating_add(1);
            return Entry::Goes(item);
        }
        share.waiting.push_back(item);
        Entry::Waits
    }

    /// An item of this user has arrived. Returns the one that goes next.
    pub(super) fn leave(&mut self, user: &str) -> Option<T> {
        let user = UserName::from(user);
        let share = self.users.get_mut(&user)?;
        self.total = self.total.saturating_sub(1);
        let next = share.waiting.pop_front();
        if next.is_none() {
            share.on_the_way = share.on_the_way.saturating_sub(1);
        }
        if share.len() == 0 {
            self.users.remove(&user);
        }
        next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

impl<T> Share<T> {
    fn len(&self) -> usize {
        self.on_the_way.saturating_add(self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_pass_the_knocks_of_one() {
        let mut shares = Shares::new(4096);
        let greedy: Vec<_> = (0..20_000).map(|n| shares.enter("alice", n)).collect();
        let count = |entry| greedy.iter().filter(|one| **one == entry).count();
        assert_eq!(count(Entry::Waits), 2048 - ON_THE_WAY);
        assert_eq!(count(Entry::Full), 20_000 - 2048);
        for user in ["bob", "carol"] {
            let entries = (0..20).map(|n| shares.enter(user, n));
            assert!(entries.enumerate().all(|(n, one)| one == Entry::Goes(n)));
        }
        let next: Vec<_> = std::iter::from_fn(|| shares.leave("alice")).collect();
        let expected: Vec<usize> = (ON_THE_WAY..2048).collect();
        assert_eq!(next, expected, "in their order");
        (1..ON_THE_WAY).for_each(|_| assert_eq!(shares.leave("alice"), None));
        assert!(!shares.is_empty());
        for user in ["bob", "carol"] {
            (0..20).for_each(|_| assert_eq!(shares.leave(user), None));
        }
        assert!(shares.is_empty() && shares.total == 0);
    }
}
