//! Judges, after each change of the rules, what they do with a packet of each service, with a grant and without.

use super::packets::{self, published, sets_of_services};
use crate::adapters::firewall::host::Network;
use crate::core::host_rules::accept_rules::without_postern;
use crate::core::host_rules::{Hook, Judgement, Packet, Ruleset};
use crate::model::address::Family;
use crate::model::self_test::SelfTest;
use crate::model::settings::Protection;

/// The most lines for `posternd status`.
const TESTS_MAX: usize = 32;

pub(super) fn run(ruleset: &Ruleset, protection: &Protection, network: &Network) -> Vec<SelfTest> {
    let host = without_postern(ruleset, protection.packet_mark);
    let first = Network {
        interfaces: network.interfaces.iter().take(1).cloned().collect(),
        ..network.clone()
    };
    let sets = sets_of_services(protection);
    let mut to_gate = packets::to_gate(ruleset, protection, &first, &sets);
    to_gate.retain(|packet| has_address(network, packet));
    to_gate.truncate(TESTS_MAX);
    let published = published(&host, &to_gate, &first);
    let is_hidden = !protection.services.is_empty();
    to_gate
        .into_iter()
        .map(|packet| {
            let (service, family) = (packet.service, packet.family);
            let translated = published
                .iter()
                .find(|one| (one.service(), one.family()) == (service, family));
            let (hook, granted) = match translated {
                Some(published) => (published.hook(), published.packet(&first)),
                None => (Hook::Input, packet),
            };
            let stranger = Packet {
                mark: 0,
                sets: &[],
                ..granted.clone()
            };
            let session = Packet {
                is_established: true,
                ..stranger.clone()
            };
            let with_grant = ruleset.judge_beside_postern(hook, &granted);
            let without = ruleset.judge(hook, &stranger);
            SelfTest {
                service,
                family,
                is_right: is_right(&with_grant, &without, is_hidden),
                granted: with_grant.to_string(),
                stranger: without.to_string(),
                session: cut(ruleset, hook, &session),
            }
        })
        .collect()
}

fn has_address(network: &Network, packet: &Packet<'_>) -> bool {
    let mut own = network.addresses.iter();
    own.any(|own| Family::of_network(*own) == packet.family)
}

/// Why the rules drop packets of a connection whose grant is over.
fn cut(ruleset: &Ruleset, hook: Hook, session: &Packet<'_>) -> Option<String> {
    let Judgement::Dropped(rule) = ruleset.judge(hook, session) else {
        return None;
    };
    Some(match ruleset.untracked_by(session) {
        Some(chain) => format!("{chain} exempts it from connection tracking"),
        None => format!("dropped by {rule}"),
    })
}

fn is_right(granted: &Judgement, stranger: &Judgement, is_hidden: bool) -> Option<bool> {
    let opens = match granted {
        Judgement::Accepted(_) => Some(true),
        Judgement::Dropped(_) => Some(false),
        Judgement::CannotTell(_) => None,
    };
    let hides = match stranger {
        _ if !is_hidden => Some(true),
        Judgement::Dropped(_) => Some(true),
        Judgement::Accepted(_) => Some(false),
        Judgement::CannotTell(_) => None,
    };
    match (opens, hides) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}
