//! The channel of the loop: what the engine's other threads tell it.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use postern_fwknop::Reason;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::batch::Batch;
use super::commit::Done;
use crate::adapters::control::{Client, Question};
use crate::core::gate::{FwknopRow, HintTable};
use crate::model::attempt::Attempt;
use crate::model::datagram::Datagram;

pub(super) enum Event {
    /// Packets that look like fwknop's were tried with the users' keys.
    FwknopTried(Vec<Tried>),
    /// Packets to ports of sequences, from the firewall's log.
    Hits(Batch),
    Stored(Box<Done>),
    Question(Question, Client),
    /// The firewall dropped these packets.
    Attempts(Vec<Attempt>),
    MetricsRequest(SyncSender<String>),
    Table(HintTable),
    /// The log sensor has ended, as it was told to. All its hits came before.
    SensorEnded,
    Failed(String),
}

/// A packet that was tried with the keys.
pub(super) enum Tried {
    Found(Box<Datagram>, FwknopRow),
    Wrong(IpAddr, Reason),
}

/// Feeds the loop's channel, and wakes the loop.
#[derive(Clone)]
pub(super) struct Events {
    queue: SyncSender<Event>,
    ringer: Arc<OwnedFd>,
}

/// The loop's end of the channel.
pub(super) struct Inbox {
    pub(super) queue: Receiver<Event>,
    bell: OwnedFd,
}

/// A channel with room for so many events. If it is full, the threads wait.
pub(super) fn events(most: usize) -> io::Result<(Events, Inbox)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (bell, ringer) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let (sender, queue) = sync_channel(most);
    let events = Events {
        queue: sender,
        ringer: Arc::new(ringer),
    };
    Ok((events, Inbox { queue, bell }))
}

impl Events {
    pub(super) fn send(&self, event: Event) -> Result<(), Gone> {
        self.queue.send(event).map_err(|_| Gone)?;
        // If it is full, the loop is awake.
        let _ = rustix::io::write(&*self.ringer, &[1]);
        Ok(())
    }
}

/// The loop has ended.
#[derive(Debug)]
pub(super) struct Gone;

impl Inbox {
    /// Events that have come. Each is taken after the bell is silenced, so none is overlooked.
    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 512]);
    }

    pub(super) fn next(&self) -> Option<Event> {
        self.queue.try_recv().ok()
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
