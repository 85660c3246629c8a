//! Findings about the coordinator of `[cluster]`.

use std::net::IpAddr;
use std::time::Duration;

use super::findings::{Finding, Findings};
use crate::core::claims::GateFacts;
use crate::daemon::monitor;
use crate::daemon::monitor::rights::RunAs;
use crate::model::cluster::{Cluster, CoordinatorEndpoint};
use crate::model::settings::Settings;

const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

pub(super) fn check(
    cluster: &Cluster,
    settings: &Settings,
    run_as: &RunAs,
    findings: &mut Findings,
) {
    if let Some(endpoint) = cluster.endpoints.iter().find(|one| is_in_clear(one)) {
        let what = format!("{endpoint} of cluster.endpoints has no secure transport");
        let why = "anyone between it and this gate can read the password, and answer in its place";
        let (_, secure, _) = cluster.coordinator.schemes();
        let cure = format!("write {secure}://, with ca_file");
        findings.add(
            Finding::warning("cluster-in-clear", what)
                .detail(why)
                .detail(cure),
        );
    }
    let gate = GateFacts::of(settings);
    match monitor::probe_cluster(cluster, gate, run_as, ANSWERS_WITHIN) {
        Err(stop) => findings.error("cluster-file", &stop),
        Ok(Some(why)) => {
            let what = "the coordinator can't be used, so no knock is admitted";
            let finding = Finding::warning("coordinator", what);
            findings.add(why.splitn(2, "; ").fold(finding, Finding::detail));
        }
        Ok(None) => {}
    }
}

/// Whether others may read what is sent to it.
fn is_in_clear(endpoint: &CoordinatorEndpoint) -> bool {
    let address = endpoint.host.parse::<IpAddr>();
    let is_here =
        endpoint.host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    !endpoint.secure && !is_here
}
