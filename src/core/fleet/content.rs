//! What a publication says, before it is sealed.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::fleet::SharedId;
use crate::model::request::{AddressFrom, OpenRequest, services_of_a_knock};
use crate::model::service::Wanted;
use crate::model::time::Timestamp;

/// One publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Said {
    /// The gate that says it, among those of its name.
    pub member: String,
    /// When it was made, by the clock of that gate. A grant is made after every close of it that the gate knows.
    pub made: Timestamp,
    pub content: Content,
}

/// Gates of two versions understand each other: a kind or a field of a later version is skipped. So what must not be skipped is a
/// new kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Content {
    Grant(SharedGrant),
    Close(Closing),
    Heartbeat,
    /// This gate has loaded this version of a roster.
    Notice {
        roster: u64,
    },
    #[serde(other)]
    Unknown,
}

/// A grant that a gate has admitted. Services stay as the knock names them: each gate resolves names by its own config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedGrant {
    pub user: String,
    pub allow: IpNet,
    pub from: AddressFrom,
    /// Where the knock came from.
    pub source: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<IpAddr>,
    #[serde(deserialize_with = "services_of_a_knock")]
    pub services: Vec<Wanted>,
    pub until: Timestamp,
}

/// All publications of these grants, or of these groups, that were made until then are closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closing {
    pub ids: Vec<SharedId>,
    pub at: Timestamp,
    /// When all of them have ended.
    pub until: Timestamp,
}

impl SharedGrant {
    pub(super) fn of(request: &OpenRequest, source: IpAddr, now: Timestamp) -> Self {
        Self {
            user: request.user.clone(),
            allow: request.allow,
            from: request.from,
            source,
            target: request.target,
            services: request.services.clone(),
            until: now.plus(request.duration),
        }
    }

    /// The same for each knock that opens the same for the same user, so that a renewal replaces what it renews.
    pub(super) fn id(&self) -> SharedId {
        let mut services: Vec<String> = self.services.iter().map(ToString::to_string).collect();
        services.sort();
        services.dedup();
        let target = self.target.map(|target| target.to_string());
        let mut hash = Sha256::new();
        // Each part behind its length, of 64 bits.
        let parts = [self.user.as_str(), &self.allow.to_string()];
        let parts = parts.into_iter().chain([target.as_deref().unwrap_or("")]);
        for part in parts.chain(services.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        first_half(hash)
    }

    /// The id, and the groups that the grant belongs to. It is closed if one of them is.
    pub(super) fn names(&self) -> Names {
        let groups = [
            Group::All,
            Group::User(&self.user),
            Group::UserAt(&self.user, self.allow),
            Group::Network(self.allow),
        ];
        let [all, user, user_at, network] = groups.map(Group::name);
        [self.id(), all, user, user_at, network]
    }
}

pub(super) type Names = [SharedId; 5];

/// What is closed at once, also of grants that this gate does not know yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Group<'g> {
    All,
    User(&'g str),
    UserAt(&'g str, IpNet),
    Network(IpNet),
}

impl Group<'_> {
    /// Like the id of a grant, which no grant has.
    pub(super) fn name(self) -> SharedId {
        let (kind, user, network) = match self {
            Self::All => (0, "", None),
            Self::User(user) => (1, user, None),
            Self::UserAt(user, network) => (2, user, Some(network)),
            Self::Network(network) => (3, "", Some(network)),
        };
        let mut hash = Sha256::new();
        // No part of an id has this length.
        hash.update(u64::MAX.to_be_bytes());
        hash.update([kind]);
        hash.update(network.map_or(String::new(), |network| network.trunc().to_string()));
        hash.update([0]);
        hash.update(user);
        first_half(hash)
    }
}

fn first_half(hash: Sha256) -> SharedId {
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    SharedId(id)
}
