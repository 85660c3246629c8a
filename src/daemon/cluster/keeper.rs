//! Keeps the coordinator ready for claims, and looks whether it is back after a claim was unknown.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tracing::{info, warn};

use super::tell::send;
use crate::adapters::ipc::Link;
use crate::core::claims::{Coordinator, Told, one_line};

/// How often it looks while the coordinator is away, and otherwise whether something is due.
const PAUSE: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(250);

const PREPARE_WITHIN: Duration = Duration::from_secs(1);

/// Works until the engine has ended. `probes` are what it asks.
pub(super) fn keep(coordinator: &dyn Coordinator, probes: &Receiver<u64>, link: &Link) {
    let mut wanted = None;
    let mut failed: Option<String> = None;
    let mut pause = Duration::ZERO;
    loop {
        match probes.recv_timeout(pause) {
            Ok(number) => {
                wanted = probes.try_iter().last().or(Some(number));
                // The new probe has not heard why.
                failed = None;
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
                pause = LOOK;
                if let Some(number) = wanted.take() {
                    send(link, &Told::Back { number });
                    info!("the coordinator answers: knocks are claimed");
                }
            }
            Err(why) if failed.as_ref() != Some(&why) => {
                warn!("the coordinator can't be used: {}", one_line(&why));
                if let Some(number) = wanted {
                    let why = why.clone();
                    send(link, &Told::Away { number, why });
                }
                failed = Some(why);
            }
            Err(_) => {}
        }
    }
}
