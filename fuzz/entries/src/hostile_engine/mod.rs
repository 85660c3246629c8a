//! A hostile engine (invariants 4, 5 and 10): orders of typed values, some changed as bytes, against a real executor.
//!
//! After every batch each grant in the firewall is one that the policy allows, judged by the second gate; it has an end within the
//! user's maximum; and what the executor says is what the firewall holds.

mod asked;

use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use ipnet::IpNet;
use postern::adapters::firewall::memory::{MemoryDriver, State};
use postern::core::order::{MESSAGE_MAX, Order, Report, Selection, decode, encode};
use postern::daemon::monitor::executor::Executor;
use postern::model::address::Family;
use postern::model::grant::{Grant, GrantId};
use postern::model::service::Ports;
use postern::model::settings::Settings;
use postern::model::time::{ClockStep, Timestamp};
use postern_proto::SharedKey;

use crate::config;
use crate::knock::other;
use asked::Said;

const START: u64 = 27_500_000 * 64_000;
const BATCHES: usize = 12;
const ORDERS: usize = 6;

/// One turn of the monitor.
#[derive(Debug, Arbitrary)]
enum Turn {
    /// These orders came at once.
    Orders(Vec<Said>),
    /// Time passes.
    Pass {
        seconds: u16,
    },
    /// The firewall fails from now on, or after so many changes of one family each, or no longer does.
    Fail(bool),
    FailAfter(u8),
    /// One family of the firewall fails from now on: IPv6 or IPv4.
    FailIn {
        v6: bool,
    },
    /// The first config, or the second one, comes into force.
    Reload {
        second: bool,
    },
    /// The clock is set, and these orders come before the monitor checks the firewall.
    Clock {
        back: bool,
        seconds: u16,
        orders: Vec<Said>,
    },
    /// Another program empties the firewall, and the monitor checks it.
    Flushed,
    /// The monitor starts again and finds the firewall as it is.
    Restart,
}

pub fn run(data: &[u8]) {
    read(data);
}

/// How many grants were opened on the way.
pub fn read(data: &[u8]) -> usize {
    let mut world = World::new();
    let turns = Vec::<Turn>::arbitrary_take_rest(Unstructured::new(data)).unwrap_or_default();
    turns
        .into_iter()
        .take(BATCHES)
        .for_each(|turn| world.turn(turn));
    world.opened
}

struct World {
    firewall: MemoryDriver,
    executor: Executor,
    now: Timestamp,
    in_force: &'static Settings,
    /// When the firewall last failed.
    failed: Option<Timestamp>,
    tickets: u64,
    opened: usize,
}

impl World {
    fn new() -> Self {
        let firewall = MemoryDriver::default();
        let now = Timestamp::from_millis(START);
        let executor = Executor::open(&SETTINGS, Box::new(firewall.clone()), None, now)
            .expect("a firewall that works");
        Self {
            firewall,
            executor,
            now,
            in_force: &SETTINGS,
            failed: None,
            tickets: 0,
            opened: 0,
        }
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Orders(said) => self.orders(&said),
            Turn::Pass { seconds } => {
                self.now = self.now.plus(Duration::from_secs(seconds.into()));
                assert!(
                    self.executor.serve(self.now, Vec::new()).is_empty(),
                    "nobody asked"
                );
            }
            Turn::Fail(failing) => {
                self.fail(|state| state.failing = failing.then(|| "no".to_owned()))
            }
            Turn::FailAfter(steps) => self.fail(|state| state.working = Some(steps % 8)),
            Turn::FailIn { v6 } => self.fail(|state| {
                state.failing = Some("no".to_owned());
                state.failing_family = Some(if v6 { Family::V6 } else { Family::V4 });
            }),
            Turn::Reload { second } => {
                let settings = if second { &SECOND } else { &SETTINGS };
                if self.executor.reload(settings, self.now).is_ok() {
                    self.in_force = settings;
                }
            }
            Turn::Clock {
                back,
                seconds,
                orders,
            } => {
                let by = Duration::from_secs(seconds.into());
                let step = if back {
                    ClockStep::Back(by)
                } else {
                    ClockStep::Forward(by)
                };
                self.now = self.now.stepped(step);
                self.failed = self.failed.map(|failed| failed.stepped(step));
                self.executor.clock_was_set(step);
                self.orders(&orders);
                self.executor.check_firewall(self.now);
            }
            Turn::Flushed => {
                self.firewall.with(|state| state.open.clear());
                self.executor.check_firewall(self.now);
            }
            Turn::Restart => {
                // It is started until the firewall works.
                self.works_from_now_on();
                self.executor =
                    Executor::open(&SETTINGS, Box::new(self.firewall.clone()), None, self.now)
                        .expect("a firewall that works");
                self.in_force = &SETTINGS;
            }
        }
        self.check();
    }

    fn works_from_now_on(&mut self) {
        self.firewall.with(|state| {
            (state.failing, state.failing_family, state.working) = (None, None, None);
        });
    }

    fn fail(&mut self, fail: impl FnOnce(&mut State)) {
        self.works_from_now_on();
        // As the monitor does every second.
        self.executor.check_firewall(self.now);
        self.firewall.with(fail);
    }

    fn orders(&mut self, said: &[Said]) {
        let mut orders = Vec::new();
        for said in said.iter().take(ORDERS) {
            self.tickets += 1;
            let order = said.order.order(self.tickets);
            let mut bytes = encode(&order).expect("short");
            assert_eq!(decode::<Order>(&bytes).as_ref(), Ok(&order));
            for (at, byte) in said.changes.iter().take(3) {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *byte;
            }
            orders.extend(decode::<Order>(&bytes));
        }
        let tickets: Vec<u64> = orders.iter().filter_map(Order::ticket).collect();
        let ended: Vec<GrantId> = orders.iter().filter_map(ended_by).collect();
        let closes = orders
            .iter()
            .any(|order| matches!(order, Order::Close { .. } | Order::End { .. }));
        // It was announced, and does not come in time.
        if let Some(Order::Open { ticket, request }) = orders.first() {
            let request = request.clone();
            let report = self
                .executor
                .open_if(self.now, *ticket, request, &mut || false);
            assert_eq!(report, None);
        }
        let (before, most) = (self.executor.lookups(), self.budget(&orders));
        let reports = self.executor.serve(self.now, orders);
        let lookups = self.executor.lookups() - before;
        assert!(lookups <= most, "{lookups} of at most {most} grants");
        for report in reports {
            let bytes = encode(&report).expect("a report has room");
            assert!(bytes.len() <= MESSAGE_MAX);
            assert_eq!(decode::<Report>(&bytes).as_ref(), Ok(&report));
            let was_asked = match &report {
                Report::Ended { grants } => grants.iter().all(|grant| ended.contains(&grant.id)),
                report => report
                    .ticket()
                    .is_some_and(|ticket| tickets.contains(&ticket)),
            };
            assert!(was_asked, "nobody asked: {report:?}");
            if let Report::Opened { grant, .. } = &report {
                self.opened += 1;
                let open = |state: &mut State| state.open.iter().any(|open| open.id == grant.id);
                assert!(closes || self.firewall.with(open), "not open: {report:?}");
            }
        }
    }

    /// How many grants these orders may make the monitor look at: those of the same user and address, or all if the
    /// order may end any.
    fn budget(&self, orders: &[Order]) -> u64 {
        let count = |user: &str, allow: IpNet| {
            let grants = self.executor.grants();
            let own = grants.filter(|grant| grant.user == user && grant.allow == allow);
            own.count() + orders.len()
        };
        let cost = |order: &Order| match order {
            Order::Open { request, .. } => count(&request.user, request.allow),
            Order::Close { request, .. } => count(&request.user, request.allow),
            Order::End { .. } => self.executor.grants().count() + orders.len(),
            _ => 0,
        };
        let cost: usize = orders.iter().map(cost).sum();
        u64::try_from(cost).expect("few")
    }

    fn check(&mut self) {
        let sorted = |mut grants: Vec<Grant>| {
            grants.sort_by_key(|grant| grant.id);
            grants
        };
        let (open, failing, protection) = self.firewall.with(|state| {
            (
                state.open.clone(),
                state.failing.is_some(),
                state.protection.clone(),
            )
        });
        self.failed = if failing { Some(self.now) } else { self.failed };
        // A close that failed is tried again after a second.
        let troubled = self
            .failed
            .is_some_and(|failed| self.now < failed.plus(Duration::from_secs(1)));
        for grant in &open {
            let items = grant.services.iter().copied().map(item).collect::<Vec<_>>();
            let (allow, prefix) = crate::knock::network(grant.allow);
            let broken = other::broken(
                allow,
                prefix,
                grant.target.map_or(0, crate::knock::number),
                &items,
            );
            assert!(
                broken.is_empty()
                    && !items.is_empty()
                    && ["alice", "bob"].contains(&grant.user.as_str()),
                "{grant}: {broken:?}"
            );
            assert!(
                failing || grant.until <= self.now.plus(Duration::from_secs(other::MAX_DURATION)),
                "{grant} until {}",
                grant.until
            );
            assert!(troubled || grant.until > self.now, "past its end: {grant}");
        }
        // A grant that was flushed while the firewall cannot be repaired is listed as open: it may be.
        let known = sorted(self.executor.grants().cloned().collect());
        assert!(failing || sorted(open) == known, "{known:?}");
        let wanted = Some(self.in_force.protection());
        assert!(
            failing || protection.iter().all(|found| *found == wanted),
            "{protection:?}"
        );
    }
}

fn item(ports: Ports) -> crate::second::body::Item {
    let (first, last) = ports.range().unwrap_or_default();
    let ([a, b], [c, d]) = (first.to_be_bytes(), last.to_be_bytes());
    crate::second::body::Item {
        kind: 1,
        value: vec![ports.protocol(), a, b, c, d],
    }
}

/// The one grant that an order ends.
fn ended_by(order: &Order) -> Option<GrantId> {
    match order {
        Order::End {
            which: Selection::Id(id),
            ..
        } => Some(*id),
        _ => None,
    }
}

static SETTINGS: LazyLock<Settings> = LazyLock::new(settings);

/// It protects another knock port.
static SECOND: LazyLock<Settings> = LazyLock::new(|| {
    let mut settings = settings();
    settings.gate.ports = vec![7];
    settings
});

/// Two users with the second gate's policy.
fn settings() -> Settings {
    let user = |name: &str, key: u8| {
        format!(
            "[[user]]\nname = '{name}'\nkey = '{}'\nservices = {:?}\nnetworks = {:?}\ntargets = {:?}\nmax_prefix = {{ v4 = {}, v6 = {} }}\nmax_duration = '{}s'\n",
            &*SharedKey::from_bytes([key; 32]).to_base64(),
            other::SERVICES,
            other::NETWORKS,
            other::TARGETS,
            other::MAX_PREFIX.0,
            other::MAX_PREFIX.1,
            other::MAX_DURATION,
        )
    };
    let head = format!(
        "[gate]\nname = 'gate.example.org'\n[service.web]\nports = {:?}\n",
        other::WEB
    );
    let text = [head, user("alice", 1), user("bob", 2)].concat();
    config::loaded(&text).settings
}
