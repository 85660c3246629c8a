//! A pause after an error, so that a lasting error does not spin.

use std::time::{Duration, Instant};

use crate::adapters::clock;

#[derive(Debug, Default)]
pub(super) struct Pause(Option<Instant>);

impl Pause {
    pub(super) fn begin(&mut self, length: Duration) {
        self.0 = clock::instant().checked_add(length);
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_none_or(|end| end <= clock::instant())
    }
}
