//! Whether all endpoints are one coordinator, and one that has kept its data.
//!
//! The first gate stores a random value. Every claim demands the value that this process has seen first: two coordinators would
//! admit a knock twice, and so would one that has lost its claims. The cluster id of etcd does not tell: it is made of the names of
//! the nodes, so two clusters with the default names share it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::adapters::random;
use crate::model::fleet::hexadecimal;

/// Its key, behind the prefix.
pub(super) const KEY: &str = "identity";

#[derive(Default)]
pub(super) struct Identity(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Unknown,
    One(String),
    /// Why nothing is claimed any more.
    Two(String),
}

impl Identity {
    /// What to store if there is nothing yet.
    pub(super) fn fresh() -> Result<String, String> {
        let bytes: [u8; 16] = random::bytes().map_err(|error| error.to_string())?;
        Ok(hexadecimal(&bytes))
    }

    /// Fails, from then on always, if it is not what was seen first.
    pub(super) fn see(&self, endpoint: &str, found: &str) -> Result<(), String> {
        let mut state = self.state();
        match &*state {
            // Otherwise the first value that is stored would look like another coordinator's.
            State::Unknown if found.is_empty() => {
                return Err(format!("{endpoint} has not stored an identity"));
            }
            State::Unknown => *state = State::One(found.to_owned()),
            State::One(known) if known == found => {}
            State::One(_) => {
                *state = State::Two(format!(
                    "{endpoint} is another coordinator than was asked before, or has lost its data; \
                     name one coordinator in cluster.endpoints, and reload posternd"
                ));
            }
            State::Two(_) => {}
        }
        drop(state);
        self.known().map(drop)
    }

    /// What every claim demands.
    pub(super) fn known(&self) -> Result<String, String> {
        match &*self.state() {
            State::One(known) => Ok(known.clone()),
            State::Two(why) => Err(why.clone()),
            State::Unknown => Err("the coordinator was not asked yet".to_owned()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
