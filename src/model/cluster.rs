//! The `[cluster]` section: the coordinator that the gates of one name share.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The most endpoints: an etcd of seven nodes, and one in reserve.
pub(crate) const ENDPOINTS_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub coordinator: CoordinatorKind,
    /// One to `ENDPOINTS_MAX`.
    pub endpoints: Vec<CoordinatorEndpoint>,
    /// Certificates that sign those of the endpoints.
    pub ca_file: Option<PathBuf>,
    /// This gate's certificate, and its key.
    pub cert_file: Option<PathBuf>,
    pub cert_key_file: Option<PathBuf>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    /// The keys that the gates of this name seal their grants with. Only engines read the file.
    pub fleet_key_file: Option<PathBuf>,
    /// What every key starts with.
    pub prefix: String,
    /// For one claim, from the packet's arrival.
    pub deadline: Duration,
    /// This gate among those of its name.
    pub member: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoordinatorKind {
    Etcd,
    Redis,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorEndpoint {
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
}

impl CoordinatorKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Redis => "redis",
        }
    }

    /// Whether this program was built with it.
    pub const fn is_built(self) -> bool {
        match self {
            Self::Etcd => cfg!(feature = "etcd"),
            Self::Redis => cfg!(feature = "redis"),
        }
    }

    /// The schemes of its endpoints, without and with secure transport, and its usual port.
    pub(crate) const fn schemes(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::Etcd => ("http", "https", 2379),
            Self::Redis => ("redis", "rediss", 6379),
        }
    }
}

impl Cluster {
    /// The files that hold certificates and secrets, and whether nobody else may read them.
    pub fn files(&self) -> impl Iterator<Item = (&PathBuf, bool)> {
        let open = self.ca_file.iter().chain(&self.cert_file);
        let secret = self.cert_key_file.iter().chain(&self.password_file);
        open.map(|path| (path, false))
            .chain(secret.map(|path| (path, true)))
    }
}

/// The host and the port.
impl fmt::Display for CoordinatorEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What the files of the section contain. Only the cluster process keeps it.
#[derive(Default)]
pub struct Credentials {
    pub ca: Option<Zeroizing<String>>,
    pub cert: Option<Zeroizing<String>>,
    pub cert_key: Option<Zeroizing<String>>,
    /// Without the end of its line.
    pub password: Option<Zeroizing<String>>,
}

/// Never what they are.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
