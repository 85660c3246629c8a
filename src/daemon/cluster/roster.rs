//! Looks for a newer roster at the coordinator, and hands it to the process that verifies it. Trusts and parses nothing of it.

use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::core::claims::{Coordinator, RosterSought, one_line};
use crate::core::roster::published::{HEAD, HEAD_MAX, Head, PART_MAX};
use crate::daemon::roster::offer;

/// How often it looks: a new roster is taken about this long after it was published.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_WITHIN: Duration = Duration::from_secs(1);
const PART_WITHIN: Duration = Duration::from_secs(10);

/// Works until the process ends.
pub(super) fn follow(coordinator: &dyn Coordinator, sought: RosterSought, link: &Link) {
    let mut offered: Option<(Head, Instant)> = None;
    let mut failed: Option<String> = None;
    loop {
        thread::sleep(LOOK);
        let looked = look(coordinator, sought, offered.as_ref());
        let looked = looked.and_then(|found| match found {
            Some(head) => {
                let (text, signatures) = fetch(coordinator, &head)?;
                let sent = offer::send(link, &text, &signatures);
                sent.map_err(|error| format!("handing it on: {error}"))?;
                info!(
                    "a roster with version {} is at the coordinator",
                    head.version
                );
                offered = Some((head, clock::instant()));
                Ok(())
            }
            None => Ok(()),
        });
        match looked {
            Ok(()) => failed = None,
            Err(why) if failed.as_ref() != Some(&why) => {
                warn!("the coordinator's roster can't be read: {}", one_line(&why));
                failed = Some(why);
            }
            Err(_) => {}
        }
    }
}

/// The head of a roster that is to be offered.
fn look(
    coordinator: &dyn Coordinator,
    sought: RosterSought,
    offered: Option<&(Head, Instant)>,
) -> Result<Option<Head>, String> {
    let Some(head) = coordinator.read(HEAD, HEAD_MAX, LOOK_WITHIN)? else {
        return Ok(None);
    };
    let head = Head::read(&head).ok_or("its head is not that of a roster")?;
    let refresh = sought.refresh_ms.map(Duration::from_millis);
    let is_wanted = match offered {
        // The one in force is offered again, so that it is confirmed.
        Some((last, at)) if *last == head => refresh.is_some_and(|each| clock::elapsed(*at) > each),
        _ => head.version > sought.version || refresh.is_some() && head.version == sought.version,
    };
    Ok(is_wanted.then_some(head))
}

/// Text and signatures.
fn fetch(coordinator: &dyn Coordinator, head: &Head) -> Result<(Vec<u8>, Vec<u8>), String> {
    let mut text = Vec::new();
    for name in head.parts() {
        let part = coordinator.read(&name, PART_MAX, PART_WITHIN)?;
        text.extend(part.ok_or("a part of it is missing")?);
    }
    if text.len() != head.text().saturating_add(head.signatures()) {
        return Err("its parts have another length than its head says".to_owned());
    }
    let signatures = text.split_off(head.text());
    Ok((text, signatures))
}
