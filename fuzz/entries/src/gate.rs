//! The whole gate as a state machine: users who knock, strangers who change, repeat and forge packets, and clocks that are set.
//!
//! The input is a list of moves of four bytes each. The machine
//! keeps its own record of who may be admitted, and checks the gate after every move.

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use postern::core::gate::{Admission, ApprovedRequest, Decision, Gate, HintTable, OldKeys, User};
use postern::model::catalog::Catalog;
use postern::model::datagram::Datagram;
use postern::model::mark::{MarkRecord, StoredMarks, StoredTimes};
use postern::model::policy::{Policy, Quota};
use postern::model::reason::Reason;
use postern::model::time::Timestamp;
use postern_proto::{
    Action, Allow, GateName, Item, KeyMaterial, Mark, Protocol, Request, RootKey, Service,
    SharedKey, UserKeys, seal,
};

const USERS: u8 = 3;
const WINDOW: Duration = Duration::from_secs(30);
const QUOTA: u32 = 8;
const START: u64 = 27_500_000 * 64_000;
/// When the key that a user had before ends.
const OLD_UNTIL: u64 = START + 100_000;
/// Packets that strangers can still send again.
const RECORDED_MAX: usize = 64;

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub enum Move {
    /// A user, or the first one with the rotated-out key, knocks with a clock that is this many seconds ahead. An odd `what` asks for a
    /// service that the user may not open.
    Knock { user: u8, ahead: i8, what: u8 },
    /// A packet that was sent before comes again, from elsewhere.
    Replay { which: u8, source: u8 },
    /// It comes with one bit changed.
    Change { which: u8, at: u16 },
    /// A stranger sends bytes of his own.
    Junk { length: u16, byte: u8 },
    /// Time passes, in units of 100 ms.
    Pass { tenths: u16 },
    /// Somebody sets the clock, by this many seconds.
    Set { seconds: i16 },
    /// The engine starts again from what is on the disk.
    Restart,
}

pub fn run(data: &[u8]) {
    let moves = data.as_chunks::<4>().0.iter().take(400);
    play(moves.map(|bytes| read(*bytes)));
}

pub fn read([kind, a, b, c]: [u8; 4]) -> Move {
    let wide = u16::from_be_bytes([b, c]);
    match kind % 7 {
        0 => Move::Knock {
            user: a,
            ahead: b.cast_signed(),
            what: c,
        },
        1 => Move::Replay {
            which: a,
            source: b,
        },
        2 => Move::Change { which: a, at: wide },
        3 => Move::Junk {
            length: wide,
            byte: a,
        },
        4 => Move::Pass {
            tenths: u16::from(a) * 4,
        },
        5 => Move::Set {
            seconds: wide.cast_signed(),
        },
        _ => Move::Restart,
    }
}

/// Carries out the moves; returns how many knocks were admitted.
pub fn play(moves: impl IntoIterator<Item = Move>) -> usize {
    let mut machine = Machine::new();
    for one in moves {
        machine.play(one);
    }
    machine.admitted.len()
}

struct Machine {
    gate: Gate,
    now: Timestamp,
    /// Greatest time at which somebody was admitted.
    latest: Timestamp,
    /// What an honest store would hold.
    disk: StoredMarks,
    recorded: Vec<Sent>,
    admitted: HashSet<Mark>,
    nonces: u64,
}

/// A packet of a user.
#[derive(Clone)]
struct Sent {
    bytes: Vec<u8>,
    made: u64,
    may: bool,
    /// With the rotated-out key.
    old: bool,
}

/// Those of the users, then the one that the first of them had before.
static KEYS: LazyLock<Vec<UserKeys>> = LazyLock::new(|| {
    let keys = (0..=USERS).map(|user| derived(user).keys());
    keys.collect()
});

fn derived(user: u8) -> RootKey {
    RootKey::extract(
        &GateName::new("gate.example.org").expect("a name"),
        &KeyMaterial::shared(&SharedKey::from_bytes([user + 1; 32])),
    )
}

fn gate(kept: StoredMarks) -> Gate {
    let quota = Quota {
        count: NonZeroU32::new(QUOTA).expect("some"),
        per: Duration::from_secs(1),
    };
    let services = || vec!["tcp/22".parse().expect("a service")];
    let policy = |user: u8| {
        let policy = Policy::for_user(&format!("user-{user}"), services());
        policy.with(|rules| rules.quota = quota)
    };
    let users = (0..USERS)
        .map(|user| User {
            keys: derived(user),
            policy: policy(user),
        })
        .collect();
    let old = OldKeys {
        user: 0,
        keys: derived(USERS),
        until: Timestamp::from_millis(OLD_UNTIL),
    };
    Gate::new(users, vec![old], Catalog::new(), WINDOW, kept)
}

impl Machine {
    fn new() -> Self {
        Self {
            gate: gate(StoredMarks::default()),
            now: Timestamp::from_millis(START),
            latest: Timestamp::default(),
            disk: StoredMarks::default(),
            recorded: Vec::new(),
            admitted: HashSet::new(),
            nonces: 0,
        }
    }

    fn play(&mut self, one: Move) {
        match one {
            Move::Knock { user, ahead, what } => {
                let sent = self.sealed(user % (USERS + 1), ahead, what);
                if self.recorded.len() < RECORDED_MAX {
                    self.recorded.push(sent.clone());
                }
                self.arrive(&sent.bytes.clone(), 1, Some(&sent));
            }
            Move::Replay { which, source } => {
                if let Some(sent) = self.pick(which) {
                    self.arrive(&sent.bytes.clone(), source, Some(&sent));
                }
            }
            Move::Change { which, at } => {
                if let Some(Sent { mut bytes, .. }) = self.pick(which) {
                    let at = usize::from(at) % (bytes.len() * 8);
                    bytes[at / 8] ^= 1 << (at % 8);
                    self.arrive(&bytes, 9, None);
                }
            }
            Move::Junk { length, byte } => {
                self.arrive(&vec![byte; usize::from(length) % 700], byte, None)
            }
            Move::Pass { tenths } => {
                self.now = self
                    .now
                    .plus(Duration::from_millis(u64::from(tenths) * 100))
            }
            Move::Set { seconds } => {
                let far = Duration::from_secs(u64::from(seconds.unsigned_abs()));
                self.now = if seconds < 0 {
                    self.now.minus(far)
                } else {
                    self.now.plus(far)
                };
            }
            Move::Restart => self.gate = gate(self.disk.clone()),
        }
    }

    fn pick(&self, which: u8) -> Option<Sent> {
        self.recorded
            .get(usize::from(which) % self.recorded.len().max(1))
            .cloned()
    }

    fn sealed(&mut self, user: u8, ahead: i8, what: u8) -> Sent {
        let shift = Duration::from_secs(u64::from(ahead.unsigned_abs()));
        let made = if ahead < 0 {
            self.now.minus(shift)
        } else {
            self.now.plus(shift)
        }
        .as_millis();
        let may = what.is_multiple_of(2);
        let port = if may { 22 } else { 23 };
        let request = Request {
            action: Action::Open,
            allow: Allow::Source { prefix: 128 },
            timestamp_ms: made,
            duration_s: u32::from(what),
            target: None,
            items: vec![Item::Service(
                Service::new(Protocol::Tcp, port, port).expect("a port"),
            )],
        };
        self.nonces += 1;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.nonces.to_be_bytes());
        let bytes = seal(
            &KEYS[usize::from(user)],
            &request,
            nonce,
            64 + usize::from(what),
        )
        .expect("a knock")
        .as_bytes()
        .to_vec();
        Sent {
            bytes,
            made,
            may,
            old: user == USERS,
        }
    }

    /// `sent`: the very packet that a user made; without it nobody may be admitted.
    fn arrive(&mut self, bytes: &[u8], source: u8, sent: Option<&Sent>) {
        if let Some(steps) = self.gate.table_wanted(self.now) {
            let table = HintTable::build(&self.gate.hint_keys(), steps);
            self.gate.install(table);
        }
        assert_eq!(
            self.gate.table_wanted(self.now),
            None,
            "one table is enough"
        );
        let (marks, counted) = (self.gate.marks(), self.counted());
        let datagram = Datagram::new(
            IpAddr::from([192, 0, 2, source]),
            IpAddr::from([198, 51, 100, 1]),
            62201,
            bytes,
        );
        let decision = self.gate.handle(self.now, &datagram);
        assert_eq!(
            self.counted(),
            counted + 1,
            "every datagram is counted once"
        );
        match decision {
            Decision::Admit(admission) => self.admits(
                &admission,
                sent.expect("only the packet that a user made is admitted"),
            ),
            Decision::Refuse(refusal) => {
                assert!(
                    sent.is_some(),
                    "a stranger is dropped, not refused: {refusal:?}"
                );
                assert_eq!(self.gate.marks(), marks);
            }
            Decision::Drop(reason) => {
                assert_eq!(self.gate.marks(), marks, "{reason:?} left a mark")
            }
        }
        self.bounded();
    }

    fn admits(&mut self, admission: &Admission, sent: &Sent) {
        let Admission {
            record:
                MarkRecord {
                    mark,
                    timestamp,
                    admitted,
                },
            times,
            code: None,
            for_good: false,
            break_glass: false,
            request,
        } = admission
        else {
            panic!("no user has codes or sequences, or needs no claim")
        };
        assert!(sent.may, "what the policy does not allow is not admitted");
        assert!(self.admitted.insert(*mark), "one mark, one admission");
        assert_eq!(
            (&mark.0[..], timestamp.as_millis()),
            (&sent.bytes[20..36], sent.made)
        );
        // The gate's clock is the greatest time that was ever recorded, if that is later than the system's.
        assert_eq!(*admitted, self.now.max(self.latest));
        assert!(
            !sent.old || admitted.as_millis() < OLD_UNTIL,
            "a rotated-out key counts no longer than it may"
        );
        assert!(admitted.since(*timestamp) <= WINDOW && timestamp.since(*admitted) <= WINDOW);
        self.latest = *admitted;
        assert!(
            times.floor == *admitted
                && times.horizon >= self.disk.times.horizon
                && times.horizon <= *timestamp
        );
        let ApprovedRequest::Open(request) = request else {
            panic!("nobody asked to close")
        };
        assert!(
            !sent.old || request.user == "user-0",
            "a rotated-out key is its user's"
        );
        assert!(!request.duration.is_zero() && request.allow.prefix_len() == 32);
        self.keep(admission.record, *times);
    }

    fn keep(&mut self, record: MarkRecord, times: StoredTimes) {
        self.disk.marks.push(record);
        self.disk
            .marks
            .retain(|kept| kept.timestamp >= times.horizon);
        self.disk.times = times;
    }

    /// Memory: every mark that the gate holds is one that the store must hold too, and the quota bounds those.
    fn bounded(&self) {
        assert_eq!(self.gate.marks(), self.disk.marks.len());
        let most = usize::from(USERS) * (QUOTA as usize) * 62;
        assert!(self.gate.marks() <= most, "{} marks", self.gate.marks());
    }

    fn counted(&self) -> u64 {
        let counters = self.gate.counters();
        counters.admitted + Reason::all().map(|reason| counters.of(reason)).sum::<u64>()
    }
}
