//! Every state that a machine can come to, breadth first, so that what is found to be broken is told by the shortest way to it.
//!
//! Knows nothing of knocks. Crates do the same and more; they bring a web server and second versions of what we ship.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// A machine with finitely many states.
pub(crate) trait Machine {
    type State: Copy + Eq + Hash + Debug;
    type Action: Copy + Debug;

    fn start(&self) -> Self::State;
    /// What can happen, and what each comes to.
    fn next(&self, state: &Self::State) -> Vec<(Self::Action, Self::State)>;
    /// The property that does not hold in this state.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
}

/// All states, none of them broken.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    /// Actions on the shortest way to the farthest state.
    pub(crate) depth: usize,
}

/// A state in which a property does not hold, and how it is come to.
#[derive(Debug)]
pub(crate) struct Broken<M: Machine> {
    pub(crate) property: &'static str,
    pub(crate) way: Vec<M::Action>,
    #[allow(dead_code, reason = "it is printed")]
    pub(crate) state: M::State,
}

/// Where a state was first come to from.
struct Seen<M: Machine> {
    state: M::State,
    before: Option<(usize, M::Action)>,
    depth: usize,
}

pub(crate) fn explore<M: Machine>(machine: &M) -> Result<Explored, Broken<M>> {
    let mut seen: Vec<Seen<M>> = Vec::new();
    let mut known = HashSet::from([machine.start()]);
    seen.push(Seen {
        state: machine.start(),
        before: None,
        depth: 0,
    });
    let (mut at, mut steps) = (0, 0);
    while at < seen.len() {
        let (state, depth) = (seen[at].state, seen[at].depth);
        if let Some(property) = machine.broken(&state) {
            return Err(Broken {
                property,
                way: way(&seen, at),
                state,
            });
        }
        for (action, next) in machine.next(&state) {
            steps += 1;
            if known.insert(next) {
                seen.push(Seen {
                    state: next,
                    before: Some((at, action)),
                    depth: depth + 1,
                });
            }
        }
        at += 1;
    }
    Ok(Explored {
        states: seen.len(),
        steps,
        depth: seen.last().map_or(0, |last| last.depth),
    })
}

fn way<M: Machine>(seen: &[Seen<M>], mut at: usize) -> Vec<M::Action> {
    let mut way = Vec::new();
    while let Some((before, action)) = seen[at].before {
        way.push(action);
        at = before;
    }
    way.reverse();
    way
}
