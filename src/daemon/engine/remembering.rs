//! Answers to closes, which wait until the closes are durable: an engine that is killed before has promised nothing.

use std::collections::VecDeque;

use crate::adapters::control::{self, Answer, Client};

/// Closes have numbers in their order.
#[derive(Debug, Default)]
pub(super) struct Remembering {
    /// The commits under way, each with the number of its last close.
    saving: VecDeque<(u64, u64)>,
    /// The number of the last close that is durable.
    durable: u64,
    /// Each with the number of the close that it waits for, and how many grants were closed.
    answers: VecDeque<(u64, Client, usize)>,
}

impl Remembering {
    pub(super) fn saves(&mut self, ticket: u64, last: u64) {
        self.saving.push_back((ticket, last));
    }

    /// The commit is durable.
    pub(super) fn stored(&mut self, ticket: u64) {
        let first = self.saving.pop_front_if(|first| first.0 == ticket);
        let Some((_, durable)) = first else { return };
        self.durable = durable;
        while let Some((_, client, count)) = self.answers.pop_front_if(|first| first.0 <= durable) {
            control::answer(client, &Answer::Closed(count));
        }
    }

    /// Answers when the close of this number is durable.
    pub(super) fn answer(&mut self, last: u64, client: Client, count: usize) {
        if last <= self.durable {
            control::answer(client, &Answer::Closed(count));
        } else {
            self.answers.push_back((last, client, count));
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.answers.is_empty()
    }
}
