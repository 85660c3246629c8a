//! Coordinators: an etcd or a Redis that the gates of one name share. Each keeps connections, and asks once for each claim.
//!
//! A server may lie, be slow, or send without end: every answer is bounded in time and in bytes.

use std::time::Duration;

use crate::core::claims::Coordinator;
#[cfg(any(feature = "etcd", feature = "redis"))]
use crate::model::cluster::CoordinatorKind;
use crate::model::cluster::{Cluster, Credentials};

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod gateway;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod resp;
#[cfg(feature = "redis")]
mod stream;

/// The coordinator of these settings, for gates with this window. Connects to nothing yet. Fails with the cause and the cure.
pub fn open(
    cluster: Cluster,
    credentials: Credentials,
    window: Duration,
) -> Result<Box<dyn Coordinator>, String> {
    match cluster.coordinator {
        #[cfg(feature = "etcd")]
        CoordinatorKind::Etcd => {
            let etcd = etcd::Etcd::new(cluster, credentials, window)?;
            Ok(Box::new(etcd))
        }
        #[cfg(feature = "redis")]
        CoordinatorKind::Redis => {
            let redis = redis::Redis::new(cluster, credentials)?;
            Ok(Box::new(redis))
        }
        #[cfg(not(all(feature = "etcd", feature = "redis")))]
        kind => {
            drop((credentials, window));
            Err(format!("this posternd is built without {}", kind.name()))
        }
    }
}
