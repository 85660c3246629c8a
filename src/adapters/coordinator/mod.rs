//! Coordinators: an etcd or a Redis that the gates of one name share. Each keeps connections, and asks once for each claim.
//!
//! A server may lie, be slow, or send without end: every answer is bounded in time and in bytes.

use crate::core::claims::{Coordinator, GateFacts};
#[cfg(any(feature = "etcd", feature = "redis"))]
use crate::model::cluster::CoordinatorKind;
use crate::model::cluster::{Cluster, Credentials};

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod http;
#[cfg(any(feature = "etcd", feature = "redis"))]
mod identity;
#[cfg(any(feature = "etcd", feature = "redis"))]
mod pool;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod resp;
#[cfg(any(feature = "etcd", feature = "redis"))]
mod stream;
#[cfg(any(feature = "etcd", feature = "redis"))]
mod text;

/// The coordinator of these settings, for this gate. Connects to nothing yet. Fails with the cause and the cure.
pub fn open(
    cluster: Cluster,
    credentials: Credentials,
    gate: &GateFacts,
) -> Result<Box<dyn Coordinator>, String> {
    match cluster.coordinator {
        #[cfg(feature = "etcd")]
        CoordinatorKind::Etcd => {
            let etcd = etcd::Etcd::new(cluster, credentials, gate)?;
            Ok(Box::new(etcd))
        }
        #[cfg(feature = "redis")]
        CoordinatorKind::Redis => {
            let redis = redis::Redis::new(cluster, credentials, gate)?;
            Ok(Box::new(redis))
        }
        #[cfg(not(all(feature = "etcd", feature = "redis")))]
        kind => {
            drop((credentials, gate));
            Err(format!("this posternd is built without {}", kind.name()))
        }
    }
}
