//! A `[cluster]` section for tests in which no coordinator is asked, or one at another address.

use std::time::Duration;

use postern::model::cluster::{Cluster, CoordinatorEndpoint, CoordinatorKind};

pub const CLAIM_DEADLINE: Duration = Duration::from_millis(50);

pub fn cluster() -> Cluster {
    Cluster {
        coordinator: CoordinatorKind::Etcd,
        endpoints: vec![CoordinatorEndpoint {
            secure: false,
            host: "192.0.2.1".to_owned(),
            port: 2379,
        }],
        ca_file: None,
        cert_file: None,
        cert_key_file: None,
        user: None,
        password_file: None,
        fleet_key_file: None,
        prefix: "/postern/".to_owned(),
        deadline: CLAIM_DEADLINE,
        member: "gate1".to_owned(),
    }
}
