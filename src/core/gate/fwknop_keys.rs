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

/// A packet whose mac is right, or whose user has no mac and whose content is; and the row of its user.
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
