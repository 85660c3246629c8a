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

/// All publications of these grants that were made until then are closed.
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
        // Each part behind its length.
        let parts = [self.user.as_str(), &self.allow.to_string()];
        let parts = parts.into_iter().chain([target.as_deref().unwrap_or("")]);
        for part in parts.chain(services.iter().map(String::as_str)) {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let mut id = [0; 16];
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        SharedId(id)
    }
}
