//! One gate of the cluster: engine, disk, monitor and firewall. Each step calls the code that runs in the daemon.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::adapters::config::{Loaded, load};
use postern::adapters::firewall::memory::MemoryDriver;
use postern::adapters::store::ReplayStore;
use postern::adapters::store::memory::MemoryStore;
use postern::core::claims::{Answer, Ask, Told};
use postern::core::gate::{Gate, HintTable, User};
use postern::core::order::{Order, decode, encode};
use postern::daemon::engine::commit::{self, Commit};
use postern::daemon::engine::core::Core;
use postern::daemon::monitor::executor::Executor;
use postern::model::cluster::{Cluster, CoordinatorEndpoint, CoordinatorKind};
use postern::model::datagram::Datagram;
use postern::model::time::Timestamp;
use postern_proto::{
    Action, Allow, Item, Mark, Protocol, Request, RootKey, Service, SharedKey, Step, seal,
};

use super::cluster::LeftOut;

const START: Timestamp = Timestamp::from_millis(27_500_000 * 64_000 + 32_000);
/// What passes at once. Longer than the deadline of a claim, which is 50 ms.
pub(crate) const PERIOD: Duration = Duration::from_secs(30);
/// The sender's clock is ahead, so that the knock stays fresh for long.
const AHEAD: Duration = Duration::from_secs(28);
const GRANTED: Duration = Duration::from_secs(40);
const DEADLINE: Duration = Duration::from_millis(50);
/// How often the network delivers one knock to one gate.
const COPIES: u8 = 2;

/// What can happen at one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The network delivers a copy of the knock.
    Arrives,
    /// The disk has written the oldest mark.
    Stored,
    /// The engine sends its next message to the cluster process.
    Asks,
    /// A message of the cluster process comes.
    Told(Reply),
    /// The monitor carries out the oldest order.
    Ordered,
    /// The engine dies, and the monitor starts another.
    EngineDies,
    /// The cluster process dies, and the monitor starts another.
    ClusterDies,
    /// The monitor dies, and the engine with it.
    MonitorDies,
    MonitorStarts,
    Passes,
}

/// What the cluster process answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reply {
    Won { ticket: u64 },
    Lost { ticket: u64, made: Timestamp },
    Back { number: u64 },
}

/// What the engine asks the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Asked {
    Claim {
        ticket: u64,
        made: Timestamp,
        lasts_ms: u64,
    },
    Probe {
        number: u64,
    },
}

/// What the properties look at. The gate does not see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// How many links between engine and cluster process there were.
    pub(crate) links: u8,
    pub(crate) is_monitor_alive: bool,
    /// Orders given for the knock.
    pub(crate) orders: u8,
    /// An order was given before its mark was durable.
    pub(crate) was_early: bool,
    /// An order was given after the deadline of its claim.
    pub(crate) was_late: bool,
    pub(crate) is_open: bool,
    /// A grant is open past its end, though somebody could end it.
    pub(crate) is_overdue: bool,
    has_cluster: bool,
    copies: u8,
    waits_for_disk: bool,
    has_orders: bool,
}

impl Facts {
    pub(crate) fn may(&self, event: Event) -> bool {
        match event {
            Event::Arrives => self.is_monitor_alive && self.copies < COPIES,
            Event::Stored => self.waits_for_disk,
            Event::Ordered => self.has_orders,
            Event::MonitorStarts => !self.is_monitor_alive,
            Event::Passes => true,
            Event::ClusterDies => self.is_monitor_alive && self.has_cluster,
            _ => self.is_monitor_alive,
        }
    }
}

/// How a gate is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Setup {
    pub(crate) has_cluster: bool,
    /// The kernel ends grants. Otherwise only the monitor does.
    pub(crate) kernel_ends: bool,
    /// How far the engine's clock is behind.
    pub(crate) behind: Duration,
}

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
            core: Core::new(gate(), "gate.example.org", START),
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
        if let Some(Asked::Probe { number }) = host.asks() {
            host.told(Reply::Back { number });
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

    pub(crate) fn play(&mut self, event: Event) -> Option<Asked> {
        match event {
            Event::Arrives => self.arrives(),
            Event::Stored => self.stored(),
            Event::Asks => return self.asks(),
            Event::Told(reply) => self.told(reply),
            Event::Ordered => self.ordered(),
            Event::EngineDies => self.engine_starts(),
            Event::ClusterDies => self.cluster_dies(),
            Event::MonitorDies => self.monitor_dies(),
            Event::MonitorStarts => self.monitor_starts(),
            Event::Passes => self.passes(),
        }
        None
    }

    /// Steps 1 to 10 of `proto/README.md`, section 6: the gate decides. An admitted knock becomes a commit.
    fn arrives(&mut self) {
        self.facts.copies += 1;
        let (source, gate) = ([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
        let datagram = Datagram::new(source, gate, 62201, &KNOCK);
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
        self.core.stored(commit.ticket, Ok(()));
        if let Some(order) = commit.take_order() {
            self.gives(&order);
        }
    }

    /// With a cluster: the claim is asked after the mark is durable.
    fn asks(&mut self) -> Option<Asked> {
        Some(match self.core.next_ask(self.clock())? {
            Ask::Probe { number } => Asked::Probe { number },
            Ask::Claim { ticket, claim, .. } => Asked::Claim {
                ticket,
                made: claim.made,
                lasts_ms: claim.lasts_ms.expect("not for good"),
            },
            other => panic!("nothing is published: {other:?}"),
        })
    }

    /// Only a claim that was won, and told before its deadline, becomes an order.
    fn told(&mut self, reply: Reply) {
        let claimed = |ticket, answer| Told::Claimed { ticket, answer };
        let told = match reply {
            Reply::Won { ticket } => claimed(ticket, Answer::Won),
            Reply::Lost { ticket, .. } if self.left_out == Some(LeftOut::Answer) => {
                claimed(ticket, Answer::Won)
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
        self.facts.was_late |= self.setup.has_cluster && self.clock() >= arrived.plus(DEADLINE);
        self.orders.push_back(encode(order).expect("short"));
    }

    /// The monitor checks the order again, enters the grant in its ledger, and changes the firewall.
    fn ordered(&mut self) {
        let now = self.now();
        if let (Some(order), Some(executor)) = (self.orders.pop_front(), self.executor.as_mut()) {
            let order = decode(&order).expect("an order");
            for report in executor.serve(now, vec![order]) {
                self.core.reported(report);
            }
        }
    }

    /// What the engine had under way is lost. The next engine remembers what the disk holds.
    fn engine_starts(&mut self) {
        let kept = match self.left_out {
            Some(LeftOut::Recall) => Default::default(),
            _ => self.disk.load().expect("a disk that works"),
        };
        self.commits.clear();
        self.arrived.clear();
        self.facts.links += 1;
        self.core = Core::new(gate(), "gate.example.org", START);
        self.core.gate().recall(kept);
        if self.setup.has_cluster {
            self.core.join_cluster("gate.example.org", &cluster());
            self.core.cluster_connected();
        }
    }

    /// Nobody reads the answers to its claims, and the next one knows nothing of them.
    fn cluster_dies(&mut self) {
        self.facts.links += 1;
        self.core.cluster_lost("it has ended");
        self.core.cluster_connected();
    }

    /// Its orders are lost; grants stay in the firewall.
    fn monitor_dies(&mut self) {
        // The engine has ended: no answer comes to it any more.
        self.facts.links += 1;
        self.executor = None;
        self.orders.clear();
        self.commits.clear();
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
        format!(
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
        )
    }
}

/// The gate with a hint table for every period.
fn gate() -> Gate {
    static TABLE: LazyLock<HintTable> = LazyLock::new(|| {
        let Step(start) = Step::of(START.as_millis());
        HintTable::build(&bare().hint_keys(), start - 10..=start + 20)
    });
    let mut gate = bare();
    gate.install(TABLE.clone());
    gate
}

fn bare() -> Gate {
    let settings = &LOADED.settings;
    let user = User {
        keys: KEYS.clone(),
        policy: settings.policies[0].clone(),
    };
    let (catalog, window) = (settings.catalog.clone(), settings.gate.window);
    Gate::new(vec![user], Vec::new(), catalog, window, Default::default())
}

static KEYS: LazyLock<RootKey> =
    LazyLock::new(|| RootKey::extract(&LOADED.settings.gate.name, &LOADED.keys[0]));

static LOADED: LazyLock<Loaded> = LazyLock::new(|| {
    let key = SharedKey::from_bytes([1; 32]).to_base64();
    let user = format!("[[user]]\nname = 'alice'\nkey = '{}'\n", &*key);
    let text = format!("[gate]\nname = 'gate.example.org'\n{user}services = ['tcp/22']\n");
    let main = BundleFile {
        path: "/etc/postern/posternd.toml".into(),
        text: text.into(),
    };
    let bundle = Bundle {
        main: Some(main),
        ..Bundle::default()
    };
    load(&bundle).unwrap_or_else(|problems| panic!("{problems}"))
});

/// The one knock, of which copies come to all gates.
static KNOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let address = std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
    let request = Request {
        action: Action::Open,
        allow: Allow::Network {
            address,
            prefix: 128,
        },
        timestamp_ms: START.plus(AHEAD).as_millis(),
        duration_s: u32::try_from(GRANTED.as_secs()).expect("short"),
        target: None,
        items: vec![Item::Service(
            Service::new(Protocol::Tcp, 22, 22).expect("a port"),
        )],
    };
    let knock = seal(&KEYS.keys(), &request, [1; 12], 64).expect("a knock");
    knock.as_bytes().to_vec()
});

fn cluster() -> Cluster {
    Cluster {
        coordinator: CoordinatorKind::Etcd,
        endpoints: vec![CoordinatorEndpoint {
            secure: false,
            host: "192.0.2.1".to_owned(),
            port: 2379,
        }],
        ca_file: None,
        cert_file: None,
        cert_key_file: None,
        user: None,
        password_file: None,
        fleet_key_file: None,
        prefix: "/postern/".to_owned(),
        deadline: DEADLINE,
        member: "gate1".to_owned(),
    }
}
