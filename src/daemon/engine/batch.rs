//! Batches of hits on their way from the log sensor to the loop, in buffers that are used again.
//!
//! The sensor has a fixed number of buffers. If the loop is behind, the sensor waits for one, and lines wait where they come from.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::core::sequence::Hit;

const BATCH_MAX: usize = 64;
const BATCHES: usize = 8;

pub(super) struct BatchPool {
    free: SyncSender<Vec<Hit>>,
    empty: Receiver<Vec<Hit>>,
}

impl BatchPool {
    pub(super) fn new() -> Self {
        let (free, empty) = sync_channel(BATCHES);
        (0..BATCHES).for_each(|_| drop(free.send(Vec::with_capacity(BATCH_MAX))));
        Self { free, empty }
    }

    pub(super) fn take(&self) -> Batch {
        // This value holds a sender, so receiving cannot fail.
        Batch {
            items: self.empty.recv().unwrap_or_default(),
            free: self.free.clone(),
        }
    }
}

pub(super) struct Batch {
    items: Vec<Hit>,
    free: SyncSender<Vec<Hit>>,
}

impl Batch {
    pub(super) fn push(&mut self, hit: Hit) {
        self.items.push(hit);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= BATCH_MAX
    }

    pub(super) fn as_slice(&self) -> &[Hit] {
        &self.items
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.items);
        buffer.clear();
        let _ = self.free.try_send(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_pool_waits_for_a_batch() {
        let pool = BatchPool::new();
        let taken: Vec<Batch> = (0..BATCHES).map(|_| pool.take()).collect();
        assert!(pool.empty.try_recv().is_err(), "one more must wait");
        drop(taken);
        let returned = std::iter::from_fn(|| pool.empty.try_recv().ok());
        let room = returned.map(|buffer| buffer.capacity());
        assert_eq!(room.filter(|room| *room >= BATCH_MAX).count(), BATCHES);
    }
}
