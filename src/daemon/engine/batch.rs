//! Batches of hits on their way from the log sensor to the loop, in buffers that are used again.
//!
//! The sensor has a fixed number of buffers. If the loop is behind, the sensor waits for one, and lines wait where they come from.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

const BATCH_MAX: usize = 64;
const BATCHES: usize = 8;

pub(super) struct BatchPool<T> {
    free: SyncSender<Vec<T>>,
    empty: Receiver<Vec<T>>,
}

impl<T> BatchPool<T> {
    pub(super) fn new() -> Self {
        let (free, empty) = sync_channel(BATCHES);
        (0..BATCHES).for_each(|_| drop(free.send(Vec::with_capacity(BATCH_MAX))));
        Self { free, empty }
    }

    pub(super) fn take(&self) -> Batch<T> {
        // This value holds a sender, so receiving cannot fail.
        Batch {
            items: self.empty.recv().unwrap_or_default(),
            free: self.free.clone(),
        }
    }
}

pub(super) struct Batch<T> {
    items: Vec<T>,
    free: SyncSender<Vec<T>>,
}

impl<T> Batch<T> {
    pub(super) fn push(&mut self, item: T) {
        self.items.push(item);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= BATCH_MAX
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.items
    }
}

impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.items);
        buffer.clear();
        let _ = self.free.try_send(buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::thread;

    use super::*;
    use crate::model::datagram::Datagram;

    fn datagram(port: u16) -> Datagram {
        Datagram::new(
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv4Addr::LOCALHOST),
            port,
            &[],
        )
    }

    #[test]
    fn exhausted_pool_waits_for_a_batch() {
        let pool = BatchPool::new();
        let mut taken: Vec<Batch<Datagram>> = (0..BATCHES).map(|_| pool.take()).collect();
        taken.iter_mut().for_each(|batch| batch.push(datagram(1)));
        let waiting = thread::spawn(move || pool.take().is_empty());
        assert!(!waiting.is_finished());
        taken.pop();
        assert!(waiting.join().unwrap());
    }
}
