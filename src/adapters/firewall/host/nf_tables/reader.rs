//! Reads chains and rules as the kernel lists them.

use std::cell::OnceCell;
use std::collections::HashMap;

use super::rule::Reading;
use crate::adapters::netlink::attributes::{each, find, text};
use crate::core::host_rules::{Base, Chain, Condition, Hook, Rule, Table, Test, Verdict};
use crate::model::address::Family;

// families in linux/netfilter.h
const INET: u8 = 1;
const NETDEV: u8 = 5;
pub(super) const DORMANT: u32 = 1;
/// Translation tables of Docker, Podman and libvirt are smaller; those of kube-proxy are larger, and publish no container.
pub(in crate::adapters::firewall::host) const TRANSLATING_CHAINS_MAX: usize = 256;
const TABLES_OF_IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
const CHAINS_OF_IPTABLES: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// Which tables to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::adapters::firewall::host) enum Scope {
    All,
    /// Those that decide what passes, and small ones that translate addresses.
    Filters,
}

/// What the reader must know about the host.
pub(in crate::adapters::firewall::host) struct Owners<'a> {
    /// The program that changes tables of iptables in nf_tables; `None` if there is none.
    pub(in crate::adapters::firewall::host) iptables: &'a dyn Fn(Family) -> Option<String>,
    /// The names of interfaces by index, once somebody asked for them.
    pub(in crate::adapters::firewall::host) interfaces: OnceCell<HashMap<u32, String>>,
}

impl Owners<'_> {
    pub(super) fn interfaces(&self) -> &HashMap<u32, String> {
        self.interfaces.get_or_init(|| {
            let interfaces = pnet::datalink::interfaces().into_iter();
            interfaces.map(|one| (one.index, one.name)).collect()
        })
    }
}

/// The chains of a recording; iptables is of the nft variant.
#[cfg(test)]
pub(crate) fn read_recording(recording: super::dump::Recording<'_>) -> Vec<Chain> {
    let owners = Owners {
        iptables: &|family| Some(family.pick("iptables", "ip6tables").to_owned()),
        interfaces: HashMap::from([(1, "lo".to_owned())]).into(),
    };
    let mut view = super::view::View::new(recording, recording, Scope::All, None);
    view.read(&owners).unwrap();
    view.into_rules().chains
}

/// Names the rules of a chain, from one of them on.
pub(super) fn name_rules(chain: &mut Chain, from: usize) {
    let is_nft = chain.table.is_nft();
    let mut number = 0_usize;
    let mut last = 0;
    for (index, rule) in chain.rules.iter_mut().enumerate() {
        number = number.saturating_add(usize::from(rule.handle != last));
        last = rule.handle;
        if last == 0 || index < from {
            continue;
        }
        rule.name = if is_nft {
            format!("the rule with handle {last} of chain {}", chain.name)
        } else {
            format!("rule {number} of chain {}", chain.name)
        };
    }
}

pub(super) fn rules_of(object: &[u8], reading: Reading) -> impl Iterator<Item = Rule> {
    let handle = find(object, 3).and_then(|value| value.try_into().ok());
    let handle = handle.map_or(0, u64::from_be_bytes);
    let comment = reading.comment;
    let comment = comment.or_else(|| find(object, 7).and_then(comment_in));
    reading.rules.into_iter().map(move |parsed| Rule {
        conditions: parsed.conditions,
        effect: parsed.effect,
        verdict: parsed.verdict,
        name: String::new(),
        handle,
        comment: comment.clone(),
    })
}

/// libnftnl stores texts as type, length and value; a comment has type 0.
fn comment_in(userdata: &[u8]) -> Option<String> {
    let mut rest = userdata;
    while let [kind, length, more @ ..] = rest {
        let (value, behind) = more.split_at_checked(usize::from(*length))?;
        if *kind == 0 {
            return Some(text(value));
        }
        rest = behind;
    }
    None
}

pub(super) fn number(object: &[u8], kind: u16) -> Option<u32> {
    find(object, kind)?.try_into().ok().map(u32::from_be_bytes)
}

/// Families that no IP packet passes are left out.
pub(super) fn family(number: u8) -> Option<&'static str> {
    match number {
        INET => Some("inet"),
        2 => Some("ip"),
        NETDEV => Some("netdev"),
        10 => Some("ip6"),
        _ => None,
    }
}

pub(super) fn chain(number_of_family: u8, object: &[u8]) -> Option<Chain> {
    let hook = find(object, 4).and_then(|hook| {
        let priority = number(hook, 2)?.cast_signed();
        Some(match (number_of_family, number(hook, 1)?) {
            // the ingress of a device is entered before all other hooks
            (NETDEV, 0) | (INET, 5) => (Hook::Prerouting, priority_of_ingress(priority)),
            (NETDEV, _) => return None,
            (_, 0) => (Hook::Prerouting, priority),
            (_, 1) => (Hook::Input, priority),
            (_, 2) => (Hook::Forward, priority),
            _ => return None,
        })
    });
    let name = text(find(object, 3)?);
    let drops = number(object, 5) == Some(0);
    let devices = find(object, 4).map(devices).unwrap_or_default();
    Some(Chain {
        table: Table {
            program: String::new(),
            family: family(number_of_family)?,
            name: text(find(object, 1)?),
        },
        rules: if devices.is_empty() {
            Vec::new()
        } else {
            vec![other_devices(devices, &name, drops)]
        },
        name,
        base: hook.map(|(hook, priority)| Base {
            hook,
            is_nat: find(object, 7) == Some(b"nat\0"),
            drops,
            priority,
        }),
    })
}

/// Below all priorities of the hooks behind, in the same order.
fn priority_of_ingress(priority: i32) -> i32 {
    const MIDDLE: i32 = i32::MIN / 2;
    MIDDLE.saturating_add(priority.clamp(MIDDLE / 2, -MIDDLE / 2))
}

/// The devices of an ingress chain.
fn devices(hook: &[u8]) -> Vec<String> {
    let one = find(hook, 3).map(text).into_iter();
    let many = find(hook, 4)
        .into_iter()
        .flat_map(|list| each(list).flatten());
    one.chain(many.map(|(_, name)| text(name))).collect()
}

/// Packets of other devices do not enter the chain.
fn other_devices(devices: Vec<String>, chain: &str, drops: bool) -> Rule {
    Rule {
        conditions: vec![Condition::is(Test::Interface(devices)).negated()],
        effect: None,
        verdict: if drops {
            Verdict::Accept
        } else {
            Verdict::Return
        },
        name: format!("the devices of chain {chain}"),
        handle: 0,
        comment: None,
    }
}

/// Whether iptables would know the chain, if it is a base chain; its own tables have these names.
pub(super) fn is_of_iptables(chain: &Chain) -> bool {
    TABLES_OF_IPTABLES.contains(&chain.table.name.as_str())
        && (chain.base.is_none() || CHAINS_OF_IPTABLES.contains(&chain.name.as_str()))
}
