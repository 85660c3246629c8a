//! A knock that a user could have made, then changed under the seal: the gate against a second one that is written from the
//! specification alone (section 6, steps 1 to 9).
//!
//! The input is a request in typed values, changes to its body's bytes, and how it arrives. What comes out must be the same at both
//! gates, the same again at once as a duplicate, and as a replay two seconds later.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use ipnet::IpNet;
use postern::core::gate::{ApprovedRequest, Decision, Gate, HintTable, User};
use postern::model::catalog::{Catalog, NamedService};
use postern::model::datagram::Datagram;
use postern::model::mark::StoredMarks;
use postern::model::policy::{MaxPrefix, Policy, Quota};
use postern::model::reason::Drop;
use postern::model::time::Timestamp;
use postern_proto::Step;

use crate::body;
use crate::packet;
use crate::second::body as second;
pub use crate::second::gate as other;
pub use other::Verdict;
use second::Item;

/// In the middle of a step.
const NOW: u64 = 27_500_000 * 64_000 + 32_000;

/// How a knock is made, changed and sent.
#[derive(Debug, Arbitrary)]
struct Knock {
    nonce: [u8; 12],
    source: Address,
    /// Which step's hint it bears, away from its timestamp's.
    hint_off: Option<i8>,
    /// Its clock against the gate's, in milliseconds.
    ahead: i16,
    beyond: bool,
    close: bool,
    allow: Option<Address>,
    prefix: u8,
    duration_s: u32,
    target: Option<Address>,
    items: Vec<Ask>,
    length: u16,
    changes: Vec<Change>,
}

/// Addresses that some rule is about, and any other.
#[derive(Debug, Arbitrary)]
enum Address {
    V4(u8),
    Behind(u8),
    V6(u8),
    BehindV6(u8),
    Nobody(u8),
    Any(u128),
}

#[derive(Debug, Arbitrary)]
enum Ask {
    Tcp { first: u8, more: u8 },
    Udp { port: u8, far: bool },
    Icmp,
    Web,
    Name(u8),
    Code(u32),
    Skipped { kind: u8, value: u8 },
    Odd { kind: u8, length: u8 },
}

/// One change of a body's bytes.
#[derive(Debug, Arbitrary)]
enum Change {
    Set { at: u16, byte: u8 },
    Flip { at: u16, bit: u8 },
    Insert { at: u16, byte: u8 },
    Remove { at: u16 },
    Cut { length: u16 },
    Copy { from: u16, to: u16, length: u8 },
}

pub fn run(data: &[u8]) {
    read(data);
}

/// What it came to, if it was a knock at all.
pub fn read(data: &[u8]) -> Option<Verdict> {
    Knock::arbitrary_take_rest(Unstructured::new(data))
        .ok()
        .map(|knock| knock.arrives())
}

impl Knock {
    fn arrives(&self) -> Verdict {
        let body = self.body();
        let hint_step = step_of(&body).saturating_add_signed(self.hint_off.unwrap_or(0).into());
        let packet = packet::seal_under(packet::hint(Step(hint_step)).0, self.nonce, &body);
        let source = self.source.number();
        let wanted = verdict(hint_step, source, &body);
        let datagram = Datagram::new(
            IpAddr::V6(Ipv6Addr::from(source)),
            IpAddr::from([198, 51, 100, 1]),
            62201,
            &packet,
        );
        GATE.with_borrow_mut(|gate| {
            gate.recall(StoredMarks::default());
            let decision = gate.handle(Timestamp::from_millis(NOW), &datagram);
            compare(&decision, &wanted);
            let seen = !matches!(decision, Decision::Drop(_));
            for (later, reason) in [(1000, Drop::Duplicate), (1001, Drop::Replay)] {
                let again = gate.handle(Timestamp::from_millis(NOW + later), &datagram);
                let late = body::both(&body).is_some_and(|request| {
                    request.timestamp_ms.saturating_add(other::WINDOW) < NOW + later
                });
                match again {
                    Decision::Drop(given) if seen => {
                        assert_eq!(given, if late { Drop::TooOld } else { reason })
                    }
                    Decision::Drop(_) => {}
                    // Only what was too new may still come in time.
                    again => assert_eq!(wanted, Verdict::Drop("too-new"), "{again:?}"),
                }
            }
        });
        wanted
    }

    fn body(&self) -> Vec<u8> {
        let far = if self.beyond { 64_000 } else { 0 };
        let allow = self.allow.as_ref().map_or(0, Address::number);
        let prefix = self.prefix % 130;
        let plain = second::Body {
            action: if self.close { 2 } else { 1 },
            prefix,
            timestamp_ms: NOW.saturating_add_signed(i64::from(self.ahead)) + far,
            duration_s: self.duration_s,
            // Mostly a real network: what has bits beyond its prefix is malformed and would get no further.
            allow: (if prefix.is_multiple_of(5) {
                allow
            } else {
                allow & !u128::MAX.checked_shr(prefix.into()).unwrap_or(0)
            })
            .to_be_bytes(),
            target: self
                .target
                .as_ref()
                .map_or(0, Address::number)
                .to_be_bytes(),
            items: self.items.iter().take(20).map(Ask::item).collect(),
        };
        let mut body = second::encode(&plain, 64 + usize::from(self.length) % 385);
        self.changes
            .iter()
            .take(4)
            .for_each(|change| change.make(&mut body));
        body
    }
}

/// What must become of it.
fn verdict(hint_step: u64, source: u128, body: &[u8]) -> Verdict {
    if !(64..=448).contains(&body.len()) {
        return Verdict::Drop("length");
    }
    // What the window touches, and the step after that.
    if !((NOW - other::WINDOW) / 64_000..=(NOW + other::WINDOW) / 64_000 + 1).contains(&hint_step) {
        return Verdict::Drop("unknown-hint");
    }
    match second::decode(body) {
        Ok(plain) => other::judge(NOW, hint_step, source, &plain),
        Err(broken) => Verdict::Drop(broken[0]),
    }
}

fn compare(decision: &Decision, wanted: &Verdict) {
    let same = match (decision, wanted) {
        (Decision::Drop(reason), Verdict::Drop(name)) => {
            reason.rule().unwrap_or(reason.name()) == *name
        }
        (Decision::Refuse(refusal), Verdict::Refuse(rules)) => rules.contains(refusal.rule.name()),
        (
            Decision::Admit(admission),
            Verdict::Open {
                allow,
                prefix,
                target,
                seconds,
            },
        ) => match &admission.request {
            ApprovedRequest::Open(request) => {
                network(request.allow) == (*allow, *prefix)
                    && request.target.map_or(0, number) == *target
                    && request.duration == Duration::from_secs(*seconds)
            }
            ApprovedRequest::Close(_) => false,
        },
        (
            Decision::Admit(admission),
            Verdict::Close {
                allow,
                prefix,
                target,
            },
        ) => match &admission.request {
            ApprovedRequest::Close(request) => {
                network(request.allow) == (*allow, *prefix)
                    && request.target.map_or(0, number) == *target
            }
            ApprovedRequest::Open(_) => false,
        },
        _ => false,
    };
    assert!(same, "{decision:?}, {wanted:?}");
}

pub fn network(network: IpNet) -> (u128, u8) {
    let shorter = if network.addr().is_ipv4() { 96 } else { 0 };
    (number(network.addr()), network.prefix_len() + shorter)
}

pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn step_of(body: &[u8]) -> u64 {
    body.get(4..12).map_or(0, |bytes| {
        u64::from_be_bytes(bytes.try_into().expect("eight bytes")) / 64_000
    })
}

impl Address {
    fn number(&self) -> u128 {
        const MAPPED: u128 = 0xffff_0000_0000;
        match *self {
            Self::V4(last) => MAPPED | 0xc000_0200 | u128::from(last),
            Self::Behind(last) => MAPPED | 0x0a00_0000 | u128::from(last % 8),
            Self::V6(last) => 0x2001_0db8 << 96 | u128::from(last),
            Self::BehindV6(last) => 0xfd00 << 112 | u128::from(last % 8),
            Self::Nobody(0) => MAPPED,
            Self::Nobody(1) => MAPPED | 0xffff_ffff,
            Self::Nobody(last) if last < 128 => MAPPED | 0xe000_0000 | u128::from(last),
            Self::Nobody(last) => 0xff02 << 112 | u128::from(last),
            Self::Any(number) => number,
        }
    }
}

impl Ask {
    fn item(&self) -> Item {
        let service = |protocol: u8, first: u16, last: u16| {
            let ([a, b], [c, d]) = (first.to_be_bytes(), last.to_be_bytes());
            Item {
                kind: 1,
                value: vec![protocol, a, b, c, d],
            }
        };
        match *self {
            Self::Tcp { first, more } => {
                service(6, first.into(), u16::from(first) + u16::from(more % 4))
            }
            Self::Udp { port, far } => service(
                17,
                u16::from(port) + if far { 256 } else { 0 },
                u16::from(port) + 256,
            ),
            Self::Icmp => service(1, 0, 0),
            Self::Web => Item {
                kind: 2,
                value: b"web".to_vec(),
            },
            Self::Name(length) => Item {
                kind: 2,
                value: vec![b'w'; usize::from(length % 40)],
            },
            Self::Code(digits) => Item {
                kind: 3,
                value: format!("{digits:06}").into_bytes(),
            },
            Self::Skipped { kind, value } => Item {
                kind: kind | 0x80,
                value: vec![value; usize::from(value % 3)],
            },
            Self::Odd { kind, length } => Item {
                kind,
                value: vec![kind; usize::from(length)],
            },
        }
    }
}

impl Change {
    fn make(&self, body: &mut Vec<u8>) {
        let room = body.len().max(1);
        let within = |at: u16| usize::from(at) % room;
        match *self {
            Self::Set { at, byte } => body
                .iter_mut()
                .skip(within(at))
                .take(1)
                .for_each(|one| *one = byte),
            Self::Flip { at, bit } => body
                .iter_mut()
                .skip(within(at))
                .take(1)
                .for_each(|one| *one ^= 1 << (bit % 8)),
            Self::Insert { at, byte } => body.insert(within(at).min(body.len()), byte),
            Self::Remove { at } => _ = (!body.is_empty()).then(|| body.remove(within(at))),
            Self::Cut { length } => body.resize(usize::from(length) % 460, 0),
            Self::Copy { from, to, length } => {
                let taken: Vec<u8> = body
                    .iter()
                    .skip(within(from))
                    .take(length.into())
                    .copied()
                    .collect();
                body.iter_mut()
                    .skip(within(to))
                    .zip(taken)
                    .for_each(|(one, byte)| *one = byte);
            }
        }
    }
}

thread_local! {
    static GATE: RefCell<Gate> = RefCell::new(gate());
}

/// One user, whose policy the second gate knows in numbers, and no quota that could be reached.
fn gate() -> Gate {
    let parsed = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| text.parse().expect("a network"))
            .collect()
    };
    let services = other::SERVICES.iter();
    let services = services.map(|text| text.parse().expect("a service"));
    let policy = Policy::for_user("alice", services.collect()).with(|rules| {
        rules.networks = parsed(&other::NETWORKS);
        rules.targets = parsed(&other::TARGETS);
        rules.max_prefix = MaxPrefix {
            v4: other::MAX_PREFIX.0,
            v6: other::MAX_PREFIX.1,
        };
        rules.duration = Duration::from_secs(other::DURATION);
        rules.max_duration = Duration::from_secs(other::MAX_DURATION);
        // More than a fuzzer sends, though time does not pass.
        rules.quota = Quota {
            count: NonZeroU32::MAX,
            per: Duration::from_secs(u32::MAX.into()),
        };
    });
    let ports = other::WEB.iter().map(|text| text.parse().expect("ports"));
    let web = NamedService {
        ports: ports.collect(),
        ..NamedService::default()
    };
    let catalog = Catalog::from([("web".to_owned(), web)]);
    let mut gate = Gate::new(
        vec![User {
            keys: packet::root(),
            policy,
        }],
        Vec::new(),
        catalog,
        Duration::from_millis(other::WINDOW),
        StoredMarks::default(),
    );
    let steps = gate
        .table_wanted(Timestamp::from_millis(NOW))
        .expect("no table yet");
    let table = HintTable::build(&gate.hint_keys(), steps);
    gate.install(table);
    gate
}
