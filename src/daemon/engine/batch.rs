//! Datagrams on their way from a capture to the loop: many at once where many came at once, in room that is used again and again.
//!
//! A capture has so much room and no more. Where the loop can't keep up, the capture waits for room, and what comes then waits in
//! the kernel.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::model::datagram::Datagram;

/// Datagrams that are handed on at once.
const MANY: usize = 64;
/// Batches of one capture that may be under way.
const ROOMS: usize = 8;

/// A capture's room.
pub(super) struct Rooms {
    home: SyncSender<Vec<Datagram>>,
    empty: Receiver<Vec<Datagram>>,
}

impl Rooms {
    pub(super) fn new() -> Self {
        let (home, empty) = sync_channel(ROOMS);
        (0..ROOMS).for_each(|_| drop(home.send(Vec::with_capacity(MANY))));
        Self { home, empty }
    }

    /// An empty batch, as soon as there is room for one.
    pub(super) fn batch(&self) -> Batch {
        // The other end is in this very value, so there is always one that can send.
        Batch {
            datagrams: self.empty.recv().unwrap_or_default(),
            home: self.home.clone(),
        }
    }
}

/// Datagrams in the order in which they came. Its room goes home when it is dropped.
pub(super) struct Batch {
    datagrams: Vec<Datagram>,
    home: SyncSender<Vec<Datagram>>,
}

impl Batch {
    /// One more. There must be room.
    pub(super) fn push(&mut self, datagram: Datagram) {
        self.datagrams.push(datagram);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.datagrams.len() >= MANY
    }

    pub(super) fn as_slice(&self) -> &[Datagram] {
        &self.datagrams
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let mut room = std::mem::take(&mut self.datagrams);
        room.clear();
        let _ = self.home.try_send(room);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::thread;

    use super::*;

    fn datagram(port: u16) -> Datagram {
        Datagram::new(
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv4Addr::LOCALHOST),
            port,
            &[],
        )
    }

    #[test]
    fn whoever_has_no_room_waits_for_it_and_gets_it_empty() {
        let rooms = Rooms::new();
        let mut taken: Vec<Batch> = (0..ROOMS).map(|_| rooms.batch()).collect();
        taken.iter_mut().for_each(|batch| batch.push(datagram(1)));
        let waiting = thread::spawn(move || rooms.batch().is_empty());
        assert!(!waiting.is_finished());
        taken.pop();
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn room_is_used_again_and_holds_what_came_in_its_order() {
        let rooms = Rooms::new();
        let mut places = Vec::new();
        for round in 0..3 * ROOMS {
            let mut batch = rooms.batch();
            (0..MANY).for_each(|n| batch.push(datagram(u16::try_from(round * MANY + n).unwrap())));
            assert!(batch.is_full());
            let ports: Vec<usize> = batch
                .as_slice()
                .iter()
                .map(|datagram| usize::from(datagram.port()))
                .collect();
            assert_eq!(
                ports,
                (round * MANY..(round + 1) * MANY).collect::<Vec<_>>()
            );
            assert_eq!(batch.datagrams.capacity(), MANY);
            places.push(batch.datagrams.as_ptr());
        }
        assert_eq!(places[..ROOMS], places[ROOMS..2 * ROOMS]);
    }
}
