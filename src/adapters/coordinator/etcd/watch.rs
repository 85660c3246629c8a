//! The watch: all that is live, page by page at one revision, and then the events after that revision. Beside it the watch of one
//! value.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::http::{Answer, Request};
use super::super::{pool, text};
use super::Etcd;
use super::ask::{Failure, status_text};
use super::wire::{Line, Page, Watched, encode};
use crate::adapters::clock;
use crate::core::claims::{Heard, live};

/// Keys in one page, and its longest answer.
const PAGE: usize = 64;
const PAGE_MAX: usize = 1 << 20;
const PAGE_WITHIN: Duration = Duration::from_secs(2);

/// More are not read: the gates of one name have far fewer live grants.
const PAGES_MAX: usize = 4096;

/// etcd divides events into lines of 1.5 MB at most, and base64 makes them longer.
const LINE_MAX: usize = 4 << 20;

/// A watch without any event for so long has broken: each gate publishes its heartbeat every 2 s.
const SILENT: Duration = Duration::from_secs(6);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(500);

/// The watch of a value wakes up so often, and begins anew after so long.
const VALUE_LOOK: Duration = Duration::from_secs(30);
const VALUE_FOR: Duration = Duration::from_secs(300);

type Hear<'h> = dyn FnMut(Heard<'_>) -> bool + 'h;

impl Etcd {
    pub(super) fn watch_until_told(&self, hear: &mut Hear<'_>) -> Result<(), String> {
        let Some(revision) = self.tell_live(hear)? else {
            return Ok(());
        };
        if !hear(Heard::Current) {
            return Ok(());
        }
        self.tell_events(revision, hear)
    }

    /// The watch of one value. It is silent while the value stays, so it ends by itself after some minutes.
    pub(super) fn watch_key(&self, key: &str, changed: &mut dyn FnMut()) -> Result<(), String> {
        let start = clock::instant();
        let create = json!({ "key": key });
        self.stream(&self.value_from, &create, VALUE_LOOK, &mut |watched| {
            // The first line says that the watch has begun.
            if watched.is_some() {
                changed();
            }
            Ok(clock::elapsed(start) < VALUE_FOR)
        })
    }

    /// The first key behind all publications: `0` follows `/`.
    fn range_end(&self) -> String {
        encode(self.published.trim_end_matches('/').to_owned() + "0")
    }

    /// The revision, unless nobody hears any more.
    fn tell_live(&self, hear: &mut Hear<'_>) -> Result<Option<u64>, String> {
        let end = self.range_end();
        let (mut key, mut revision) = (encode(&self.published), None);
        for _ in 0..PAGES_MAX {
            let request = json!({
                "key": key, "range_end": end, "limit": PAGE.to_string(),
                "revision": revision.unwrap_or(0_u64).to_string(),
            });
            let page: Result<Page, Failure> = self.ask("kv/range", &request, PAGE_MAX, PAGE_WITHIN);
            let page = page.map_err(|failure| self.cured(failure))?;
            let now = clock::wall();
            for pair in &page.kvs {
                if let Some(sealed) = live(&pair.value(), now)
                    && !hear(Heard::Published(sealed))
                {
                    return Ok(None);
                }
            }
            if !hear(Heard::Silence) {
                return Ok(None);
            }
            let found = page.header.revision.parse::<u64>();
            let found = found.map_err(|_| "its answer is not etcd's".to_owned())?;
            let at = *revision.get_or_insert(found);
            let Some(last) = page.kvs.last().filter(|_| page.more) else {
                return Ok(Some(at));
            };
            key = after(&last.key);
        }
        Err("it has more publications than the gates of one name can make".to_owned())
    }

    fn tell_events(&self, revision: u64, hear: &mut Hear<'_>) -> Result<(), String> {
        let create = json!({
            "key": encode(&self.published), "range_end": self.range_end(),
            "start_revision": revision.saturating_add(1).to_string(),
            "filters": ["NODELETE"], "fragment": true,
        });
        let mut last = clock::instant();
        self.stream(&self.watch_from, &create, LOOK, &mut |watched| {
            let Some(watched) = watched else {
                if clock::elapsed(last) > SILENT {
                    return Err("the watch is silent".to_owned());
                }
                return Ok(hear(Heard::Silence));
            };
            last = clock::instant();
            let now = clock::wall();
            for event in &watched.events {
                if let Some(sealed) = live(&event.kv.value(), now)
                    && !hear(Heard::Published(sealed))
                {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Gives each line of a watch, and `None` in each pause of this length, until `hear` returns false.
    fn stream(
        &self,
        from: &AtomicUsize,
        create: &Value,
        pause: Duration,
        hear: &mut dyn FnMut(Option<&Watched>) -> Result<bool, String>,
    ) -> Result<(), String> {
        // A node that is cut off from the others is connected, but silent.
        let from = from.fetch_add(1, Ordering::Relaxed);
        let number = self.pool.current().wrapping_add(from) % self.pool.len();
        let until = clock::instant() + CONNECT_WITHIN;
        let mut connection = self.pool.connect_to(number, until)?;
        let Some(endpoint) = self.pool.endpoint(number) else {
            return Ok(());
        };
        let at = |why: &str| self.pool.at(number, why);
        let body = json!({ "create_request": create }).to_string();
        let (host, token) = (endpoint.to_string(), self.token());
        let request = Request {
            host: &host,
            path: "/v3/watch",
            token: token.as_deref(),
            body: body.as_bytes(),
        };
        let failed = |error: io::Error| at(&pool::cured(&error));
        let stream = &mut connection.stream;
        stream.set_deadline(clock::instant() + SILENT);
        request.send(stream).map_err(failed)?;
        let mut answer = Answer::read(stream).map_err(failed)?;
        if answer.status != 200 {
            let status = answer.status;
            let (said, _) = answer.whole(PAGE_MAX).map_err(failed)?;
            let why = at(&status_text(status, &said));
            return Err(self.cured(Failure::Refused(status, why)));
        }
        let (mut buffer, mut searched) = (Vec::new(), 0);
        loop {
            answer.stream().set_deadline(clock::instant() + pause);
            match answer.part(&mut buffer) {
                Ok(true) => {}
                Ok(false) => return Err(at("it ended the watch")),
                Err(error) if is_late(&error) => {}
                Err(error) => return Err(failed(error)),
            }
            while let Some(line) = take_line(&mut buffer, &mut searched) {
                let watched = self.watched(&line).map_err(|why| at(&why))?;
                if !hear(Some(&watched)).map_err(|why| at(&why))? {
                    return Ok(());
                }
            }
            if buffer.len() > LINE_MAX {
                return Err(at("an event is too long"));
            }
            if !hear(None).map_err(|why| at(&why))? {
                return Ok(());
            }
        }
    }

    fn watched(&self, line: &[u8]) -> Result<Watched, String> {
        let read = serde_json::from_slice::<Line>(line);
        let watched = match read.map_err(|error| format!("its event is not etcd's: {error}"))? {
            Line {
                error: Some(error), ..
            } => {
                let why = text::short(&error.message);
                return Err(self.cured(Failure::Refused(0, why)));
            }
            Line { result, .. } => result.ok_or("its event is not etcd's")?,
        };
        if watched.canceled {
            let reason = text::short(&watched.cancel_reason);
            let compacted = &watched.compact_revision;
            return Err(if compacted.is_empty() {
                format!("it ended the watch: {reason}")
            } else {
                format!("it compacted what was not read, to revision {compacted}")
            });
        }
        Ok(watched)
    }
}

/// The key behind this one.
fn after(key: &str) -> String {
    use base64::Engine;
    let mut bytes = base64::prelude::BASE64_STANDARD
        .decode(key)
        .unwrap_or_default();
    bytes.push(0);
    encode(bytes)
}

fn take_line(buffer: &mut Vec<u8>, searched: &mut usize) -> Option<Vec<u8>> {
    let mut new = buffer.iter().skip(*searched);
    let Some(found) = new.position(|byte| *byte == b'\n') else {
        *searched = buffer.len();
        return None;
    };
    let end = searched.saturating_add(found);
    *searched = 0;
    Some(buffer.drain(..=end).collect())
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
