//! Time per datagram in the gate (`Gate::handle`), with one user and with 100,000, in one run.
//!
//! Junk should take about the same time in both. Small batches of both gates alternate, so that other load meets
//! both, and medians are compared. A batch is made before its measurement. Each case first runs until all users have
//! knocked, so that only the gates decide what is in the processor's caches.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::hint::black_box;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use postern::adapters::clock;
use postern::core::gate::{Gate, HintTable, User};
use postern::model::catalog::Catalog;
use postern::model::datagram::Datagram;
use postern::model::mark::StoredMarks;
use postern::model::policy::{Policy, Quota};
use postern::model::reason::{Drop, Reason};
use postern::model::time::Timestamp;
use postern_proto::limits::{HEAD_LEN, PACKET_MAX, PACKET_MIN, TAG_LEN};
use postern_proto::{
    Action, Allow, GateName, Hint, Item, KeyMaterial, Protocol, Request, RootKey, Service,
    SharedKey, Step, seal,
};

const MANY: u32 = 100_000;
const BATCH: usize = 256;
/// So many that each user has knocked a few times before the first measured batch.
const WARM_UP: usize = 800;
const ROUNDS: usize = 800;
/// The virtual time between rounds. Marks of early rounds expire in later ones.
const TICK: Duration = Duration::from_millis(30);
/// Just after a step's boundary, so that the whole run needs one table.
const START: Timestamp = Timestamp::from_millis(27_500_000 * 64_000 + 1_000);
const WINDOW: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Valid,
    WrongMac,
    Junk,
    WrongLength,
}

const CASES: [(Case, &str, Option<Drop>); 4] = [
    (Case::WrongLength, "wrong length", Some(Drop::Length)),
    (
        Case::Junk,
        "random bytes of a valid length",
        Some(Drop::UnknownHint),
    ),
    (Case::WrongMac, "right hint, wrong mac", Some(Drop::BadMac)),
    (Case::Valid, "valid knock of a random user", None),
];

struct Candidate {
    gate: Gate,
    users: u32,
    hints: Vec<Hint>,
    batch: Vec<Datagram>,
    nanos: [Vec<f64>; CASES.len()],
}

fn main() {
    // `cargo test --benches` only checks that it runs.
    let (warm_up, rounds) = if std::env::args().any(|argument| argument == "--bench") {
        (WARM_UP, ROUNDS)
    } else {
        (1, 2)
    };
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut sides = [Candidate::new(1), Candidate::new(MANY)];
    for (case, _) in CASES.iter().enumerate() {
        let mut now = START;
        for round in 0..warm_up + rounds {
            now = now.plus(TICK);
            // The first one finds the caches as the other left them, so they alternate.
            for turn in 0..2 {
                sides[(round + turn) % 2].measure(case, now, &mut dice);
            }
        }
    }
    for side in &mut sides {
        side.check((warm_up + rounds) * BATCH);
        side.nanos
            .iter_mut()
            .for_each(|nanos| _ = nanos.drain(..warm_up));
    }
    tell(&sides);
}

impl Candidate {
    fn new(users: u32) -> Self {
        let everyone = (0..users)
            .map(|n| User {
                keys: keys(n),
                policy: policy(n),
            })
            .collect();
        let mut gate = Gate::new(
            everyone,
            Vec::new(),
            Catalog::new(),
            WINDOW,
            StoredMarks::default(),
        );
        let hint_keys = gate.hint_keys();
        let table = HintTable::build(&hint_keys, gate.table_wanted(START).unwrap());
        gate.install(table);
        let hints = hint_keys
            .iter()
            .map(|key| key.hint(Step::of(START.as_millis())))
            .collect();
        Self {
            gate,
            users,
            hints,
            batch: Vec::with_capacity(BATCH),
            nanos: Default::default(),
        }
    }

    fn measure(&mut self, case: usize, now: Timestamp, dice: &mut Dice) {
        self.batch.clear();
        for _ in 0..BATCH {
            let datagram = self.datagram(CASES[case].0, now, dice);
            self.batch.push(datagram);
        }
        let start = clock::instant();
        for datagram in &self.batch {
            let _ = black_box(self.gate.handle(now, black_box(datagram)));
        }
        let took = clock::elapsed(start);
        self.nanos[case].push(took.as_secs_f64() * 1e9 / BATCH as f64);
    }

    /// Every datagram was judged as its case says.
    fn check(&self, each: usize) {
        for (case, name, reason) in CASES {
            let counters = self.gate.counters();
            let counted = reason.map_or(counters.admitted, |reason| {
                counters.of(Reason::Drop(reason))
            });
            assert_eq!(counted, each as u64, "{case:?}: {name}");
        }
    }

    fn datagram(&self, case: Case, now: Timestamp, dice: &mut Dice) -> Datagram {
        let source = IpAddr::from([192, 0, 2, dice.below(250) as u8 + 1]);
        let valid_length = PACKET_MIN + dice.below(PACKET_MAX - PACKET_MIN + 1);
        let user = dice.below(self.users as usize);
        let bytes = match case {
            Case::Valid => knock(user as u32, now, valid_length, dice),
            Case::WrongMac => [&self.hints[user].0[..], &dice.bytes(valid_length - 8)].concat(),
            Case::Junk => dice.bytes(valid_length),
            Case::WrongLength => dice.bytes(valid_length % PACKET_MIN),
        };
        Datagram::new(source, IpAddr::from([198, 51, 100, 1]), 62201, &bytes)
    }
}

fn keys(user: u32) -> RootKey {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&user.to_be_bytes());
    RootKey::extract(
        &GateName::new("gate.example.org").unwrap(),
        &KeyMaterial::shared(&SharedKey::from_bytes(key)),
    )
}

/// As the config makes it for a user with two services, but with room for every knock of the run.
fn policy(user: u32) -> Policy {
    let services = vec!["tcp/22".parse().unwrap(), "udp/51820".parse().unwrap()];
    let quota = Quota {
        count: NonZeroU32::new(1_000_000).unwrap(),
        per: Duration::from_secs(1),
    };
    Policy::for_user(&format!("user-{user}"), services).with(|rules| rules.quota = quota)
}

fn knock(user: u32, now: Timestamp, length: usize, dice: &mut Dice) -> Vec<u8> {
    let request = Request {
        action: Action::Open,
        allow: Allow::Source { prefix: 128 },
        timestamp_ms: now.as_millis() - dice.below(1_000) as u64,
        duration_s: 0,
        target: None,
        items: vec![Item::Service(Service::new(Protocol::Tcp, 22, 22).unwrap())],
    };
    let nonce = dice.bytes(12).try_into().unwrap();
    seal(
        &keys(user).keys(),
        &request,
        nonce,
        length - HEAD_LEN - TAG_LEN,
    )
    .unwrap()
    .as_bytes()
    .to_vec()
}

fn tell(sides: &[Candidate; 2]) {
    let measured = sides[0].nanos[0].len();
    println!(
        "time per datagram in the gate: medians of {measured} batches of {BATCH}, in brackets the quartiles; window 30 s"
    );
    println!(
        "{:<36} {:>26} {:>26}   ratio",
        "", "1 user", "100,000 users"
    );
    for (case, (_, name, _)) in CASES.iter().enumerate() {
        let [one, many] = [&sides[0], &sides[1]].map(|side| quartiles(&side.nanos[case]));
        let said = |[low, median, high]: [f64; 3]| format!("{median:.1} ns [{low:.1} {high:.1}]");
        println!(
            "{name:<36} {:>26} {:>26}   {:.3}",
            said(one),
            said(many),
            many[1] / one[1]
        );
    }
}

fn quartiles(nanos: &[f64]) -> [f64; 3] {
    let mut sorted = nanos.to_vec();
    sorted.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| sorted[sorted.len() * quarter / 4])
}

/// The same numbers in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
