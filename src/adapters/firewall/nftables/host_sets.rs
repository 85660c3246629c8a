//! Elements in the sets of the host's own tables.
//!
//! Only elements with Postern's comment are Postern's. All others stay as they are.

use rustix::io::Errno;

use super::kernel::Kernel;
use super::messages::{self, ElementStep};
use super::replies::{self, ListedElement};
use super::{errors, table};
use crate::adapters::firewall::FirewallError;
use crate::adapters::netlink::Message;
use crate::adapters::netlink::attributes::{find, text};
use crate::model::address::Family;
use crate::model::grant::GrantId;
use crate::model::host_set::HostSet;

const COMMENT: &str = "postern grant ";

// Flags of a set, linux/netfilter/nf_tables.h
const ANONYMOUS: u32 = 0x01;
const CONSTANT: u32 = 0x02;
const INTERVAL: u32 = 0x04;
const MAP: u32 = 0x08;
const TIMEOUT: u32 = 0x10;
// Types of nft's library: an address, or address, protocol and port of six bits each
const ADDRESS: [(u32, Family); 2] = [(7, Family::V4), (8, Family::V6)];
const PROTOCOL_AND_PORT: u32 = 12 << 6 | 13;

/// What the elements of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Address(Family),
    AddressProtocolPort(Family),
}

/// A set that grants can be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) kind: KeyKind,
    /// Handles of table and set: a set that was loaded anew has others.
    pub(crate) identity: (u64, u64),
}

/// Why grants cannot be added to a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("set {0} does not exist; add it with \"flags timeout\"")]
    Absent(HostSet),
    #[error("set {0} has no \"flags timeout\"; add it, so that the kernel ends grants")]
    NoTimeout(HostSet),
    #[error("set {0} has \"flags interval\"; remove it: grants are single addresses")]
    Interval(HostSet),
    #[error("{0} is a map or a constant set; write a set with \"flags timeout\"")]
    NoSet(HostSet),
    #[error(
        "set {0} is of another type; write \"type ipv4_addr\" or \"type ipv4_addr . inet_proto . inet_service\", or ipv6_addr"
    )]
    Type(HostSet),
}

impl Unfit {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }
}

/// An element, by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetElement {
    pub(crate) set: HostSet,
    pub(crate) key: Vec<u8>,
}

/// An element that goes, or with a time in milliseconds stays for that long for a grant.
pub(crate) type SetChange = (SetElement, Option<(u64, GrantId)>);

/// Who added an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Postern,
    Other,
}

#[derive(Debug)]
pub(crate) struct HostSets(Kernel);

impl HostSets {
    /// In the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, FirewallError> {
        Kernel::open().map(Self)
    }

    pub(crate) fn generation(&mut self) -> Result<u32, FirewallError> {
        self.0
            .generation()
            .map_err(|error| errors::failed(&"asking for the ruleset", &error))
    }

    /// What the kernel has under this name.
    pub(crate) fn look_at(&mut self, set: &HostSet) -> Result<Result<Known, Unfit>, FirewallError> {
        let mut ask = |question: &Message| match self.0.ask(question) {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.is_all(Errno::NOENT) => Ok(None),
            Err(error) => Err(errors::failed(&format_args!("reading set {set}"), &error)),
        };
        let (Some(found), Some(table)) = (
            ask(&messages::get_host_set(set))?,
            ask(&messages::get_host_table(set))?,
        ) else {
            return Ok(Err(Unfit::Absent(set.clone())));
        };
        let table = replies::handle(&table, 4);
        Ok(kind(set, &found).map(|kind| Known {
            kind,
            identity: (table, replies::handle(&found, 16)),
        }))
    }

    /// The elements of a set, each with who added it. None if there is no such set.
    pub(crate) fn elements(
        &mut self,
        set: &HostSet,
    ) -> Result<Vec<(Vec<u8>, Owner)>, FirewallError> {
        let read = |message: &[u8]| Ok(replies::elements(message)?);
        match self.0.list(&messages::get_host_elements(set), read) {
            Ok(listed) => Ok(listed
                .into_iter()
                .map(|element| (element.key.clone(), owner(&element)))
                .collect()),
            Err(error) if error.is_all(Errno::NOENT) => Ok(Vec::new()),
            Err(error) => Err(errors::failed(&format_args!("reading set {set}"), &error)),
        }
    }

    /// Who added this element; `None` if it is not in the set.
    pub(crate) fn owner(&mut self, element: &SetElement) -> Result<Option<Owner>, FirewallError> {
        let question = messages::get_host_element(&element.set, &element.key);
        match self.0.ask(&question) {
            Ok(message) => {
                let found = replies::elements(&message).unwrap_or_default();
                Ok(found.first().map(owner))
            }
            Err(error) if error.is_all(Errno::NOENT) => Ok(None),
            Err(error) => Err(errors::failed(
                &format_args!("reading set {}", element.set),
                &error,
            )),
        }
    }

    /// Adds and deletes elements, all or none. The comment of an element has the grant's number.
    pub(crate) fn change(&mut self, changes: &[SetChange]) -> Result<(), FirewallError> {
        let messages = changes.iter().flat_map(|(element, wanted)| {
            // Kernels before 6.12 ignore a new timeout of an existing element, so it is deleted first.
            let mut steps = vec![ElementStep::Touch, ElementStep::Delete];
            steps.extend(wanted.map(|(millis, id)| ElementStep::Add {
                millis,
                comment: format!("{COMMENT}{id}"),
            }));
            steps
                .into_iter()
                .map(|step| messages::change_host_set(&element.set, &element.key, &step))
        });
        let sets = || {
            let mut names: Vec<String> =
                changes.iter().map(|(one, _)| one.set.to_string()).collect();
            names.dedup();
            names.join(", ")
        };
        self.0.transaction(messages).map_err(|error| {
            if error.is_all(Errno::NOENT) || error.is_all(Errno::EXIST) {
                let what = "somebody else changed it at the same time; knock again";
                return FirewallError::Kernel(format!("nftables: changing set {}: {what}", sets()));
            }
            errors::failed(&format_args!("changing set {}", sets()), &error)
        })
    }

    /// Postern's elements in every set of the host that can hold grants.
    pub(crate) fn all_own(&mut self) -> Result<Vec<SetElement>, FirewallError> {
        let read = |message: &[u8]| {
            let fits = |set: &HostSet| kind(set, message).is_ok();
            Ok(named(message).filter(fits).into_iter().collect())
        };
        let sets = self.0.list(&messages::get_all_sets(), read);
        let sets: Vec<HostSet> =
            sets.map_err(|error| errors::failed(&"listing the sets of the host", &error))?;
        let mut own = Vec::new();
        for set in sets {
            let elements = self.elements(&set)?.into_iter();
            let of_postern = elements.filter(|(_, owner)| *owner == Owner::Postern);
            own.extend(of_postern.map(|(key, _)| SetElement {
                set: set.clone(),
                key,
            }));
        }
        Ok(own)
    }
}

fn owner(element: &ListedElement) -> Owner {
    let is_comment = |data: &[u8]| {
        let [0, _, comment @ ..] = data else {
            return false;
        };
        let number = text(comment);
        let number = number.strip_prefix(COMMENT);
        number.is_some_and(|number| number.parse::<u64>().is_ok())
    };
    if is_comment(&element.userdata) {
        Owner::Postern
    } else {
        Owner::Other
    }
}

fn named(message: &[u8]) -> Option<HostSet> {
    let attributes = replies::attributes(message);
    let family = match message.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let name = |kind| find(attributes, kind).map(text);
    let set = HostSet {
        family,
        table: name(1)?,
        name: name(2)?,
    };
    (set.family != "inet" || set.table != table::TABLE).then_some(set)
}

fn kind(set: &HostSet, message: &[u8]) -> Result<KeyKind, Unfit> {
    let number = |kind| replies::number(message, kind).unwrap_or_default();
    let (flags, key) = (number(3), number(4));
    if flags & (ANONYMOUS | CONSTANT | MAP) != 0 {
        return Err(Unfit::NoSet(set.clone()));
    }
    let of_address = |shift: u32, rest: u32| {
        ADDRESS
            .into_iter()
            .find(|(number, _)| key == number << shift | rest)
            .map(|(_, family)| family)
    };
    let kind = of_address(0, 0)
        .map(KeyKind::Address)
        .or_else(|| of_address(12, PROTOCOL_AND_PORT).map(KeyKind::AddressProtocolPort))
        .ok_or_else(|| Unfit::Type(set.clone()))?;
    match flags {
        flags if flags & TIMEOUT == 0 => Err(Unfit::NoTimeout(set.clone())),
        flags if flags & INTERVAL != 0 => Err(Unfit::Interval(set.clone())),
        _ => Ok(kind),
    }
}
