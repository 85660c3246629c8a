//! The whole daemon in one struct, under virtual time.
//!
//! Real: config text, sealing, engine core, gate, message encoding, executor, clearance and ledger. In
//! memory: network, disk and firewall. There are two clocks, as in the daemon: the engine's wall clock, which can be
//! set, and the monitor's, which cannot.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use postern::adapters::config::bundle::Bundle;
use postern::adapters::config::{self, Loaded, OldKey};
use postern::adapters::firewall::memory::MemoryDriver;
use postern::adapters::store::ReplayStore;
use postern::adapters::store::memory::MemoryStore;
use postern::admin::explain::{self, Account, Explainer};
use postern::core::gate::{Gate, HintTable, KeyRows};
use postern::core::order::{self, Order, Report};
use postern::daemon::engine::commit::{self, Commit};
use postern::daemon::engine::core::Core;
use postern::daemon::monitor::executor::Executor;
use postern::model::counters::ReasonCounters;
use postern::model::datagram::Datagram;
use postern::model::grant::Grant;
use postern::model::mark::StoredMarks;
use postern::model::reason::{Drop, Reason, Rule};
use postern::model::settings::Settings;
use postern::model::time::Timestamp;
use postern_proto::SharedKey;
use tracing::subscriber::DefaultGuard;

use crate::knocks::{HOME, Knock};
use crate::log::Lines;
use crate::reasons;

pub(crate) const GATE: &str = "gate.example.org";
/// In the middle of a step, 32 seconds from either boundary.
pub(crate) const START: Timestamp = Timestamp::from_millis(27_500_000 * 64_000 + 32_000);

pub(crate) const ALICE: &str = "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\n";

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) steady: Timestamp,
    pub(crate) settings: Settings,
    /// Reads the config, keys and all. A restarted engine takes `settings` in place of those in it.
    load: Box<dyn Fn() -> Loaded>,
    pub(crate) core: Core,
    pub(crate) explainer: Explainer,
    pub(crate) account: Option<Account>,
    pub(crate) store: MemoryStore,
    pub(crate) executor: Executor,
    pub(crate) firewall: MemoryDriver,
    pub(crate) tables_stuck: bool,
    pub(crate) disk_slow: bool,
    waiting: Vec<Commit>,
    log: Lines,
    _logged: DefaultGuard,
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) admitted: bool,
    pub(crate) reason: Option<Reason>,
    pub(crate) reports: Vec<Report>,
    pub(crate) said: Vec<String>,
}

impl World {
    /// A gate whose config ends with these lines; `key = ALICE` is replaced by that user's key.
    pub(crate) fn new(users: &str) -> Self {
        let users = users.to_owned();
        Self::of(move || load_all(&users))
    }

    pub(crate) fn of_alice() -> Self {
        Self::new(ALICE)
    }

    pub(crate) fn of(load: impl Fn() -> Loaded + 'static) -> Self {
        let log = Lines::default();
        let lines = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time();
        let _logged = tracing::subscriber::set_default(lines.with_writer(log.clone()).finish());
        let firewall = MemoryDriver::default();
        let settings = load().settings;
        let mut world = Self {
            now: START,
            steady: START,
            core: engine(load(), StoredMarks::default(), START),
            explainer: Explainer::new(load(), Vec::new()),
            account: None,
            store: MemoryStore::default(),
            executor: Executor::open(&settings, Box::new(firewall.clone()), None, START).unwrap(),
            settings,
            load: Box::new(load),
            firewall,
            tables_stuck: false,
            disk_slow: false,
            waiting: Vec::new(),
            log,
            _logged,
        };
        world.look_at_clocks();
        world
    }

    /// The packet is dropped for this reason: one counter, no log line at info or above but a warning of a user's clock, and
    /// nothing else changes.
    pub(crate) fn drops(&mut self, source: &str, packet: impl AsRef<[u8]>, reason: Drop) {
        let (before, reason) = (self.state(), Reason::Drop(reason));
        let count = self.count(reason);
        let outcome = self.arrives(source, packet.as_ref());
        assert_eq!((outcome.admitted, outcome.reason), (false, Some(reason)));
        let is_off = matches!(reason, Reason::Drop(Drop::TooOld | Drop::TooNew));
        let is_wanted = |line: &String| is_off && line.contains("'s clock is ");
        assert!(outcome.said.iter().all(is_wanted), "{outcome:?}");
        assert!(outcome.reports.is_empty(), "{outcome:?}");
        assert_eq!((self.state(), self.count(reason)), (before, count + 1));
    }

    /// The knock is refused at the gate: one counter, one line at info with user and rule, and nothing opens.
    pub(crate) fn refuses(&mut self, source: &str, knock: &Knock, rule: Rule) {
        let (before, reason) = (self.state(), Reason::Refuse(rule));
        let count = self.count(reason);
        let outcome = self.knock(knock, source);
        assert_eq!((outcome.admitted, outcome.reason), (false, Some(reason)));
        let [line] = &outcome.said[..] else {
            panic!("one line, not {:?}", outcome.said)
        };
        for part in ["INFO", "alice", rule.name(), rule.sentence()] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert!(
            outcome.reports.is_empty(),
            "no order was given: {outcome:?}"
        );
        assert_eq!((self.state(), self.count(reason)), (before, count + 1));
    }

    pub(crate) fn refuses_behind_the_gate(
        &mut self,
        packet: impl AsRef<[u8]>,
        rule: Rule,
    ) -> Outcome {
        let outcome = self.arrives(HOME, packet.as_ref());
        let reason = Some(Reason::Refuse(rule));
        assert_eq!((outcome.admitted, outcome.reason), (true, reason));
        let says = |line: &String| {
            ["WARN", "alice", rule.name()]
                .iter()
                .all(|part| line.contains(part))
        };
        assert!(outcome.said.iter().any(says), "{:?}", outcome.said);
        outcome
    }

    pub(crate) fn admits(&mut self, source: &str, packet: impl AsRef<[u8]>) {
        let outcome = self.arrives(source, packet.as_ref());
        assert!(outcome.admitted && outcome.reason.is_none(), "{outcome:?}");
    }

    pub(crate) fn knock(&mut self, knock: &Knock, source: &str) -> Outcome {
        let packet = knock.sealed(self.now);
        self.arrives(source, packet.as_bytes())
    }

    pub(crate) fn opens(&mut self, knock: &Knock, source: &str) {
        let packet = knock.sealed(self.now);
        self.admits(source, packet);
    }

    pub(crate) fn alice_knocks(&mut self) -> Outcome {
        self.knock(&Knock::of("alice"), HOME)
    }

    fn state(&mut self) -> (Vec<String>, usize) {
        (self.open(), self.core.gate().marks())
    }

    pub(crate) fn arrives(&mut self, source: &str, payload: &[u8]) -> Outcome {
        let before = self.core.gate().counters().clone();
        self.log.clear();
        let to = address("198.51.100.1");
        let datagram = Datagram::new(address(source), to, 62201, payload);
        let reports = match self.core.datagram(self.now, &datagram) {
            Some(commit) if self.disk_slow => {
                self.waiting.push(commit);
                Vec::new()
            }
            Some(commit) => self.commit(commit),
            None => Vec::new(),
        };
        // What is refused is stored at once, or with what comes next.
        if let Some(commit) = self.core.commit_refused(self.now) {
            assert!(self.commit(commit).is_empty());
        }
        let outcome = self.outcome(&before, reports);
        assert!(
            outcome.admitted || outcome.reason.is_some(),
            "every datagram is counted"
        );
        if self.core.gate().table_wanted(self.now).is_none() {
            self.is_explained(&datagram, &outcome);
        }
        outcome
    }

    fn is_explained(&mut self, datagram: &Datagram, outcome: &Outcome) {
        let account = self.explainer.datagram(self.now, datagram);
        // Steps 11 and 12 are after the gate.
        let at_the_gate = outcome.reason.filter(|_| !outcome.admitted);
        assert_eq!(account.reason(), at_the_gate, "{}", account.line());
        let failed = account
            .steps()
            .into_iter()
            .find(|step| step.outcome == explain::Outcome::Failed);
        assert_eq!(
            failed.map(|step| step.number),
            at_the_gate.map(Reason::step),
            "{}",
            account.line()
        );
        self.account = Some(account);
    }

    pub(crate) fn disk_catches_up(&mut self) -> Outcome {
        let before = self.core.gate().counters().clone();
        self.log.clear();
        let mut waiting = VecDeque::from(std::mem::take(&mut self.waiting));
        let mut reports = Vec::new();
        while let Some(commit) = waiting.pop_front() {
            reports.extend(self.commit(commit));
            waiting.extend(self.core.next_commit());
        }
        self.outcome(&before, reports)
    }

    pub(crate) fn pass(&mut self, length: Duration) {
        let end = self.steady.plus(length);
        while let Some(next) = self.executor.next_end().filter(|next| *next <= end) {
            self.steady = self.steady.max(next);
            assert!(self.executor.serve(self.steady, Vec::new()).is_empty());
        }
        self.steady = end;
        self.set_clock(self.now.plus(length));
    }

    pub(crate) fn set_clock(&mut self, now: Timestamp) {
        self.now = now;
        self.look_at_clocks();
    }

    pub(crate) fn restart_engine(&mut self) {
        let kept = self.store.load().unwrap();
        let load = || Loaded {
            settings: self.settings.clone(),
            ..(self.load)()
        };
        self.explainer = Explainer::new(load(), Vec::new());
        self.explainer.recall(kept.clone());
        self.core = engine(load(), kept, self.now);
        self.look_at_clocks();
    }

    pub(crate) fn restart_monitor(&mut self) {
        self.executor = Executor::open(
            &self.settings,
            Box::new(self.firewall.clone()),
            None,
            self.steady,
        )
        .unwrap();
    }

    /// The firewall's grants in their order: `alice 192.0.2.7/32 [tcp/22]`.
    pub(crate) fn open(&self) -> Vec<String> {
        let said = |grant: &Grant| {
            let target = grant.target.map(|target| format!(" at {target}"));
            let (user, allow, services) = (&grant.user, grant.allow, &grant.services);
            format!("{user} {allow} {services:?}{}", target.unwrap_or_default())
        };
        self.firewall
            .with(|state| state.open.iter().map(said).collect())
    }

    pub(crate) fn remaining(&self) -> Duration {
        let grants: Vec<&Grant> = self.executor.grants().collect();
        assert_eq!(grants.len(), 1, "{grants:?}");
        grants[0].until.since(self.steady)
    }

    pub(crate) fn count(&mut self, reason: Reason) -> u64 {
        self.core.gate().counters().of(reason)
    }

    fn look_at_clocks(&mut self) {
        if let Some(steps) = self
            .core
            .gate()
            .table_wanted(self.now)
            .filter(|_| !self.tables_stuck)
        {
            let table = HintTable::build(&self.core.gate().hint_keys(), steps);
            self.core.gate().install(table);
        }
    }

    /// Steps 11 and 12, with the bytes that pass between the processes.
    fn commit(&mut self, mut commit: Commit) -> Vec<Report> {
        let written = commit::write(std::slice::from_mut(&mut commit), &mut self.store);
        let written = written.map_err(|error| error.to_string());
        let result = written.as_ref().copied().map_err(String::as_str);
        self.core.stored(self.now, commit.ticket, result);
        let Some(order) = commit.take_order() else {
            return Vec::new();
        };
        let order: Order = order::decode(&order::encode(&order).unwrap()).unwrap();
        let reports = self.executor.serve(self.steady, vec![order]);
        for report in &reports {
            self.core
                .reported(order::decode(&order::encode(report).unwrap()).unwrap());
        }
        reports
    }

    /// What the engine orders, as the monitor does it.
    pub(crate) fn carry_out(&mut self, order: Order) {
        let order: Order = order::decode(&order::encode(&order).unwrap()).unwrap();
        for report in self.executor.serve(self.steady, vec![order]) {
            match report {
                Report::Ended { grants } => self.core.grants_ended(self.now, &grants),
                report => self.core.reported(report),
            }
        }
    }

    /// Stores what a commit without an order changes.
    pub(crate) fn keep(&mut self, commit: Commit) {
        assert!(self.commit(commit).is_empty());
    }

    /// The log lines at info or above since the last packet.
    pub(crate) fn said(&self) -> Vec<String> {
        self.log.at_info_or_above()
    }

    fn outcome(&mut self, before: &ReasonCounters, reports: Vec<Report>) -> Outcome {
        let after = self.core.gate().counters();
        let given: Vec<Reason> = before
            .iter()
            .zip(after.iter())
            .filter(|(one, other)| one.1 != other.1)
            .map(|(one, _)| one.0)
            .collect();
        assert!(given.len() <= 1, "one datagram, one reason: {given:?}");
        given.iter().for_each(|reason| reasons::was_given(*reason));
        Outcome {
            admitted: after.admitted > before.admitted,
            reason: given.first().copied(),
            reports,
            said: self.said(),
        }
    }
}

fn engine(loaded: Loaded, kept: StoredMarks, now: Timestamp) -> Core {
    let old = loaded.old_keys.iter().map(OldKey::parts);
    let rows = KeyRows::derive(
        &loaded.settings.gate_names(),
        &loaded.settings.policies,
        &loaded.keys,
    );
    let mut gate = Gate::of(loaded.settings, vec![rows], old)
        .with_codes(loaded.codes)
        .with_fwknop(loaded.fwknop);
    gate.recall(kept);
    Core::new(gate, GATE, now)
}

pub(crate) fn load(users: &str) -> Settings {
    load_all(users).settings
}

pub(crate) fn load_all(users: &str) -> Loaded {
    let mut text = format!("[gate]\nname = '{GATE}'\n\n{users}");
    for name in ["ALICE", "BOB"] {
        text = text.replace(
            &format!("key = {name}"),
            &format!("key = '{}'", &*key(&name.to_lowercase()).to_base64()),
        );
    }
    config::load(&Bundle::of_main("/etc/postern/posternd.toml", text))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

pub(crate) fn key(user: &str) -> SharedKey {
    SharedKey::from_bytes(match user.as_bytes()[0] {
        b'a' => crate::forge::packet::SHARED_KEY,
        letter => [letter; 32],
    })
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn seconds(length: u64) -> Duration {
    Duration::from_secs(length)
}
