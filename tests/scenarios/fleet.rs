//! Gates of one name that share their grants through a coordinator, which may lie.

use postern::adapters::control::{Answer, Client, Question};
use postern::adapters::store::ReplayStore;
use postern::core::claims::{self, Ask, PublishKind, Told};
use postern::core::fleet::{Fleet, FleetKeys};
use postern::core::order::{Order, Selection};
use postern::model::grant::GrantId;
use postern::model::reason::Rule;
use postern_proto::{FleetKey, GateName, SharedKey};

use postern_harness::cluster::cluster;

use crate::knocks::{HOME, Knock};
use crate::world::{ALICE, GATE, World, seconds};

const OPEN: &str = "alice 192.0.2.7/32 [tcp/22]";

/// The gates, and all that they have published.
struct Gates {
    gates: Vec<World>,
    published: Vec<Told>,
}

fn join(world: &mut World, number: u8, key: u8) {
    let name = GateName::new(GATE).unwrap();
    let key = FleetKey::derive(&name, &SharedKey::from_bytes([key; 32]));
    let keys = FleetKeys::new([key]).unwrap();
    // A restarted engine has another run.
    let run = [number.wrapping_add(world.executor.grants().count() as u8 * 16); 16];
    let mut fleet = Fleet::new(keys, run, &world.settings);
    let kept = world.store.load().unwrap();
    fleet.recall(kept.closed, kept.times.floor.max(kept.closed_floor));
    world.core.join_cluster(GATE, &cluster());
    world.core.join_fleet(fleet);
    world.core.cluster_connected(world.now);
    world
        .core
        .fleet_connected(world.now, &format!("gate{number}"));
}

impl Gates {
    fn of(users: &[&str]) -> Self {
        let mut gates: Vec<World> = users.iter().map(|users| World::new(users)).collect();
        for (number, gate) in (1..).zip(&mut gates) {
            join(gate, number, 1);
        }
        let mut gates = Self {
            gates,
            published: Vec::new(),
        };
        gates.settle();
        gates
    }

    /// Until no gate has anything to say.
    fn settle(&mut self) {
        let mut told = self.published.len();
        loop {
            for gate in &mut self.gates {
                while let Some(ask) = gate.core.next_ask(gate.now) {
                    self.published.extend(answer(gate, ask, &self.published));
                }
            }
            let fresh: Vec<Told> = self.published.drain(told..).collect();
            self.published.extend(fresh.iter().cloned());
            told = self.published.len();
            for gate in &mut self.gates {
                fresh.iter().for_each(|told| tell(gate, told));
                carry_out(gate);
            }
            if fresh.is_empty() {
                return;
            }
        }
    }

    fn pass(&mut self, length: u64) {
        let gates = self.gates.iter_mut();
        gates.for_each(|gate| gate.pass(seconds(length)));
    }

    fn open(&self) -> Vec<usize> {
        self.gates.iter().map(|gate| gate.open().len()).collect()
    }
}

/// What an honest coordinator does. Returns what is published.
fn answer(gate: &mut World, ask: Ask, published: &[Told]) -> Option<Told> {
    let publish = match ask {
        Ask::Probe { number } => {
            assert_eq!(gate.core.told(gate.now, Told::Back { number }), None);
            None
        }
        Ask::Watch => {
            published.iter().for_each(|told| tell(gate, told));
            tell(gate, &Told::Current);
            None
        }
        Ask::Claim {
            ticket, publish, ..
        } => {
            let answer = claims::Answer::Won;
            let order = gate.core.told(gate.now, Told::Claimed { ticket, answer });
            gate.carry_out(order.unwrap());
            publish
        }
        Ask::Publish(publish) => Some(publish),
        Ask::LookForRoster => None,
    };
    publish.map(|publish| Told::Published {
        sealed: publish.sealed,
    })
}

fn tell(gate: &mut World, told: &Told) {
    assert_eq!(gate.core.told(gate.now, told.clone()), None);
}

fn carry_out(gate: &mut World) {
    while let Some(order) = gate.core.next_shared(gate.now) {
        assert!(!matches!(order, Order::Open { .. }));
        gate.carry_out(order);
    }
    if let Some(commit) = gate.core.commit_closed() {
        gate.keep(commit);
    }
}

fn asked(gate: &mut World, question: Question) -> Answer {
    let (client, answered) = Client::detached().unwrap();
    if let Some(order) = gate.core.question(gate.now, question, client) {
        gate.carry_out(order);
    }
    carry_out(gate);
    let (_, line) = answered.recv().unwrap();
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn knock_opens_and_ends_at_every_gate() {
    let mut all = Gates::of(&[ALICE; 3]);
    assert!(all.gates[0].alice_knocks().admitted);
    all.settle();
    assert_eq!(all.open(), [1, 1, 1]);
    assert_eq!(all.gates[2].open(), [OPEN]);
    all.pass(10);
    // One that joins opens for the rest of the time.
    let mut late = World::of_alice();
    late.set_clock(all.gates[0].now);
    join(&mut late, 4, 1);
    all.gates.push(late);
    all.settle();
    assert_eq!(all.open(), [1, 1, 1, 1]);
    let Answer::ClusterGrants(listed) = asked(&mut all.gates[3], Question::ClusterGrants) else {
        panic!("no list");
    };
    assert_eq!((listed.len(), listed[0].member.as_str()), (1, "gate1"));
    assert!(listed[0].here.is_some());
    all.pass(19);
    assert_eq!(all.open(), [1, 1, 1, 1]);
    all.pass(1);
    assert_eq!(all.open(), [0, 0, 0, 0]);
}

#[test]
fn close_at_one_gate_closes_all_for_good() {
    for by_knock in [true, false] {
        let mut all = Gates::of(&[ALICE; 3]);
        let long = Knock::of("alice").seconds(600);
        assert!(all.gates[0].knock(&long, HOME).admitted);
        all.settle();
        assert_eq!(all.open(), [1, 1, 1]);
        if by_knock {
            let close = Knock::of("alice").services(&[]).close();
            assert!(all.gates[1].knock(&close, HOME).admitted);
        } else {
            let closed = asked(&mut all.gates[1], Question::Close(Selection::All));
            assert_eq!(closed, Answer::Closed(1));
        }
        all.settle();
        assert_eq!(all.open(), [0, 0, 0]);
        // The coordinator's owner hides the close, and the engine of the third gate restarts.
        let closed = all.gates[2].store.load().unwrap().closed;
        assert_eq!(closed.len(), 2, "the grant, and the group");
        all.gates[2].restart_engine();
        join(&mut all.gates[2], 9, 1);
        all.published.truncate(all.published.len() - 1);
        let kept = all.published.clone();
        for gate in &mut all.gates {
            kept.iter().for_each(|told| tell(gate, told));
            tell(gate, &Told::Current);
            carry_out(gate);
        }
        assert_eq!(all.open(), [0, 0, 0]);
        // A knock after it opens again.
        all.pass(1);
        all.settle();
        assert!(all.gates[2].knock(&long, HOME).admitted);
        all.settle();
        assert_eq!(all.gates[0].open(), [OPEN]);
    }
}

#[test]
fn gate_opens_only_what_its_own_policy_allows() {
    let bob = "[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\n";
    let other = ALICE.replace("tcp/22", "udp/53");
    let short = format!("{ALICE}max_duration = '20s'\nduration = '20s'\n");
    let mut all = Gates::of(&[ALICE, bob, &other, &short]);
    all.gates[0].alice_knocks();
    all.settle();
    assert_eq!(all.open(), [1, 0, 0, 1]);
    for (gate, rule) in [(1, Rule::User), (2, Rule::Service)] {
        let Answer::Status(status) = asked(&mut all.gates[gate], Question::Status) else {
            panic!("no status");
        };
        let fleet = status.cluster.unwrap().fleet.unwrap();
        assert_eq!(fleet.counters.refused[rule.name()], 1);
        assert_eq!(fleet.members.len(), 3);
        assert_eq!((fleet.behind, fleet.counters.taken), (None, 0));
    }
    all.pass(20);
    assert_eq!(all.open(), [1, 0, 0, 0]);
}

#[test]
fn coordinator_without_the_key_opens_nothing() {
    let mut all = Gates::of(&[ALICE; 2]);
    // It runs a gate of its own, with the same users and another fleet key.
    let mut forger = World::of_alice();
    join(&mut forger, 7, 2);
    let mut forged = Vec::new();
    for _ in 0..2 {
        forger.alice_knocks();
        while let Some(ask) = forger.core.next_ask(forger.now) {
            forged.extend(answer(&mut forger, ask, &[]));
        }
    }
    assert!(forged.len() >= 2 && forger.open() == [OPEN]);
    all.published.extend(forged.clone());
    for gate in &mut all.gates {
        forged.iter().for_each(|told| tell(gate, told));
        carry_out(gate);
        let Answer::Status(status) = asked(gate, Question::Status) else {
            panic!("no status");
        };
        let fleet = status.cluster.unwrap().fleet.unwrap();
        assert_eq!(fleet.counters.refused["seal"], forged.len() as u64);
    }
    assert_eq!(all.open(), [0, 0]);
}

#[test]
fn full_link_loses_no_close() {
    let mut all = Gates::of(&[ALICE; 2]);
    all.gates[0].alice_knocks();
    all.settle();
    asked(&mut all.gates[0], Question::Close(Selection::All));
    // The cluster process takes no message for a moment.
    let one = &mut all.gates[0];
    let ask = one.core.next_ask(one.now).unwrap();
    assert!(matches!(&ask, Ask::Publish(publish) if publish.kind == PublishKind::Close));
    one.core.not_asked(one.now, ask, "it takes no message");
    all.settle();
    assert_eq!(all.open(), [0, 0]);
}

#[test]
fn close_is_answered_when_it_is_durable() {
    let mut all = Gates::of(&[ALICE; 2]);
    all.gates[0].alice_knocks();
    all.settle();
    let one = &mut all.gates[0];
    let (client, answered) = Client::detached().unwrap();
    let close = Question::Close(Selection::Id(GrantId(1)));
    let order = one.core.question(one.now, close, client);
    one.carry_out(order.unwrap());
    assert_eq!(one.open(), [""; 0], "the firewall does not wait");
    assert!(answered.try_recv().is_err() && !one.core.is_idle());
    let commit = one.core.commit_closed().unwrap();
    assert!(answered.try_recv().is_err());
    one.keep(commit);
    let (_, line) = answered.try_recv().unwrap();
    assert_eq!(
        serde_json::from_slice::<Answer>(&line).unwrap(),
        Answer::Closed(1)
    );
}

/// The engine is new, and the coordinator is away: nobody has told it what is open.
#[test]
fn close_by_id_behind_the_watch_closes_for_good() {
    let mut all = Gates::of(&[ALICE; 2]);
    let long = Knock::of("alice").seconds(600);
    assert!(all.gates[0].knock(&long, HOME).admitted);
    all.settle();
    let kept = all.published.clone();
    let one = &mut all.gates[0];
    one.restart_engine();
    join(one, 9, 1);
    let closed = asked(one, Question::Close(Selection::Id(GrantId(1))));
    assert_eq!(closed, Answer::Closed(1));
    // It is reloaded again before the coordinator is back.
    one.restart_engine();
    join(one, 8, 1);
    assert_eq!(all.open(), [0, 1]);
    all.settle();
    assert_eq!(all.open(), [0, 0]);
    for gate in &mut all.gates {
        kept.iter().for_each(|told| tell(gate, told));
        carry_out(gate);
    }
    assert_eq!(all.open(), [0, 0]);
}

/// The monitor ends before it has closed what another gate closed.
#[test]
fn close_that_the_monitor_lost_is_carried_out_later() {
    for coordinator_tells_the_grant_first in [true, false] {
        let mut all = Gates::of(&[ALICE; 2]);
        let long = Knock::of("alice").seconds(600);
        assert!(all.gates[0].knock(&long, HOME).admitted);
        all.settle();
        asked(&mut all.gates[0], Question::Close(Selection::All));
        let one = &mut all.gates[0];
        while let Some(ask) = one.core.next_ask(one.now) {
            all.published.extend(answer(one, ask, &[]));
        }
        let two = &mut all.gates[1];
        all.published.iter().for_each(|told| tell(two, told));
        let lost = two.core.next_shared(two.now).unwrap();
        assert!(matches!(lost, Order::End { .. }));
        let commit = two.core.commit_closed().unwrap();
        two.keep(commit);
        assert_eq!(two.open(), [OPEN]);
        two.restart_monitor();
        two.restart_engine();
        join(two, 9, 1);
        if !coordinator_tells_the_grant_first {
            all.published.reverse();
        }
        all.settle();
        assert_eq!(all.open(), [0, 0]);
        // A later knock is not closed by what is told again.
        all.pass(1);
        assert!(all.gates[0].knock(&long, HOME).admitted);
        all.settle();
        let two = &mut all.gates[1];
        two.restart_engine();
        join(two, 10, 1);
        all.settle();
        assert_eq!(all.open(), [1, 1]);
    }
}
