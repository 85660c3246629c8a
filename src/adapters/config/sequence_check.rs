//! What all sequences of a config must agree on, with each other and with the gate's ports.

use std::collections::BTreeMap;

use postern_proto::Protocol;

use super::place::Place;
use super::problem::Problem;
use crate::core::gate::{SequenceKind, SequenceUser};
use crate::core::sequence::{Conflict, Expected, Flags, Sequence, SequenceId, conflict};
use crate::model::policy::Policy;
use crate::model::sequence_ports::{RANGES_MAX, SequencePorts};
use crate::model::service::{self, Ports};
use crate::model::settings::{Interfaces, Settings};

/// The most users with a sequence. Keyed ones cost time in every step.
const USERS_MAX: usize = 1024;

/// The most named interfaces with sequences: each has two sockets, and an engine gets at most 64 descriptors.
const INTERFACES_MAX: usize = 28;

/// A sequence, and where it is written.
pub(super) type Placed<'a> = (&'a Place<'a>, &'a SequenceUser);

/// The ports of these sequences.
pub(super) fn ports(users: &[SequenceUser], policies: &[Policy]) -> SequencePorts {
    let ports = users.iter().flat_map(|user| user.kind.ports());
    let is_syn_only = |flags: Flags| {
        let syn_only = super::sequence_user::SYN_ONLY;
        flags.set & syn_only.set != 0 && flags.clear & syn_only.clear != 0
    };
    let plain = users.iter();
    let plain = plain.filter(|user| matches!(user.kind, SequenceKind::Plain(_)));
    let readable = plain.filter_map(|user| Some(policies.get(user.user)?.user.to_string()));
    SequencePorts {
        ports: service::joined(ports.filter_map(Expected::ports).collect()),
        readable: readable.collect(),
        only_syn: users.iter().all(|user| is_syn_only(user.kind.flags())),
    }
}

/// The problems of these sequences, also of those of disabled users: it must be possible to enable them.
pub(super) fn problems(all: &[Placed<'_>], settings: &Settings) -> Vec<Problem> {
    let mut found = Vec::new();
    let grantable = settings.protection().grantable;
    for (place, user) in all {
        let used = user.kind.ports();
        if let Some(port) = knock_port(&used, &settings.gate.ports) {
            let what = format!("udp/{port} is a knock port and in this sequence");
            let cure = "use another port for the sequence, or change port in [gate]";
            found.push(place.problem(what, cure));
        }
        if let Some(port) = protected(&used, &grantable) {
            let what = format!("{port} is a service that users open, and in this sequence");
            found.push(place.problem(what, "use another port for the sequence"));
        }
    }
    found.extend(collisions(all));
    if let Some((place, _)) = all.get(USERS_MAX) {
        let what = format!("there are more than {USERS_MAX} users with a sequence");
        found.push(place.problem(what, "divide them among several gates"));
    }
    if let (Interfaces::Named(names), Some((place, _))) = (&settings.gate.interfaces, all.first())
        && names.len() > INTERFACES_MAX
    {
        let what = format!("sequences are captured on at most {INTERFACES_MAX} interfaces");
        let cure = "name fewer interfaces in [gate], or write [\"any\"]";
        found.push(place.problem(what, cure));
    }
    let ranges = settings.sequences.ports.len();
    if let (Some((place, _)), true) = (all.last(), ranges > RANGES_MAX) {
        let what = format!("all sequences have {ranges} ranges of ports, more than {RANGES_MAX}");
        found.push(place.problem(what, "choose ports that are next to each other"));
    }
    found
}

fn knock_port(used: &[Expected], knock_ports: &[u16]) -> Option<u16> {
    let mut ports = knock_ports.iter().copied();
    ports.find(|port| {
        let port = Expected::port(Protocol::Udp, *port);
        used.iter().any(|hit| hit.contains(port))
    })
}

fn protected(used: &[Expected], grantable: &[Ports]) -> Option<Ports> {
    let mut used = used.iter().filter_map(|hit| hit.ports());
    used.find_map(|hit| grantable.iter().find_map(|service| service.overlap(hit)))
}

/// Sequences of which one could never be complete, or only by chance.
fn collisions(all: &[Placed<'_>]) -> Vec<Problem> {
    let mut found = Vec::new();
    // Without a common first hit there is no conflict. This keeps a long list cheap.
    let mut by_first: BTreeMap<Option<Expected>, Vec<(usize, Sequence)>> = BTreeMap::new();
    for (at, (place, user)) in all.iter().enumerate() {
        for sequence in user.kind.fixed() {
            let alike = by_first
                .entry(sequence.hits().first().copied())
                .or_default();
            let others = alike
                .iter()
                .filter(|(other, _)| !is_shared(all, *other, at));
            let collision = others.into_iter().find_map(|(other, one)| {
                let both = [(SequenceId(0), one), (SequenceId(1), &sequence)];
                conflict(both).err().map(|conflict| (*other, conflict))
            });
            if let Some((other, conflict)) = collision {
                let (what, cure) = words(&conflict);
                let other = all.get(other).map(|(place, _)| place.name());
                let what = format!("{what}; the other is at {}", other.unwrap_or_default());
                found.push(place.problem(what, cure));
            }
            alike.push((at, sequence));
        }
    }
    let plain: Vec<_> = by_first.into_values().flatten().collect();
    for (place, user) in all {
        if !matches!(user.kind, SequenceKind::Keyed { .. }) {
            continue;
        }
        for range in user.kind.ports() {
            if let Some((other, _)) = plain.iter().find(|(_, one)| one.begins_within(range)) {
                let what = format!(
                    "a sequence from these ports can begin like the one at {}",
                    all.get(*other)
                        .map(|(place, _)| place.name())
                        .unwrap_or_default()
                );
                let cure = "choose ports without the first port of the other";
                found.push(place.problem(what, cure));
            }
        }
    }
    found
}

/// Whether two sequences may be alike: one-time sequences of one user count one after the other, and users with the same
/// offset differ by their passphrases.
fn is_shared(all: &[Placed<'_>], one: usize, other: usize) -> bool {
    let kind = |at: usize| all.get(at).map(|(_, user)| &user.kind);
    match (kind(one), kind(other)) {
        (
            Some(SequenceKind::Encrypted { offset: one, .. }),
            Some(SequenceKind::Encrypted { offset: other, .. }),
        ) => one == other,
        _ => one == other,
    }
}

fn words(conflict: &Conflict) -> (String, &'static str) {
    let cure = match conflict {
        Conflict::Flags(..) => "write the same tcp_flags for both, or another first port",
        _ => "change a port, so that neither is the beginning of the other",
    };
    (conflict.to_string(), cure)
}
