//! Chains that drop by their policy only. While such a chain is loaded anew, the kernel lets single packets pass.
//!
//! nf_tables gives a new chain its drop policy at the end of the transaction, after the packets see the chain.

use super::cure;
use super::opening::ABSENT;
use super::view::{HostView, services_in};
use crate::admin::check::findings::Finding;
use crate::core::host_rules::{BaseChain, Hook, Judgement, Packet};

pub(super) fn findings(view: &HostView<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for family in view.families() {
        for step in view.filter_chains(family, Hook::Input) {
            if HostView::is_postern(step.chain) || !is_nf_tables(view, step) {
                continue;
            }
            let services = services_in(&view.own_services(), family);
            let policy = format!("the policy of chain {}", step.chain.name);
            let relies = services.into_iter().any(|service| {
                view.host.network.interfaces.iter().any(|interface| {
                    let packet = Packet {
                        known_chains: &ABSENT,
                        ..view.packet(family, service, interface)
                    };
                    let judgement = view.host.rules.judge_chain(step, &packet);
                    matches!(judgement, Judgement::Dropped(rule) if rule == policy)
                })
            });
            let finding = relies.then(|| finding(step));
            findings.extend(finding.filter(|one| !findings.contains(one)));
        }
    }
    findings
}

/// Rules of legacy iptables have no handles.
fn is_nf_tables(view: &HostView<'_>, step: BaseChain<'_>) -> bool {
    let mut chains = view.host.rules.chains.iter();
    step.chain.table.is_nft()
        || chains.any(|chain| {
            chain.table == step.chain.table && chain.rules.iter().any(|rule| rule.handle != 0)
        })
}

fn finding(step: BaseChain<'_>) -> Finding {
    let (table, name) = (&step.chain.table, &step.chain.name);
    Finding::note("policy-leak", format!("{table}, chain {name} drops by its policy only"))
        .detail("while its rules are loaded anew, the kernel lets single packets of strangers pass, with Postern or without")
        .detail("end the chain with a rule that drops, also in the file that the host loads")
        .cured_by(vec![cure::drop_last(step.chain)])
}
