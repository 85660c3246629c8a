//! Sets of the host that grants are added to.

use super::view::HostView;
use crate::adapters::firewall::host_set;
use crate::admin::check::findings::Finding;
use crate::model::catalog;

pub(super) fn findings(view: &HostView<'_>) -> Vec<Finding> {
    let services = catalog::sets(&view.settings.catalog);
    let mut findings: Vec<Finding> = Vec::new();
    match host_set::unfit(&services) {
        // A set of another kind is an error, which is found before.
        Ok(unfit) => findings.extend(unfit.iter().filter(|(_, why)| why.is_absent()).map(
            |(service, why)| {
                let what = format!("service {service} does not open: {why}");
                Finding::warning("nft-set", what)
                    .detail("knocks for it are refused with the reason firewall until it appears")
            },
        )),
        Err(error) => findings.push(Finding::warning("nft-set", error)),
    }
    if !view.is_installed_at_all() {
        let left = host_set::left().unwrap_or_default();
        findings.extend(left.iter().map(|set| {
            let what =
                format!("set {set} has grants of Postern, and Postern's rules are not installed");
            Finding::warning("nft-set", what)
                .detail("a saved rule set brings grants back that may have been closed")
                .detail("save rules without elements: nft --terse list ruleset")
                .cured_by(vec!["posternd flush".to_owned()])
        }));
    }
    findings
}
