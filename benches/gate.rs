//! Time per datagram in `Gate::handle`, with one user and with 100,000, in one run.
//!
//! The contract is that the two differ by less than 20 %. Small batches of both gates take turns, so that whatever else
//! the machine does meets both, and medians are compared. Everything is prepared beforehand: nothing warms what is measured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

use std::hint::black_box;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use postern::clock;
use postern::datagram::Datagram;
use postern::gate::{Gate, HintTable, User};
use postern::mark::Kept;
use postern::policy::{Policy, Quota};
use postern::reason::{Drop, Reason};
use postern::service::NamedServices;
use postern::time::Timestamp;
use postern_proto::limits::{BODY_MAX, BODY_MIN, PACKET_MAX, PACKET_MIN};
use postern_proto::{Action, Allow, GateName, Item, KeyMaterial, Protocol, Request, Service, SharedKey, UserKeys, seal};

const MANY: u32 = 100_000;
const BATCH: usize = 256;
const ROUNDS: usize = 120;
const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);
const WINDOW: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Valid,
    WrongMac,
    Junk,
    WrongLength,
}

const CASES: [(Case, &str, Option<Drop>); 4] = [
    (Case::Valid, "a  valid knock of a random user", None),
    (Case::WrongMac, "b  right hint, wrong mac", Some(Drop::BadMac)),
    (Case::Junk, "c  random bytes of a valid length", Some(Drop::UnknownHint)),
    (Case::WrongLength, "d  wrong length", Some(Drop::Length)),
];

/// A gate, and all that will be sent to it: for each case and round one batch.
struct Side {
    gate: Gate,
    batches: Vec<Vec<Vec<Datagram>>>,
    nanos: Vec<Vec<f64>>,
}

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 2 };
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut sides = [Side::new(1, rounds, &mut dice), Side::new(MANY, rounds, &mut dice)];
    for round in 0..rounds {
        for case in 0..CASES.len() {
            // Who goes first finds the caches as the other left them: they take turns in that, too.
            for turn in 0..2 {
                sides[(round + turn) % 2].measure(case, round);
            }
        }
    }
    for side in &sides {
        side.check(rounds);
    }
    tell(&sides, rounds);
}

impl Side {
    fn new(users: u32, rounds: usize, dice: &mut Dice) -> Self {
        // What the sender knows lies elsewhere than what the gate knows, so that sealing warms nothing of the gate's.
        let senders: Vec<UserKeys> = (0..users).map(keys).collect();
        let mut batches = Vec::new();
        for (case, _, _) in CASES {
            let mut of_case = Vec::with_capacity(rounds);
            for _ in 0..rounds {
                of_case.push((0..BATCH).map(|_| datagram(case, &senders, dice)).collect());
            }
            batches.push(of_case);
        }
        Self { gate: gate(users), batches, nanos: vec![Vec::new(); CASES.len()] }
    }

    fn measure(&mut self, case: usize, round: usize) {
        let batch = &self.batches[case][round];
        let start = clock::instant();
        for datagram in batch {
            let _ = black_box(self.gate.handle(NOW, black_box(datagram)));
        }
        let took = clock::elapsed(start);
        self.nanos[case].push(took.as_secs_f64() * 1e9 / BATCH as f64);
    }

    /// Every datagram was judged as its case says.
    fn check(&self, rounds: usize) {
        let each = (rounds * BATCH) as u64;
        for (case, name, reason) in CASES {
            let counted = reason.map_or(self.gate.counters().admitted, |reason| self.gate.counters().of(Reason::Drop(reason)));
            assert_eq!(counted, each, "{case:?}: {name}");
        }
    }
}

fn gate(users: u32) -> Gate {
    let users = (0..users).map(|n| User { keys: keys(n), policy: policy(n) }).collect();
    let mut gate = Gate::new(users, NamedServices::new(), WINDOW, Kept::default());
    let steps = gate.table_wanted(NOW).unwrap();
    let table = HintTable::build(&gate.hint_keys(), steps);
    gate.install(table);
    gate
}

fn keys(user: u32) -> UserKeys {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&user.to_be_bytes());
    UserKeys::derive(&GateName::new("gate.example.org").unwrap(), &KeyMaterial::shared(&SharedKey::from_bytes(key)))
}

/// As the config makes it for a user with two services, but with room for every knock of the run.
fn policy(user: u32) -> Policy {
    let services = vec!["tcp/22".parse().unwrap(), "udp/51820".parse().unwrap()];
    let quota = Quota { count: NonZeroU32::new(1_000_000).unwrap(), per: Duration::from_secs(1) };
    Policy { quota, ..Policy::for_user(&format!("user-{user}"), services) }
}

fn datagram(case: Case, senders: &[UserKeys], dice: &mut Dice) -> Datagram {
    let source = IpAddr::from([192, 0, 2, dice.below(250) as u8 + 1]);
    let bytes = match case {
        Case::Valid => knock(senders, dice),
        Case::WrongMac => {
            let mut bytes = knock(senders, dice);
            bytes[20..52].copy_from_slice(&dice.bytes(32));
            bytes
        }
        Case::Junk => {
            let length = PACKET_MIN + dice.below(PACKET_MAX - PACKET_MIN + 1);
            dice.bytes(length)
        }
        Case::WrongLength => {
            let length = dice.below(PACKET_MIN);
            dice.bytes(length)
        }
    };
    Datagram::new(source, IpAddr::from([198, 51, 100, 1]), 62201, &bytes)
}

fn knock(senders: &[UserKeys], dice: &mut Dice) -> Vec<u8> {
    let request = Request {
        action: Action::Open,
        allow: Allow::Source { prefix: 128 },
        timestamp_ms: NOW.as_millis() - dice.below(20_000) as u64,
        duration_s: 0,
        target: None,
        items: vec![Item::Service(Service::new(Protocol::Tcp, 22, 22).unwrap())],
    };
    let nonce = dice.bytes(12).try_into().unwrap();
    let length = BODY_MIN + dice.below(BODY_MAX - BODY_MIN + 1);
    seal(&senders[dice.below(senders.len())], &request, nonce, length).unwrap().as_bytes().to_vec()
}

fn tell(sides: &[Side; 2], rounds: usize) {
    println!("time per datagram in Gate::handle, medians of {rounds} batches of {BATCH}, in brackets the quartiles; window 30 s");
    println!("{:<36} {:>26} {:>26}   ratio", "", "1 user", "100,000 users");
    for (case, (_, name, _)) in CASES.iter().enumerate() {
        let [one, many] = [&sides[0], &sides[1]].map(|side| quartiles(&side.nanos[case]));
        let said = |[low, median, high]: [f64; 3]| format!("{median:.1} ns [{low:.1} {high:.1}]");
        println!("{name:<36} {:>26} {:>26}   {:.3}", said(one), said(many), many[1] / one[1]);
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
