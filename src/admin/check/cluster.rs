//! Findings about the coordinator of `[cluster]`.

use std::net::IpAddr;
use std::time::Duration;

use super::findings::{Finding, Findings};
use crate::adapters::control::{self, Answer, Question};
use crate::core::claims::GateFacts;
use crate::core::fleet::Refusal;
use crate::daemon::monitor;
use crate::daemon::monitor::rights::RunAs;
use crate::model::cluster::{Cluster, CoordinatorEndpoint};
use crate::model::fleet::{FleetStatus, MemberStatus};
use crate::model::settings::Settings;
use crate::model::time;

const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// A heartbeat may be as old as its way is long.
const CLOCKS_APART: Duration = Duration::from_secs(10);

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
    let status = control::ask(&settings.gate.control_socket, &Question::Status);
    if let Ok(Answer::Status(status)) = status
        && let Some(fleet) = status.cluster.and_then(|cluster| cluster.fleet)
    {
        check_fleet(&fleet, findings);
    }
}

/// What the running gate hears of the others.
fn check_fleet(fleet: &FleetStatus, findings: &mut Findings) {
    for one in fleet.members.iter().filter(|one| one.is_heard()) {
        let apart = one.clock_apart();
        if apart > CLOCKS_APART {
            let (member, apart) = (&one.member, time::human(apart));
            let what = format!("the clocks of {member} and of this gate differ by {apart}");
            let why = "one of them drops knocks that are right at the other; 60s is the most";
            let cure = "let all gates of the name get the time from NTP";
            let finding = Finding::warning("cluster-clock", what);
            findings.add(finding.detail(why).detail(cure));
        }
    }
    let refused = |refusal: Refusal| fleet.counters.refused.get(refusal.name()).copied();
    if let Some(count) = refused(Refusal::Seal) {
        let count = time::count(usize::try_from(count).unwrap_or(usize::MAX), "publication");
        let what = format!("{count} at the coordinator can't be opened with this gate's fleet key");
        let why = "another gate of the name has another cluster.fleet_key_file";
        let or = "or cluster.prefix is another cluster's, or somebody forges them";
        findings.add(Finding::warning("fleet-seal", what).detail(why).detail(or));
    }
    if refused(Refusal::Twin).is_some() {
        let what = Refusal::Twin.sentence();
        findings.add(Finding::warning("fleet-member", what));
    }
    if refused(Refusal::Clock).is_some() {
        let what = "the clocks of this gate and of another one differed by more than 90s";
        let either = "this gate's was behind or was set back, or the other's was ahead";
        let why = "a gate whose clock is behind can admit knocks that the others have admitted";
        let cure = "let all gates of the name get the time from NTP, then reload posternd";
        let finding = Finding::warning("cluster-clock", what);
        findings.add(finding.detail(either).detail(why).detail(cure));
    }
    let is_heard = fleet.members.iter().any(MemberStatus::is_heard);
    let is_explained = [Refusal::Seal, Refusal::Clock].map(refused) != [None, None];
    if fleet.behind.is_none() && !is_heard && !is_explained {
        let what = "no other gate of this name is heard";
        let why =
            "if one runs, it has no cluster.fleet_key_file, or its clock is far behind this one";
        let or = "or it has another coordinator or cluster.prefix: a copied knock opens at both";
        let finding = Finding::note("fleet-alone", what);
        findings.add(finding.detail(why).detail(or));
    }
}

/// Whether others may read what is sent to it.
fn is_in_clear(endpoint: &CoordinatorEndpoint) -> bool {
    let address = endpoint.host.parse::<IpAddr>();
    let is_here =
        endpoint.host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    !endpoint.secure && !is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fleet: &FleetStatus) -> String {
        let mut findings = Findings::default();
        check_fleet(fleet, &mut findings);
        findings.to_string()
    }

    #[test]
    fn gate_that_hears_no_other_is_told() {
        let mut fleet = FleetStatus::default();
        assert!(found(&fleet).contains("note: no other gate of this name is heard [fleet-alone]"));
        fleet.members.push(MemberStatus {
            member: "gate2".to_owned(),
            heard_ms: 10,
            age_ms: 10,
        });
        assert_eq!(found(&fleet), "ok: \n");
        fleet.members.clear();
        fleet.counters.refused.insert("clock".to_owned(), 1);
        let said = found(&fleet);
        assert!(said.contains("[cluster-clock]") && !said.contains("[fleet-alone]"));
        // After this gate's clock was set back, the others are right.
        assert!(said.contains("this gate's was behind or was set back, or"));
    }
}
