//! Keeps the coordinator ready for claims, and looks whether it is back after a claim was unknown.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tracing::{info, warn};

use super::complaint::Complaint;
use super::tell::send;
use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::core::claims::{Coordinator, Told, one_line};

/// How often it looks while the coordinator is away, and otherwise whether something is due with time.
const PAUSE: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);

const PREPARE_WITHIN: Duration = Duration::from_secs(1);

/// Why it looks at once.
pub(super) enum Look {
    /// The engine asks.
    Probe(u64),
    /// Claims have used up what was got in advance.
    Due,
}

/// Works until the engine has ended.
pub(super) fn keep(coordinator: &dyn Coordinator, looks: &Receiver<Look>, link: &Link) {
    let mut wanted = None;
    let mut failed: Option<String> = None;
    let mut complaint = Complaint::default();
    let mut pause = Duration::ZERO;
    loop {
        match looks.recv_timeout(pause) {
            Ok(first) => {
                let all = [first].into_iter().chain(looks.try_iter());
                let probes = all.filter_map(|look| match look {
                    Look::Probe(number) => Some(number),
                    Look::Due => None,
                });
                if let Some(number) = probes.last() {
                    wanted = Some(number);
                    // The new probe has not heard why.
                    failed = None;
                } else if failed.is_some() {
                    // Not at the rate of claims.
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        pause = if wanted.is_some() { PAUSE } else { LOOK };
        if wanted.is_none() && !coordinator.is_due() {
            continue;
        }
        match coordinator.prepare(PREPARE_WITHIN) {
            Ok(()) => {
                failed = None;
                complaint.is_over();
                pause = LOOK;
                if let Some(number) = wanted.take() {
                    send(link, &Told::Back { number });
                    info!("the coordinator answers: knocks are claimed");
                }
            }
            Err(why) => {
                if let Some(line) = complaint.line(clock::instant(), &one_line(&why)) {
                    warn!("the coordinator can't be used: {line}");
                }
                let is_new = failed.as_ref() != Some(&why);
                if let Some(number) = wanted.filter(|_| is_new) {
                    let why = why.clone();
                    send(link, &Told::Away { number, why });
                }
                failed = Some(why);
            }
        }
    }
}
