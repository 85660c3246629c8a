//! Publications that do not belong to a claim. They wait beside the claims, and are tried until they are published or have ended.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

use super::complaint::Complaint;
use super::keeper::Look;
use crate::adapters::clock;
use crate::core::claims::{Coordinator, Publish, PublishKind, TOGETHER_MAX, one_line};

const WAITING_MAX: usize = 1024;
const WITHIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(super) struct Publications {
    waiting: Mutex<BTreeMap<Key, Waiting>>,
    added: Condvar,
}

/// In the order in which they are published: closes first.
type Key = (u8, String);

#[derive(Clone)]
struct Waiting {
    publish: Publish,
    /// It is not published after that.
    until: Instant,
    number: u64,
}

impl Publications {
    /// A second publication of the same kind and name replaces the first. Returns false if too many wait.
    pub(super) fn add(&self, publish: Publish) -> bool {
        // The coordinator would refuse all that are published together with it.
        if !publish.is_sound() {
            let kind = publish.kind.name();
            warn!("a {kind} is too long to be published, or has no name");
            return true;
        }
        let until = clock::instant() + Duration::from_millis(publish.lasts_ms);
        let order = match publish.kind {
            PublishKind::Close => 0,
            PublishKind::Grant => 1,
            PublishKind::Notice => 2,
            PublishKind::Heartbeat => 3,
        };
        let key = (order, publish.name.clone());
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&key) {
            return false;
        }
        let number = waiting.get(&key).map_or(0, |one| one.number) + 1;
        waiting.insert(
            key,
            Waiting {
                publish,
                until,
                number,
            },
        );
        self.added.notify_one();
        true
    }

    pub(super) fn publish_all(&self, coordinator: &dyn Coordinator, looks: &Sender<Look>) {
        let mut complaint = Complaint::default();
        loop {
            let batch = self.next_batch();
            let several: Vec<Publish> = batch.iter().map(|(_, one)| one.publish.clone()).collect();
            let published = coordinator.publish(&several, WITHIN);
            if coordinator.is_due() {
                let _ = looks.send(Look::Due);
            }
            match published {
                Ok(()) => {
                    complaint.is_over();
                    let mut waiting = self.waiting();
                    for (key, published) in batch {
                        let is_same = |one: &Waiting| one.number == published.number;
                        if waiting.get(&key).is_some_and(is_same) {
                            waiting.remove(&key);
                        }
                    }
                }
                Err(why) => {
                    if let Some(line) = complaint.line(clock::instant(), &one_line(&why)) {
                        warn!("nothing is published to other gates: {line}");
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Waits for at least one.
    fn next_batch(&self) -> Vec<(Key, Waiting)> {
        let mut waiting = self.waiting();
        loop {
            let now = clock::instant();
            waiting.retain(|_, one| now < one.until);
            if !waiting.is_empty() {
                let first = waiting.iter().take(TOGETHER_MAX);
                return first.map(|(key, one)| (key.clone(), one.clone())).collect();
            }
            waiting = self
                .added
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Key, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
