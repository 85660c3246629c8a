//! The request inside a knock (README.md section 5), and the rules that decoder and encoder share.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::hint::Step;
use crate::item::{Code, Item};
use crate::limits::{MAX_CODES, MAX_SERVICES, PREFIX_MAX};
use crate::malformed::Malformed;

/// What a knock asks for: to let an address reach services for some time, or to end that.
///
/// All addresses are in IPv6 space: an IPv4 one is written IPv4-mapped, `::ffff:a.b.c.d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Open or close.
    pub action: Action,
    /// The allow address.
    pub allow: Allow,
    /// When the knock was made, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// Seconds to stay open; 0 for the gate's default.
    pub duration_s: u32,
    /// The host to reach; `None` for the gate itself. Never the all-zero address.
    pub target: Option<Ipv6Addr>,
    /// Services and a code, in the client's order.
    pub items: Vec<Item>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Open the services.
    Open,
    /// Close them early.
    Close,
}

/// The address to let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allow {
    /// The address that the knock came from, widened to the prefix.
    Source {
        /// 0 to 128, in IPv6 space: 128 is just that address, an IPv4 /24 is 120.
        prefix: u8,
    },
    /// A network, or with prefix 128 an address.
    Network {
        /// Without bits beyond the prefix. Never all zero, which means the source.
        address: Ipv6Addr,
        /// 0 to 128, in IPv6 space.
        prefix: u8,
    },
}

impl Request {
    /// The step of its timestamp, which must be the hint's (section 6, step 6).
    #[must_use]
    pub fn step(&self) -> Step {
        Step::of(self.timestamp_ms)
    }

    /// The code, if there is one.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        self.items.iter().find_map(|item| match item {
            Item::Code(code) => Some(code),
            _ => None,
        })
    }
}

impl Allow {
    pub(crate) fn check_prefix(prefix: u8) -> Result<(), Malformed> {
        if prefix > PREFIX_MAX {
            Err(Malformed::AllowPrefix)
        } else {
            Ok(())
        }
    }

    pub(crate) fn check_bits(address: Ipv6Addr, prefix: u8) -> Result<(), Malformed> {
        let beyond = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        if address.to_bits() & beyond != 0 {
            Err(Malformed::HostBits)
        } else {
            Ok(())
        }
    }
}

/// Checks that an item may follow those before it: no duplicate, not too many of a kind.
pub(crate) fn check_next(before: &[Item], item: &Item) -> Result<(), Malformed> {
    if before.contains(item) {
        return Err(Malformed::DuplicateItem);
    }
    match item {
        Item::Service(_) | Item::Name(_) if count(before, is_service) >= MAX_SERVICES => {
            Err(Malformed::TooManyServices)
        }
        Item::Code(_) if count(before, |item| matches!(item, Item::Code(_))) >= MAX_CODES => {
            Err(Malformed::TooManyCodes)
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_complete(action: Action, items: &[Item]) -> Result<(), Malformed> {
    match action {
        Action::Open if !items.iter().any(is_service) => Err(Malformed::NoService),
        Action::Open | Action::Close => Ok(()),
    }
}

fn is_service(item: &Item) -> bool {
    matches!(item, Item::Service(_) | Item::Name(_))
}

fn count(items: &[Item], of: impl Fn(&Item) -> bool) -> usize {
    items.iter().filter(|item| of(item)).count()
}
