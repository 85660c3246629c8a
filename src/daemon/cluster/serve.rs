//! Takes what the engine asks. A few threads ask the coordinator, each for one claim at a time, and answer.

use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::keeper::{self, Look};
use super::publications::Publications;
use super::tell::send;
use super::watcher;
use crate::adapters::clock;
use crate::adapters::ipc::{Link, Received};
use crate::core::claims::{Answer, Ask, Claim, Coordinator, Publish, Told, WAITING_MAX};
use crate::core::order::{self, MESSAGE_MAX};
use crate::model::exit::{ExitError, FAILED};

/// Claims that are asked at once. More make an etcd slower, not faster.
const WORKERS: usize = 8;

struct Job {
    ticket: u64,
    claim: Claim,
    publish: Option<Publish>,
    until: Instant,
}

/// Serves until the engine ends. `rosters`: where to ask for a look for a newer one, if this gate takes them.
pub(super) fn serve(
    link: Link,
    coordinator: Arc<dyn Coordinator>,
    rosters: Option<&SyncSender<()>>,
) -> Result<(), ExitError> {
    let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
    let waiting = Arc::new(Mutex::new(waiting));
    let clone = || {
        let clone = link.try_clone();
        clone.map_err(ExitError::system("the link to the engine"))
    };
    let (looks, looked) = channel();
    for _ in 0..WORKERS {
        let (waiting, coordinator) = (Arc::clone(&waiting), Arc::clone(&coordinator));
        let (looks, link) = (looks.clone(), clone()?);
        start(move || work(&waiting, coordinator.as_ref(), &looks, &link))?;
    }
    let publications = Arc::new(Publications::default());
    let (all, by) = (Arc::clone(&publications), Arc::clone(&coordinator));
    let due = looks.clone();
    start(move || all.publish_all(by.as_ref(), &due))?;
    let (watches, asked) = channel();
    let (by, own) = (Arc::clone(&coordinator), clone()?);
    start(move || watcher::watch(by.as_ref(), &asked, &own))?;
    let own = clone()?;
    start(move || keeper::keep(coordinator.as_ref(), &looked, &own))?;
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        let received = link.receive(&mut buffer);
        let received = received.map_err(ExitError::system("receiving from the engine"))?;
        let Received::Message(len) = received else {
            return Ok(());
        };
        let ask = order::decode_first(&buffer, len);
        match ask.map_err(|error| ExitError::new(FAILED, error))? {
            Ask::Claim {
                ticket,
                claim,
                within_ms,
                publish,
            } => {
                let until = clock::instant() + Duration::from_millis(within_ms);
                let job = Job {
                    ticket,
                    claim,
                    publish,
                    until,
                };
                if let Err(TrySendError::Full(job)) = jobs.try_send(job) {
                    let why = format!("{WAITING_MAX} other claims wait");
                    tell(&link, job.ticket, Answer::Unknown { why });
                }
            }
            Ask::Publish(publish) => {
                if !publications.add(publish) {
                    // It sees what is missing when it has read all.
                    let why = "too many publications wait".to_owned();
                    send(&link, &Told::Behind { why });
                    let _ = watches.send(());
                }
            }
            Ask::Watch => {
                let _ = watches.send(());
            }
            // One that waits is enough.
            Ask::LookForRoster => drop(rosters.map(|rosters| rosters.try_send(()))),
            Ask::Probe { number } => drop(looks.send(Look::Probe(number))),
        }
    }
}

pub(super) fn start(work: impl FnOnce() + Send + 'static) -> Result<(), ExitError> {
    let started = thread::Builder::new().spawn(work);
    started.map_err(ExitError::system("starting a thread"))?;
    Ok(())
}

fn work(
    waiting: &Mutex<Receiver<Job>>,
    coordinator: &dyn Coordinator,
    looks: &Sender<Look>,
    link: &Link,
) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(Job {
            ticket,
            claim,
            publish,
            until,
        }) = next
        else {
            return;
        };
        let left = until.saturating_duration_since(clock::instant());
        let answer = if left < Duration::from_millis(1) {
            let why = "its turn came after its deadline".to_owned();
            Answer::Unknown { why }
        } else {
            coordinator.claim(&claim, publish.as_ref(), left)
        };
        tell(link, ticket, answer);
        if coordinator.is_due() {
            let _ = looks.send(Look::Due);
        }
    }
}

fn tell(link: &Link, ticket: u64, answer: Answer) {
    send(link, &Told::Claimed { ticket, answer });
}
