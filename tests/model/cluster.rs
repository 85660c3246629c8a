//! The model of a cluster: the order of steps from a knock to its grant, and what can go wrong between any two of them.
//!
//! Each gate runs the daemon's own code (`gate_host.rs`): gate, engine core, claims, fleet, orders, clearance, executor and
//! ledger.
//! The model decides what happens next, and tries every choice. Its names of events:
//!
//! ```text
//!  knock ─ Arrives ─► gate admits ─ Stored ─► mark is durable, claim is asked ─ CarriesOut ─► coordinator reserves
//!                                                                                                                │
//!  grant ends ◄─ Passes ─ grant is open ◄─ Ordered ─ monitor checks ◄─ order ─ engine ◄─ Comes ─ won, or lost ◄──┘
//! ```
//!
//! - One knock is enough, because its mark is what gates could admit twice. The network delivers two copies of it to each gate.
//!   With one-time codes there are two knocks with the same code.
//! - Messages to and from the coordinator come in any order. One that never comes is lost.
//! - The coordinator may carry out a claim at any time: after its deadline, after the cluster process has said that nobody knows, and
//!   after the engine that asked has died.
//! - Engines, cluster processes and monitors die at any time. What they had not written or sent is lost. A disk fails to write.
//! - Clocks of gates differ by as much as claims allow for.
//! - Gates that share grants: the coordinator tells what was published late, again or never, and a grant that its owner made up.

use std::collections::BTreeSet;
use std::time::Duration;

use postern::core::claims::MARGIN;
use postern::model::time::Timestamp;
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::events::{Asked, Event, Facts, Reply, Setup};
use super::gate_host::PERIOD;
use super::inputs::made_up;
use super::remembered::{GateState, Gates};

/// Time in the model. After it the knock is fresh at no gate.
const PERIODS: u32 = 4;

/// How far the clocks of two gates may be apart, by `docs/cluster.md`.
const APART_S: u64 = 60;

const DEATHS: [Event; 3] = [Event::EngineDies, Event::ClusterDies, Event::MonitorDies];
const FAILURES: [Event; 4] = [DEATHS[0], DEATHS[1], DEATHS[2], Event::DiskFails];

/// The link of a claim whose answer nobody waits for.
const NOBODY: u8 = u8::MAX;

/// What the coordinator holds: a claim for each knock, and one for the code.
const CODE: usize = 2;

const TWICE: &str = "no mark admitted twice";
const EARLY: &str = "no grant without a durable mark";
const LATE: &str = "no order after the deadline of its claim";
const ENDS: &str = "every grant ends";
const REOPENS: &str = "a closed grant does not open again";
const MADE_UP: &str = "a made-up grant opens nothing";

struct ClusterModel {
    gates: Gates,
    /// How many processes may die, and disks fail.
    crashes: u8,
    /// The gates share their grants, and one of them is closed once.
    shares: bool,
    left_out: Option<LeftOut>,
}

/// One part of Postern that a model does without, to show that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The coordinator lets everyone win.
    Claim,
    /// The engine takes a lost claim as won.
    Answer,
    /// The engine takes a claim as won of which nobody knows.
    Doubt,
    /// The coordinator does not look at one-time codes.
    Code,
    /// Claims do not outlast differences of clocks.
    Margin,
    /// The engine takes an answer that is late.
    Deadline,
    /// The disk forgets what was written.
    Mark,
    /// The engine does not hear that the disk has failed.
    DiskFailure,
    /// A new engine does not read the disk.
    Recall,
    /// A new engine does not know what was closed.
    Closed,
    /// A gate takes what others than its fleet have sealed.
    Seal,
    /// Neither monitor nor kernel ends a grant.
    End,
}

/// A moment of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Moment {
    passed: u32,
    gates: Vec<GateState>,
    /// What the coordinator has not carried out yet.
    asked: BTreeSet<(usize, u8, Asked)>,
    /// What has not come to its engine yet.
    answered: BTreeSet<(usize, u8, Reply)>,
    /// The claims that the coordinator holds, and how long.
    reserved: [Option<Reserved>; 3],
    /// What gates have published, and what the owner of the coordinator has made up.
    published: BTreeSet<usize>,
    closes: u8,
    crashes: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reserved {
    made: Timestamp,
    until_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// Something happens at one gate.
    At(usize, Event),
    /// The coordinator carries out what an engine asked, also if that engine has died since.
    CarriesOut(usize, u8, Asked),
    /// An answer comes to its engine.
    Comes(usize, u8, Reply),
    /// The cluster process says that nobody knows what became of a claim. The coordinator may still carry it out.
    Doubts(usize, u8, Asked),
    /// Time passes for everyone.
    Passes,
}

impl Model for ClusterModel {
    type State = Moment;
    type Action = Choice;

    fn init_states(&self) -> Vec<Moment> {
        let start = Moment {
            passed: 0,
            gates: (0..self.gates.count())
                .map(|nth| self.gates.first(nth))
                .collect(),
            asked: BTreeSet::new(),
            answered: BTreeSet::new(),
            reserved: [None; 3],
            published: self.shares.then(made_up).into_iter().collect(),
            closes: 0,
            crashes: 0,
        };
        vec![if self.shares {
            self.published(start)
        } else {
            start
        }]
    }

    fn actions(&self, now: &Moment, choices: &mut Vec<Choice>) {
        let own = [
            Event::Arrives,
            Event::Stored,
            Event::Ordered,
            Event::MonitorStarts,
        ];
        for (nth, state) in now.gates.iter().enumerate() {
            let failures = FAILURES.iter().filter(|_| now.crashes < self.crashes);
            let may = own
                .iter()
                .chain(failures)
                .filter(|event| state.facts.may(**event));
            choices.extend(may.map(|event| Choice::At(nth, *event)));
            if now.closes == 0 && state.facts.may(Event::Closes) {
                choices.push(Choice::At(nth, Event::Closes));
            }
            if state.facts.is_monitor_alive {
                let told = now.published.iter().map(|number| Event::Hears(*number));
                choices.extend(told.map(|event| Choice::At(nth, event)));
            }
        }
        let asked = now.asked.iter();
        choices.extend(asked.map(|(nth, link, asked)| Choice::CarriesOut(*nth, *link, *asked)));
        let doubted = now.asked.iter().filter(|(_, link, asked)| {
            matches!(asked, Asked::Claim { .. }) && *link != NOBODY && !self.shares
        });
        choices.extend(doubted.map(|(nth, link, asked)| Choice::Doubts(*nth, *link, *asked)));
        let answered = now.answered.iter();
        choices.extend(answered.map(|(nth, link, reply)| Choice::Comes(*nth, *link, *reply)));
        if now.passed < if self.shares { 2 } else { PERIODS } {
            choices.push(Choice::Passes);
        }
    }

    fn next_state(&self, before: &Moment, choice: Choice) -> Option<Moment> {
        let mut now = before.clone();
        match choice {
            Choice::At(nth, event) => {
                now.crashes += u8::from(FAILURES.contains(&event));
                if DEATHS.contains(&event) {
                    // Nobody reads the answers any more.
                    now.answered.retain(|(to, ..)| *to != nth);
                }
                now.closes += u8::from(event == Event::Closes);
                self.plays(&mut now, nth, event);
            }
            Choice::CarriesOut(nth, link, asked) => {
                now.asked.remove(&(nth, link, asked));
                let reply = self.carries_out(&mut now, asked);
                let facts = now.gates[nth].facts;
                let is_there = facts.links == link && facts.is_monitor_alive;
                if let Some(reply) = reply.filter(|_| is_there) {
                    now.answered.insert((nth, link, reply));
                }
            }
            Choice::Doubts(nth, link, asked) => {
                now.asked.remove(&(nth, link, asked));
                now.asked.insert((nth, NOBODY, asked));
                if let Asked::Claim { ticket, .. } = asked
                    && now.gates[nth].facts.links == link
                {
                    now.answered.insert((nth, link, Reply::Unknown { ticket }));
                }
            }
            Choice::Comes(nth, link, reply) => {
                now.answered.remove(&(nth, link, reply));
                self.plays(&mut now, nth, Event::Told(reply));
            }
            Choice::Passes => {
                now.passed += 1;
                (0..self.gates.count()).for_each(|nth| self.plays(&mut now, nth, Event::Passes));
            }
        }
        (now != *before).then_some(now)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TWICE, |_, now| {
                let orders = all(now).map(|facts| facts.orders);
                orders.sum::<u8>() <= 1
            }),
            Property::always(EARLY, |_, now| all(now).all(|facts| !facts.was_early)),
            Property::always(LATE, |_, now| all(now).all(|facts| !facts.was_late)),
            Property::always(ENDS, |_, now| all(now).all(|facts| !facts.is_overdue)),
            Property::always(REOPENS, |_, now| all(now).all(|facts| !facts.is_reopened)),
            Property::always(MADE_UP, |_, now| all(now).all(|facts| !facts.is_made_up)),
            // Otherwise the others would hold because nothing happens.
            Property::sometimes("a knock opens the last gate", |_, now| {
                all(now).last().is_some_and(|facts| facts.is_open)
            }),
        ]
    }
}

impl ClusterModel {
    /// The first gate has admitted the knock, and its grant is published. It does not know yet that it has won.
    fn published(&self, mut now: Moment) -> Moment {
        self.plays(&mut now, 0, Event::Arrives);
        self.plays(&mut now, 0, Event::Stored);
        let (nth, link, asked) = now.asked.first().copied().expect("a claim");
        let claim = Choice::CarriesOut(nth, link, asked);
        self.next_state(&now, claim).expect("it is carried out")
    }

    fn plays(&self, now: &mut Moment, nth: usize, event: Event) {
        let (state, asked) = self.gates.play(now.gates[nth], event);
        now.gates[nth] = state;
        let link = now.gates[nth].facts.links;
        let asked = asked.into_iter();
        now.asked.extend(asked.map(|asked| (nth, link, asked)));
    }

    /// The first claim wins, until it ends by the coordinator's clock.
    fn carries_out(&self, now: &mut Moment, asked: Asked) -> Option<Reply> {
        let time_ms = u64::from(now.passed) * PERIOD.as_millis() as u64;
        match asked {
            Asked::Probe { number } => Some(Reply::Back { number }),
            Asked::Publish(number) => {
                now.published.insert(number);
                None
            }
            Asked::Claim {
                ticket,
                knock,
                has_code,
                made,
                lasts_ms,
                publishes,
            } => {
                let held = |key: usize| now.reserved[key].filter(|held| held.until_ms > time_ms);
                let knows_claims = self.left_out != Some(LeftOut::Claim);
                if let Some(Reserved { made, .. }) = held(knock.into()).filter(|_| knows_claims) {
                    return Some(Reply::Lost { ticket, made });
                }
                let has_code = has_code && self.left_out != Some(LeftOut::Code);
                if has_code && held(CODE).is_some() {
                    return Some(Reply::CodeLost { ticket });
                }
                let margin_ms = match self.left_out {
                    Some(LeftOut::Margin) => MARGIN.as_millis() as u64,
                    _ => 0,
                };
                let reserved = Some(Reserved {
                    made,
                    until_ms: time_ms + lasts_ms - margin_ms,
                });
                now.reserved[usize::from(knock)] = reserved;
                if has_code {
                    now.reserved[CODE] = reserved;
                }
                now.published.extend(publishes);
                Some(Reply::Won { ticket })
            }
        }
    }
}

fn all(now: &Moment) -> impl DoubleEndedIterator<Item = Facts> {
    now.gates.iter().map(|state| state.facts)
}

/// So many gates that share their grants.
fn fleet(count: usize) -> Vec<Setup> {
    let shares = |setup| Setup {
        shares: true,
        ..setup
    };
    cluster(&vec![0; count]).into_iter().map(shares).collect()
}

/// Two gates whose clocks are apart, and two knocks with one code.
fn codes() -> Vec<Setup> {
    let has_codes = |setup| Setup {
        has_codes: true,
        ..setup
    };
    cluster(&[0, APART_S]).into_iter().map(has_codes).collect()
}

/// Gates in a cluster whose clocks are behind by so many seconds. The kernel ends grants at every other one.
fn cluster(behind: &[u64]) -> Vec<Setup> {
    let setup = |(nth, behind): (usize, &u64)| Setup {
        has_cluster: true,
        shares: false,
        has_codes: false,
        number: u8::try_from(nth).expect("few gates"),
        kernel_ends: nth % 2 == 0,
        behind: Duration::from_secs(*behind),
    };
    behind.iter().enumerate().map(setup).collect()
}

/// A gate without a cluster, whose only protection from a replay is its own mark.
fn single() -> Vec<Setup> {
    vec![Setup {
        has_cluster: false,
        shares: false,
        has_codes: false,
        number: 0,
        kernel_ends: false,
        behind: Duration::ZERO,
    }]
}

fn model(setups: Vec<Setup>, crashes: u8, left_out: Option<LeftOut>) -> ClusterModel {
    ClusterModel {
        shares: setups.iter().any(|setup| setup.shares),
        gates: Gates::new(setups, left_out),
        crashes,
        left_out,
    }
}

/// Every order of events, of so many at most.
fn holds(setups: Vec<Setup>, crashes: u8, events: usize) {
    let mut checker = model(setups, crashes, None).checker().threads(2);
    if std::env::var_os("POSTERN_MODEL_DEEPER").is_none() {
        checker = checker.target_max_depth(events.saturating_add(2));
    }
    let checked = checker.spawn_bfs().join();
    println!(
        "{} moments, {} states of gates, {} events at most",
        checked.unique_state_count(),
        checked.model().gates.states(),
        (checked.max_depth() - 1).min(events),
    );
    checked.assert_properties();
}

/// Events one after the other. With `POSTERN_MODEL_DEEPER` there is no limit.
const EVENTS_MAX: usize = 11;

/// The same for gates that share grants, after one of them has admitted a knock.
const SHARED_MAX: usize = 7;

#[test]
fn single_gate_admits_a_knock_once() {
    holds(single(), 3, usize::MAX);
}

#[test]
fn two_gates_admit_a_knock_once() {
    holds(cluster(&[0, 0]), 1, EVENTS_MAX);
}

#[test]
fn clocks_apart_admit_a_knock_once() {
    holds(cluster(&[0, APART_S]), 1, EVENTS_MAX);
}

#[test]
fn one_code_opens_once() {
    holds(codes(), 1, EVENTS_MAX);
}

#[test]
fn three_gates_admit_a_knock_once() {
    holds(cluster(&[0, APART_S, 0]), 1, EVENTS_MAX - 2);
}

#[test]
fn shared_grants_open_and_close_once() {
    holds(fleet(2), 1, SHARED_MAX);
    // A grant of its own comes back to a gate as well.
    holds(fleet(1), 1, SHARED_MAX + 1);
}

/// Each part is needed: without it, a property fails.
#[test]
fn each_part_left_out_fails_its_property() {
    let apart = || cluster(&[0, APART_S]);
    for (left_out, setups, property) in [
        (LeftOut::Claim, cluster(&[0, 0]), TWICE),
        (LeftOut::Answer, cluster(&[0, 0]), TWICE),
        (LeftOut::Doubt, cluster(&[0, 0]), TWICE),
        (LeftOut::Code, codes(), TWICE),
        (LeftOut::Margin, codes(), TWICE),
        (LeftOut::Margin, apart(), TWICE),
        (LeftOut::Deadline, cluster(&[0]), LATE),
        (LeftOut::Mark, cluster(&[0]), EARLY),
        (LeftOut::Mark, single(), EARLY),
        (LeftOut::DiskFailure, cluster(&[0]), EARLY),
        (LeftOut::Recall, single(), TWICE),
        (LeftOut::End, cluster(&[0]), ENDS),
        (LeftOut::Seal, fleet(1), MADE_UP),
        (LeftOut::Closed, fleet(1), REOPENS),
    ] {
        let checker = model(setups, 1, Some(left_out)).checker().threads(2);
        let checker = checker.finish_when(HasDiscoveries::AnyFailures);
        let found = checker.spawn_bfs().join().discovery(property);
        let found = found.unwrap_or_else(|| panic!("{left_out:?}: {property} holds"));
        println!("without {left_out:?}: {:?}", found.into_actions());
    }
}
