//! A second gate, as plain as possible, for the one user below: what must become of a well-sealed body (specification, section 6,
//! steps 5 to 9).
//!
//! All addresses are numbers in IPv6 space here. The specification names one rule of a body that breaks several, but not one of
//! a request that the policy does not allow: there, any rule that refuses it will do.

use std::collections::BTreeSet;

use super::body::{Body, Item};

/// Milliseconds, both ways.
pub const WINDOW: u64 = 30_000;

/// What the user below may have.
pub const SERVICES: [&str; 4] = ["tcp/22-24", "tcp/25", "icmp", "web"];
pub const WEB: [&str; 2] = ["tcp/80", "udp/443"];
pub const NETWORKS: [&str; 3] = ["192.0.2.0/24", "0.0.0.0/8", "2000::/3"];
pub const TARGETS: [&str; 2] = ["10.0.0.0/30", "fd00::/126"];
pub const MAX_PREFIX: (u8, u8) = (28, 64);
pub const DURATION: u64 = 30;
pub const MAX_DURATION: u64 = 600;

/// The same in numbers: protocol, first and last port; network and prefix length.
const PORTS: [(u8, u16, u16); 3] = [(6, 22, 25), (6, 80, 80), (17, 443, 443)];
const LET_IN: [(u128, u8); 3] = [
    (MAPPED | 0xc000_0200, 120),
    (MAPPED, 104),
    (0x2000 << 112, 3),
];
const BEHIND: [(u128, u8); 2] = [(MAPPED | 0x0a00_0000, 126), (0xfd00 << 112, 126)];

const MAPPED: u128 = 0xffff_0000_0000;

/// What a gate must say.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With this reason.
    Drop(&'static str),
    /// With one of these rules.
    Refuse(BTreeSet<&'static str>),
    Open {
        allow: u128,
        prefix: u8,
        target: u128,
        seconds: u64,
    },
    Close {
        allow: u128,
        prefix: u8,
        target: u128,
    },
}

/// `hint_step` is the step whose hint the packet bears; both times are in milliseconds.
pub fn judge(now: u64, hint_step: u64, source: u128, body: &Body) -> Verdict {
    if hint_step != body.timestamp_ms / 64_000 {
        return Verdict::Drop("step-mismatch");
    }
    if u128::from(body.timestamp_ms) + u128::from(WINDOW) < u128::from(now) {
        return Verdict::Drop("too-old");
    }
    if body.timestamp_ms > now + WINDOW {
        return Verdict::Drop("too-new");
    }
    let claimed = u128::from_be_bytes(body.allow);
    let allow = cut(if claimed == 0 { source } else { claimed }, body.prefix);
    let target = u128::from_be_bytes(body.target);
    // A network of IPv4 can't be wider than IPv4.
    if claimed == 0 && is_v4(source) && body.prefix < 96 {
        return Verdict::Refuse(BTreeSet::from(["max_prefix"]));
    }
    if body.action == 2 {
        return Verdict::Close {
            allow,
            prefix: body.prefix,
            target,
        };
    }
    let broken = broken(allow, body.prefix, target, &body.items);
    if !broken.is_empty() {
        return Verdict::Refuse(broken);
    }
    let seconds = if body.duration_s == 0 {
        DURATION
    } else {
        u64::from(body.duration_s).min(MAX_DURATION)
    };
    Verdict::Open {
        allow,
        prefix: body.prefix,
        target,
        seconds,
    }
}

/// Every rule of the policy that this breaks.
pub fn broken(allow: u128, prefix: u8, target: u128, items: &[Item]) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    let v4 = is_v4(allow) && prefix >= 96;
    if prefix < if v4 { 96 + MAX_PREFIX.0 } else { MAX_PREFIX.1 } {
        broken.insert("max_prefix");
    }
    // One address that can be nobody's, or a network that is not wholly within one that may be let in.
    if prefix == 128 && is_nobody(allow) || !within(allow, prefix, &LET_IN) {
        broken.insert("networks");
    }
    if target != 0 && !within(target, 128, &BEHIND) {
        broken.insert("targets");
    }
    if target != 0 && is_v4(target) != v4 {
        broken.insert("family");
    }
    for item in items {
        match (item.kind, item.value.as_slice()) {
            (1, [protocol, a, b, c, d])
                if !open(
                    *protocol,
                    u16::from_be_bytes([*a, *b]),
                    u16::from_be_bytes([*c, *d]),
                ) =>
            {
                broken.insert("services");
            }
            (2, name) if name != b"web" => {
                broken.insert("unknown-service");
            }
            _ => {}
        }
    }
    broken
}

fn open(protocol: u8, first: u16, last: u16) -> bool {
    let each_port = || {
        (first..=last).all(|port| {
            PORTS
                .iter()
                .any(|open| open.0 == protocol && (open.1..=open.2).contains(&port))
        })
    };
    protocol == 1 || (first > 0 && last - first < 100 && each_port())
}

fn within(address: u128, prefix: u8, networks: &[(u128, u8)]) -> bool {
    // ::/0 and the like hold the IPv4-mapped addresses only in numbers.
    networks.iter().any(|(network, length)| {
        *length <= prefix && cut(address, *length) == *network && is_v4(*network) == is_v4(address)
    })
}

fn cut(address: u128, prefix: u8) -> u128 {
    if prefix == 0 {
        0
    } else {
        address >> (128 - prefix) << (128 - prefix)
    }
}

fn is_v4(address: u128) -> bool {
    address >> 32 == 0xffff
}

fn is_nobody(address: u128) -> bool {
    let v4 = address as u32;
    if is_v4(address) {
        v4 == 0 || v4 == u32::MAX || v4 >> 28 == 0xe
    } else {
        address == 0 || address >> 120 == 0xff
    }
}
