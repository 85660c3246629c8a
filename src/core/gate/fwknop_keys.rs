//! The keys of users who knock with fwknop's clients: whose packet is this?
//!
//! Nothing in such a packet says whose it is, so each user's key is tried. That costs one mac for each user. A thread of
//! its own can do it, because the keys change with the config only.

use ipnet::IpNet;
use postern_fwknop::{Key, Opened, Packet, Reason};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::service::{Ports, Wanted};

/// The greatest clock difference, as in fwknop's server. Its time counts in whole seconds.
pub(crate) use crate::model::settings::FWKNOP_WINDOW;

/// The most users of this kind: a packet is tried with the keys of all.
pub const FWKNOP_USERS_MAX: usize = 1024;

/// So few macs at once cost about as much as it takes to receive a packet.
const FEW: usize = 2;
/// So long packets cost more to verify than to receive. Packets of fwknop's clients have 150 to 400 characters.
const QUICK_MAX: usize = 512;

/// A user who knocks with a client of fwknop.
#[derive(Debug)]
pub struct FwknopUser {
    /// The user's index among the gate's users.
    pub user: usize,
    pub key: Key,
    /// The user name that packets must state; `None`: any.
    pub username: Option<String>,
    /// Addresses of the gate that packets must be sent to; empty: all.
    pub destination: Vec<IpNet>,
    /// What a command opens, by its exact text.
    pub commands: BTreeMap<String, Wanted>,
    /// What a port opens instead of itself.
    pub access: Access,
    /// The longest time that a packet may ask for; `None`: the user's `max_duration`.
    pub max_asked: Option<u32>,
    /// Users of one number share a key.
    pub group: usize,
    /// Who of them is asked first: the one with the least number.
    pub order: u16,
}

/// The service that an access request opens instead of the ports that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    pub ports: BTreeMap<Ports, Wanted>,
    /// For every port that is not among `ports`.
    pub any: Option<Wanted>,
}

impl Access {
    /// What a request for this port opens instead.
    pub(super) fn of(&self, port: Ports) -> Option<Wanted> {
        self.ports.get(&port).or(self.any.as_ref()).cloned()
    }
}

impl FwknopUser {
    /// Whether the user's packets may come to this address of the gate.
    pub(super) fn takes(&self, destination: IpAddr) -> bool {
        let mut networks = self.destination.iter();
        self.destination.is_empty() || networks.any(|network| network.contains(&destination))
    }

    pub(crate) fn open(&self, packet: &Packet<'_>) -> Result<Opened, Reason> {
        self.key.open(&self.key.verify(packet)?)
    }
}

/// All users of this kind, for any thread.
#[derive(Clone, Default)]
pub struct FwknopUsers(Arc<Table>);

#[derive(Default)]
struct Table {
    users: Vec<FwknopUser>,
    /// Places in `users`. Those who share a key follow each other, in their order.
    rows: Vec<usize>,
}

/// The row of the user whose packet it is: the mac is right, or, without a mac, the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FwknopRow(pub(super) usize);

impl FwknopUsers {
    pub(super) fn new(users: Vec<FwknopUser>) -> Self {
        // the keys stay in place: a copy of them would not be wiped
        let mut rows: Vec<usize> = (0..users.len()).collect();
        rows.sort_by_key(|at| users.get(*at).map(|user| (user.group, user.order)));
        Self(Arc::new(Table { users, rows }))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.rows.is_empty()
    }

    /// Whether a payload can be a packet of one of these users. Costs no cryptography.
    #[must_use]
    pub fn may_be(&self, payload: &[u8]) -> bool {
        !self.is_empty() && postern_fwknop::looks_like(payload)
    }

    /// The first user whose key verifies the packet. A user without a mac is asked by decrypting, after all others.
    ///
    /// # Errors
    /// What is wrong for the user who came nearest: a mac that is right says more than a wrong one.
    pub fn find(&self, payload: &[u8]) -> Result<FwknopRow, Reason> {
        let packet = Packet::parse(payload)?;
        let users = || self.from(FwknopRow(0)).enumerate();
        let with_mac = users().filter(|(_, user)| user.key.has_mac());
        let without = users().filter(|(_, user)| !user.key.has_mac());
        let mut nearest = Reason::Blocks;
        for (row, user) in with_mac {
            match user.key.verify(&packet) {
                Ok(_) => return Ok(FwknopRow(row)),
                Err(reason) => nearest = nearest.max(reason),
            }
        }
        for (row, user) in without {
            match user.open(&packet) {
                Ok(_) => return Ok(FwknopRow(row)),
                Err(reason) => nearest = nearest.max(reason),
            }
        }
        Err(nearest)
    }

    /// The same with a few keys alone: those of these users, or all if there are no more. `None` if others must be tried.
    pub(crate) fn find_quickly(
        &self,
        likely: &[FwknopRow],
        payload: &[u8],
    ) -> Option<Result<FwknopRow, Reason>> {
        if payload.len() > QUICK_MAX {
            return None;
        }
        let verifies = |row: &FwknopRow, packet: &Packet<'_>| {
            let user = self.get(*row).filter(|user| user.key.has_mac());
            user.is_some_and(|user| user.key.verify(packet).is_ok())
        };
        let are_all = self.len() <= FEW && self.from(FwknopRow(0)).all(|user| user.key.has_mac());
        if are_all {
            return Some(self.find(payload));
        }
        let packet = Packet::parse(payload).ok()?;
        let mut rows = likely.iter().take(FEW);
        rows.find(|row| verifies(row, &packet)).copied().map(Ok)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.rows.len()
    }

    pub(crate) fn get(&self, row: FwknopRow) -> Option<&FwknopUser> {
        self.from(row).next()
    }

    /// This user and those after it who share its key, as far as their keys open the packet.
    pub(crate) fn sharing<'a>(
        &'a self,
        row: FwknopRow,
        packet: &Packet<'_>,
    ) -> impl Iterator<Item = (&'a FwknopUser, Opened)> {
        let group = self.get(row).map(|user| user.group);
        let shares = move |user: &&FwknopUser| Some(user.group) == group;
        let users = self.from(row).take_while(shares);
        users.filter_map(|user| Some((user, user.open(packet).ok()?)))
    }

    fn from(&self, FwknopRow(row): FwknopRow) -> impl Iterator<Item = &FwknopUser> {
        let rows = self.0.rows.get(row..).unwrap_or_default();
        rows.iter().filter_map(|at| self.0.users.get(*at))
    }
}

impl fmt::Debug for FwknopUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FwknopUsers({})", self.0.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_fwknop::{Allow, MacKind, Message, Mode, Port, Protocol, Request};
    use std::num::NonZeroU16;

    fn key(user: u8) -> Key {
        Key::new(&[user; 32], MacKind::Sha256, &[user; 32]).unwrap()
    }

    fn users(keys: impl IntoIterator<Item = Key>) -> FwknopUsers {
        let user = |(user, key)| FwknopUser {
            user,
            key,
            username: None,
            destination: Vec::new(),
            commands: BTreeMap::new(),
            access: Access::default(),
            max_asked: None,
            group: user,
            order: 0,
        };
        FwknopUsers::new(keys.into_iter().enumerate().map(user).collect())
    }

    fn packet_of(user: u8) -> Vec<u8> {
        let request = Request {
            user: "root".to_owned(),
            timestamp_s: 1_800_000_000,
            allow: Allow::Source,
            message: Message::Access(vec![Port {
                protocol: Protocol::Tcp,
                number: NonZeroU16::new(22).unwrap(),
            }]),
            timeout_s: None,
        };
        key(user).seal(&request, &[7; 16]).unwrap().into_bytes()
    }

    #[test]
    fn likely_keys_find_packets_among_many() {
        let users = users((0..100).map(key));
        let find = |likely: &[usize]| {
            let likely: Vec<_> = likely.iter().copied().map(FwknopRow).collect();
            users.find_quickly(&likely, &packet_of(99))
        };
        assert_eq!(find(&[99]), Some(Ok(FwknopRow(99))));
        assert_eq!(find(&[3, 99]), Some(Ok(FwknopRow(99))));
        assert_eq!(find(&[3, 4, 99]), None, "bounded");
        assert_eq!(find(&[]), None, "the others must be tried");
    }

    #[test]
    fn few_keys_are_all_tried_at_once() {
        let quickly = |users: &FwknopUsers, user| users.find_quickly(&[], &packet_of(user));
        let two = users([key(0), key(1)]);
        assert_eq!(quickly(&two, 1), Some(Ok(FwknopRow(1))));
        assert_eq!(quickly(&two, 2), Some(Err(Reason::Mac)));
        assert_eq!(two.find_quickly(&[], &[b'8'; 1463]), None, "costs more");
        assert_eq!(quickly(&users((0..3).map(key)), 2), None);
        let without = Key::without_mac(&[1; 32], Mode::Cbc).unwrap();
        assert_eq!(quickly(&users([key(0), without]), 2), None, "costs more");
    }
}
