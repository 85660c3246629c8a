//! One gate of the cluster: engine, disk, monitor and firewall. Each step calls the code that runs in the daemon.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use postern::adapters::control::{Client, Question};
use postern::adapters::firewall::memory::MemoryDriver;
use postern::adapters::store::ReplayStore;
use postern::adapters::store::memory::MemoryStore;
use postern::core::claims::{Answer, Ask, Publish, PublishKind, Told};
use postern::core::order::{Order, Report, Selection, decode, encode};
use postern::daemon::engine::commit::{self, Commit};
use postern::daemon::engine::core::Core;
use postern::daemon::monitor::executor::Executor;
use postern::model::datagram::Datagram;
use postern::model::time::Timestamp;
use postern_harness::cluster::{CLAIM_DEADLINE, cluster};
use postern_proto::Mark;

use super::cluster::LeftOut;
use super::events::{Asked, Event, Facts, Reply, Setup};
use super::inputs::{
    GRANTED, LOADED, NAME, START, STRANGER, fleet, gate, knock, number_of, publication,
};

/// What passes at once. Longer than the deadline of a claim. Four of them end just before the knock gets stale at a gate that is 60 s
/// behind, so that a shorter margin is found.
pub(crate) const PERIOD: Duration = Duration::from_secs(29);

pub(crate) struct GateHost {
    setup: Setup,
    left_out: Option<LeftOut>,
    passed: u32,
    core: Core,
    commits: VecDeque<Commit>,
    disk: MemoryStore,
    orders: VecDeque<Vec<u8>>,
    executor: Option<Executor>,
    firewall: MemoryDriver,
    /// Which knock each ticket is for, and when it arrived.
    arrived: BTreeMap<u64, (Mark, Timestamp)>,
    facts: Facts,
}

impl GateHost {
    pub(crate) fn new(setup: Setup, left_out: Option<LeftOut>) -> Self {
        let mut host = Self {
            setup,
            left_out,
            passed: 0,
            core: Core::new(gate(setup.has_codes), NAME, START),
            commits: VecDeque::new(),
            disk: MemoryStore::default(),
            orders: VecDeque::new(),
            executor: None,
            firewall: MemoryDriver::default(),
            arrived: BTreeMap::new(),
            facts: Facts::default(),
        };
        host.monitor_starts();
        // The coordinator answers from the beginning.
        for asked in host.asks() {
            if let Asked::Probe { number } = asked {
                host.told(Reply::Back { number });
            }
        }
        host
    }

    /// The engine's clock. The monitor's runs with the true time.
    fn clock(&self) -> Timestamp {
        self.now().minus(self.setup.behind)
    }

    fn now(&self) -> Timestamp {
        START.plus(PERIOD * self.passed)
    }

    /// What happens, and what the engine does after each event: orders for what other gates have said, commits of what was closed,
    /// and claims of what is durable. Returns what it asks.
    pub(crate) fn play(&mut self, event: Event) -> Vec<Asked> {
        match event {
            Event::Arrives => self.arrives(),
            Event::Stored => self.stored(),
            Event::DiskFails => self.disk_fails(),
            Event::Told(reply) => self.told(reply),
            Event::Hears(number) => self.hears(number),
            Event::Ordered => self.ordered(),
            Event::Closes => self.closes(),
            Event::EngineDies => self.engine_starts(),
            Event::ClusterDies => self.cluster_dies(),
            Event::MonitorDies => self.monitor_dies(),
            Event::MonitorStarts => self.monitor_starts(),
            Event::Passes => self.passes(),
        }
        // An engine that is slow sees an answer before it sees that the time is up.
        if self.executor.is_none() || event == Event::Passes {
            return Vec::new();
        }
        while let Some(order) = self.core.next_shared(self.clock()) {
            self.orders.push_back(encode(&order).expect("short"));
        }
        if let Some(commit) = self.core.commit_closed() {
            self.facts.knows_close = true;
            self.commits.push_back(commit);
        }
        self.asks()
    }

    /// Steps 1 to 10 of `proto/README.md`, section 6: the gate decides. An admitted knock becomes a commit.
    fn arrives(&mut self) {
        self.facts.copies += 1;
        let (source, gate) = ([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
        let knock = knock(self.setup.has_codes, self.knock());
        let datagram = Datagram::new(source, gate, 62201, knock);
        let Some(mut commit) = self.core.datagram(self.clock(), &datagram) else {
            return;
        };
        let mark = commit.change.marks[0].mark;
        self.arrived.insert(commit.ticket, (mark, self.clock()));
        if let Some(order) = commit.take_order() {
            self.gives(&order);
        }
        self.commits.push_back(commit);
    }

    /// Step 11: the mark becomes durable. Without a cluster its order follows.
    fn stored(&mut self) {
        let Some(mut commit) = self.commits.pop_front() else {
            return;
        };
        let mut forgetful = MemoryStore::default();
        let disk = match self.left_out {
            Some(LeftOut::Mark) => &mut forgetful,
            _ => &mut self.disk,
        };
        commit::write(std::slice::from_mut(&mut commit), disk).expect("a disk that works");
        self.core.stored(self.clock(), commit.ticket, Ok(()));
        if let Some(order) = commit.take_order() {
            self.gives(&order);
        }
    }

    /// What is refused then gives no order.
    fn disk_fails(&mut self) {
        let Some(mut commit) = self.commits.pop_front() else {
            return;
        };
        let failing = |why: Option<&str>| {
            let why = why.map(str::to_owned);
            self.disk.with(|disk| disk.failing = why);
        };
        failing(Some("it is broken"));
        let written = commit::write(std::slice::from_mut(&mut commit), &mut self.disk.clone());
        failing(None);
        let why = written.expect_err("a broken disk").to_string();
        let told = match self.left_out {
            Some(LeftOut::DiskFailure) => Ok(()),
            _ => Err(why.as_str()),
        };
        self.core.stored(self.clock(), commit.ticket, told);
        if let Some(order) = commit.take_order() {
            self.gives(&order);
        }
    }

    /// The number of the knock that this gate gets.
    fn knock(&self) -> u8 {
        if self.setup.has_codes {
            self.setup.number
        } else {
            0
        }
    }

    /// With a cluster: a claim is asked after its mark is durable.
    fn asks(&mut self) -> Vec<Asked> {
        let (gate, start, period) = (self.setup.number, self.facts.links, self.passed);
        let (left_out, knock) = (self.left_out, self.knock());
        let number =
            |publish: Publish| number_of((publish.kind, gate, start, period, left_out), publish);
        let mut asked = Vec::new();
        while let Some(ask) = self.core.next_ask(self.clock()) {
            asked.push(match ask {
                Ask::Probe { number } => Asked::Probe { number },
                Ask::Claim {
                    ticket,
                    claim,
                    publish,
                    ..
                } => Asked::Claim {
                    ticket,
                    knock,
                    has_code: claim.code.is_some(),
                    made: claim.made,
                    lasts_ms: claim.lasts_ms.expect("not for good"),
                    publishes: publish.map(number),
                },
                Ask::Publish(publish) if publish.kind == PublishKind::Close => {
                    Asked::Publish(number(publish))
                }
                // It says that it has told everything that is live, and tells what it wants, whenever it wants.
                Ask::Watch => {
                    let order = self.core.told(self.clock(), Told::Current);
                    assert_eq!(order, None, "nothing was told");
                    continue;
                }
                // Heartbeats and notices are lost.
                Ask::Publish(_) | Ask::LookForRoster => continue,
            });
        }
        asked
    }

    /// Whatever it is, an order comes only after all checks.
    fn hears(&mut self, number: usize) {
        let sealed = publication(number).sealed;
        let order = self.core.told(self.clock(), Told::Published { sealed });
        assert_eq!(order, None, "it is checked before");
    }

    /// The grant ends here, and the other gates are to hear of it.
    fn closes(&mut self) {
        let (client, _) = Client::detached().expect("a socket");
        let close = Question::Close(Selection::All);
        let order = self.core.question(self.clock(), close, client);
        self.orders
            .extend(order.map(|order| encode(&order).expect("short")));
    }

    /// Only a claim that was won, and told before its deadline, becomes an order.
    fn told(&mut self, reply: Reply) {
        let claimed = |ticket, answer| Told::Claimed { ticket, answer };
        let told = match reply {
            Reply::Won { ticket } => claimed(ticket, Answer::Won),
            Reply::Lost { ticket, .. } | Reply::CodeLost { ticket }
                if self.left_out == Some(LeftOut::Answer) =>
            {
                claimed(ticket, Answer::Won)
            }
            Reply::CodeLost { ticket } => claimed(ticket, Answer::CodeLost),
            Reply::Unknown { ticket } if self.left_out == Some(LeftOut::Doubt) => {
                claimed(ticket, Answer::Won)
            }
            Reply::Unknown { ticket } => {
                let why = "its connection was reset".to_owned();
                claimed(ticket, Answer::Unknown { why })
            }
            Reply::Lost { ticket, made } => claimed(ticket, Answer::Lost { made }),
            Reply::Back { number } => Told::Back { number },
        };
        let mut at = self.clock();
        if self.left_out == Some(LeftOut::Deadline)
            && let Told::Claimed { ticket, .. } = &told
            && let Some((_, arrived)) = self.arrived.get(ticket)
        {
            at = *arrived;
        }
        if let Some(order) = self.core.told(at, told) {
            self.gives(&order);
        }
    }

    /// Step 12: the engine orders.
    fn gives(&mut self, order: &Order) {
        let ticket = order.ticket().expect("an order for a knock");
        let (mark, arrived) = self.arrived[&ticket];
        let durable = self.disk.load().expect("a disk that works").marks;
        self.facts.orders += 1;
        self.facts.was_early |= !durable.iter().any(|record| record.mark == mark);
        self.facts.was_late |=
            self.setup.has_cluster && self.clock() >= arrived.plus(CLAIM_DEADLINE);
        self.orders.push_back(encode(order).expect("short"));
    }

    /// The monitor checks the order again, enters the grant in its ledger, and changes the firewall.
    fn ordered(&mut self) {
        let now = self.now();
        if let (Some(order), Some(executor)) = (self.orders.pop_front(), self.executor.as_mut()) {
            let order = decode(&order).expect("an order");
            let was_open = self.firewall.with(|state| !state.open.is_empty());
            for report in executor.serve(now, vec![order]) {
                let opens = matches!(report, Report::Opened { .. });
                self.facts.opened_late |= opens && !was_open && self.facts.knows_close;
                self.core.reported(report);
            }
        }
    }

    /// What the engine had under way is lost. The next engine remembers what the disk holds.
    fn engine_starts(&mut self) {
        let mut kept = self.disk.load().expect("a disk that works");
        self.facts.knows_close = !kept.closed.is_empty();
        match self.left_out {
            Some(LeftOut::Recall) => kept = Default::default(),
            Some(LeftOut::Closed) => kept.closed.clear(),
            _ => {}
        }
        self.commits.clear();
        self.arrived.clear();
        self.facts.links += 1;
        self.core = Core::new(gate(self.setup.has_codes), NAME, START);
        if self.setup.has_cluster {
            self.core.join_cluster(NAME, &cluster());
        }
        if self.setup.shares {
            let run = [self.setup.number * 16 + self.facts.links; 16];
            let takes_any_key = self.left_out == Some(LeftOut::Seal);
            self.core.join_fleet(fleet(run, &kept, takes_any_key));
        }
        self.core.gate().recall(kept);
        self.cluster_starts();
    }

    fn cluster_starts(&mut self) {
        self.core.cluster_connected(self.clock());
        let member = format!("gate{}", self.setup.number);
        self.core.fleet_connected(self.clock(), &member);
    }

    /// Nobody reads the answers to its claims, and the next one knows nothing of them.
    fn cluster_dies(&mut self) {
        self.facts.links += 1;
        self.core.cluster_lost(self.clock(), "it has ended");
        self.cluster_starts();
    }

    /// Its orders are lost; grants stay in the firewall.
    fn monitor_dies(&mut self) {
        // The engine has ended: no answer comes to it any more.
        self.facts.links += 1;
        self.executor = None;
        self.orders.clear();
        self.commits.clear();
        self.facts.opened_late = false;
    }

    /// It keeps the grants that it finds open, if they are allowed and not over.
    fn monitor_starts(&mut self) {
        let firewall = Box::new(self.firewall.clone());
        let executor = Executor::open(&LOADED.settings, firewall, None, self.now());
        self.executor = Some(executor.expect("a firewall that works"));
        self.engine_starts();
    }

    fn passes(&mut self) {
        self.passed += 1;
        let now = self.now();
        if self.setup.kernel_ends && self.left_out != Some(LeftOut::End) {
            let is_due = |grant: &postern::model::grant::Grant| grant.until > now;
            self.firewall.with(|state| state.open.retain(is_due));
        }
        if let Some(executor) = self.executor.as_mut()
            && self.left_out != Some(LeftOut::End)
        {
            executor.serve(now, Vec::new());
        }
    }

    pub(crate) fn facts(&self) -> Facts {
        let now = self.now();
        let open = self.firewall.with(|state| state.open.clone());
        let ends = self.setup.kernel_ends || self.executor.is_some();
        Facts {
            has_cluster: self.setup.has_cluster,
            is_monitor_alive: self.executor.is_some(),
            is_open: !open.is_empty(),
            is_reopened: self.facts.opened_late && !open.is_empty() && self.orders.is_empty(),
            is_made_up: open.iter().any(|grant| grant.allow.to_string() == STRANGER),
            shares: self.setup.shares,
            is_overdue: open
                .iter()
                .any(|grant| (ends && grant.until <= now) || grant.until > now.plus(GRANTED)),
            waits_for_disk: !self.commits.is_empty(),
            has_orders: !self.orders.is_empty(),
            ..self.facts
        }
    }

    /// Everything that decides what happens next, as text: two gates with the same text are in the same state.
    pub(crate) fn fingerprint(&self) -> String {
        let executor = self.executor.as_ref();
        let ledger: Option<Vec<_>> = executor.map(|executor| executor.grants().collect());
        let open = self.firewall.with(|state| state.open.clone());
        let core = self.executor.as_ref().map(|_| &self.core);
        let kept = self.disk.with(|disk| disk.kept.clone());
        let text = format!(
            "{:?}",
            (
                self.passed,
                core,
                &self.commits,
                kept,
                &self.orders,
                ledger,
                open,
                &self.arrived,
                self.facts
            )
        );
        // What only counts, limits log lines or numbers publications decides nothing here. Nor does what is asked again: what was
        // asked stays asked. Sockets differ each time.
        ["Counters {", "Client {"]
            .iter()
            .fold(text, |text, name| without(&text, name))
    }
}

/// The text without each group that begins so.
fn without(mut text: &str, name: &str) -> String {
    let mut kept = String::new();
    while let Some((before, group)) = text.split_once(name) {
        let mut depth = 1;
        let end = group.find(|c| {
            depth += i32::from(matches!(c, '{' | '(')) - i32::from(matches!(c, '}' | ')'));
            depth == 0
        });
        kept.push_str(before);
        text = &group[end.expect("its end")..];
    }
    kept + text
}
