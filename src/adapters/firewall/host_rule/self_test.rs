//! Judges, after each change of the rules, what they do with a packet of each service, with a grant and without.

use ipnet::IpNet;

use super::plan::{packets, sets_of_services};
use crate::core::host_rules::{Hook, Judgement, Packet, Ruleset};
use crate::model::self_test::SelfTest;
use crate::model::settings::Protection;

/// The most lines for `posternd status`.
const TESTS_MAX: usize = 32;

pub(super) fn run(
    ruleset: &Ruleset,
    protection: &Protection,
    interfaces: &[String],
    addresses: &[IpNet],
) -> Vec<SelfTest> {
    let mut host = ruleset.clone();
    host.chains.retain(|chain| !chain.is_postern());
    let interface = interfaces.get(..1).unwrap_or_default();
    let sets = sets_of_services(protection);
    let granted = packets(
        &protection.grantable,
        protection.packet_mark,
        interface,
        addresses,
        Some(&sets),
    );
    let has_address = |packet: &Packet<'_>| {
        let is_own =
            |network: &IpNet| crate::model::address::Family::of(network.addr()) == packet.family;
        addresses.iter().any(is_own)
    };
    granted
        .into_iter()
        .filter(has_address)
        .take(TESTS_MAX)
        .map(|granted| {
            let stranger = Packet {
                mark: 0,
                sets: &[],
                ..granted.clone()
            };
            let session = Packet {
                is_established: true,
                ..stranger.clone()
            };
            let with_grant = host.judge(Hook::Input, &granted);
            let without = ruleset.judge(Hook::Input, &stranger);
            let is_hidden = !protection.services.is_empty();
            SelfTest {
                service: granted.service,
                family: granted.family,
                is_right: is_right(&with_grant, &without, is_hidden),
                granted: with_grant.to_string(),
                stranger: without.to_string(),
                session: cut(ruleset, &session),
            }
        })
        .collect()
}

/// Why the rules drop packets of a connection whose grant is over.
fn cut(ruleset: &Ruleset, session: &Packet<'_>) -> Option<String> {
    let Judgement::Dropped(rule) = ruleset.judge(Hook::Input, session) else {
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
