//! Remembers what each event leads to in each state of a gate, so that the daemon's code runs once for each.
//!
//! A state is a number. It stands for the events that led to it first, which are played again to go on from there.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use super::cluster::LeftOut;
use super::events::{Asked, Event, Facts, Setup};
use super::gate_host::GateHost;

/// A state of one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GateState {
    number: usize,
    pub(crate) facts: Facts,
}

impl Hash for GateState {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.number.hash(hasher);
    }
}

/// All states of the gates of one model that were come to.
pub(crate) struct Gates {
    setups: Vec<Setup>,
    left_out: Option<LeftOut>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Which gate, and the events that led to the state.
    states: Vec<(usize, Vec<Event>)>,
    numbers: HashMap<(usize, String), usize>,
    steps: HashMap<(usize, Event), (GateState, Vec<Asked>)>,
}

impl Gates {
    pub(crate) fn new(setups: Vec<Setup>, left_out: Option<LeftOut>) -> Self {
        Self {
            setups,
            left_out,
            known: Mutex::default(),
        }
    }

    /// How many gates there are.
    pub(crate) fn count(&self) -> usize {
        self.setups.len()
    }

    /// The gate of this number, just started.
    pub(crate) fn first(&self, nth: usize) -> GateState {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.state(nth, Vec::new(), &self.host(nth))
    }

    /// The state after the event, and what the engine asks.
    pub(crate) fn play(&self, state: GateState, event: Event) -> (GateState, Vec<Asked>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = known.steps.get(&(state.number, event)) {
            return step.clone();
        }
        let (nth, mut events) = known.states[state.number].clone();
        let mut host = self.host(nth);
        for event in &events {
            host.play(*event);
        }
        let asked = host.play(event);
        events.push(event);
        let step = (known.state(nth, events, &host), asked);
        known.steps.insert((state.number, event), step.clone());
        step
    }

    /// How many states were come to.
    pub(crate) fn states(&self) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.states.len()
    }

    fn host(&self, nth: usize) -> GateHost {
        GateHost::new(self.setups[nth], self.left_out)
    }
}

impl Known {
    fn state(&mut self, nth: usize, events: Vec<Event>, host: &GateHost) -> GateState {
        let next = self.states.len();
        let number = self.numbers.entry((nth, host.fingerprint()));
        let number = *number.or_insert(next);
        if number == next {
            self.states.push((nth, events));
        }
        GateState {
            number,
            facts: host.facts(),
        }
    }
}
