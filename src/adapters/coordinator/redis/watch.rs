//! The watch: the streams of a gate name from their start, and then what is added to them.

use std::time::Duration;

use super::super::resp::{self, Reply};
use super::Redis;
use super::script::{exchange, refusal};
use crate::adapters::clock;
use crate::core::claims::{Heard, live};

/// Entries of one reply for each stream, and its longest form.
const PAGE: &str = "64";
const REPLY_MAX: usize = 1 << 20;

/// More are not read at the start: the gates of one name have far fewer live grants.
const PAGES_MAX: usize = 1 << 16;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The server answers after this time if nothing was added, which is its sign of life.
const BLOCK_MS: &str = "500";
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The same for the watch of a value, which begins anew after so long.
const VALUE_BLOCK_MS: &str = "20000";
const VALUE_ANSWER_WITHIN: Duration = Duration::from_secs(23);
const VALUE_FOR: Duration = Duration::from_secs(300);

/// The time and the number in the id of an entry. They grow.
type Id = (u64, u64);

impl Redis {
    pub(super) fn watch_until_told(
        &self,
        hear: &mut dyn FnMut(Heard<'_>) -> bool,
    ) -> Result<(), String> {
        let mut connection = self.new_connection(clock::instant() + CONNECT_WITHIN)?;
        let number = connection.endpoint;
        let at = |why: String| self.pool.at(number, &why);
        let mut last: [Id; 2] = [(0, 0); 2];
        let (mut is_current, mut pages) = (false, 0_usize);
        loop {
            let [grants, heartbeats] = &self.streams;
            let ids = last.map(|(time, number)| format!("{time}-{number}"));
            let mut parts = vec!["XREAD", "COUNT", PAGE];
            if is_current {
                parts.extend(["BLOCK", BLOCK_MS]);
            }
            parts.extend(["STREAMS", &grants.0, &heartbeats.0, &ids[0], &ids[1]]);
            let mut command = Vec::new();
            resp::command(&parts, &mut command);
            let stream = &mut connection.stream;
            stream.set_deadline(clock::instant() + ANSWER_WITHIN);
            let [reply] = exchange(stream, &command, REPLY_MAX).map_err(at)?;
            if let Some(why) = refusal(&reply) {
                return Err(at(why));
            }
            let heard = if reply != Reply::Nil {
                let mut is_heard = true;
                let found = entries(&reply, &[&grants.0, &heartbeats.0]);
                for (number, id, stored) in found.ok_or_else(strange).map_err(at)? {
                    let known = last.get_mut(number).filter(|known| **known < id);
                    *known.ok_or_else(strange).map_err(at)? = id;
                    if let Some(sealed) = live(stored, clock::wall()) {
                        is_heard = is_heard && hear(Heard::Published(sealed));
                    }
                }
                is_heard && hear(Heard::Silence)
            } else if is_current {
                hear(Heard::Silence)
            } else {
                is_current = true;
                hear(Heard::Current)
            };
            if !heard {
                return Ok(());
            }
            pages = pages.saturating_add(1);
            if !is_current && pages > PAGES_MAX {
                let why = "it has more publications than the gates of one name can make";
                return Err(at(why.to_owned()));
            }
        }
    }

    /// The watch of a value, by the stream of its changes.
    pub(super) fn watch_changes(
        &self,
        stream: &str,
        changed: &mut dyn FnMut(),
    ) -> Result<(), String> {
        let start = clock::instant();
        let mut connection = self.new_connection(start + CONNECT_WITHIN)?;
        let at = |why: String| match self.pool.endpoint(connection.endpoint) {
            Some(endpoint) => format!("{endpoint}: {why}"),
            None => why,
        };
        let (mut last, mut is_current): (Id, bool) = ((0, 0), false);
        while clock::elapsed(start) < VALUE_FOR {
            let id = format!("{}-{}", last.0, last.1);
            let mut parts = vec!["XREAD"];
            if is_current {
                parts.extend(["BLOCK", VALUE_BLOCK_MS]);
            }
            parts.extend(["STREAMS", stream, &id]);
            let mut command = Vec::new();
            resp::command(&parts, &mut command);
            let connected = &mut connection.stream;
            connected.set_deadline(clock::instant() + VALUE_ANSWER_WITHIN);
            let [reply] = exchange(connected, &command, REPLY_MAX).map_err(at)?;
            if let Some(why) = refusal(&reply) {
                return Err(at(why));
            }
            let is_first = !std::mem::replace(&mut is_current, true);
            let mut found = Vec::new();
            if reply != Reply::Nil {
                found = entries(&reply, &[stream]).ok_or_else(strange).map_err(at)?;
                let newest = found.last().map(|(_, id, _)| *id);
                let newest = newest.filter(|newest| *newest > last);
                last = newest.ok_or_else(strange).map_err(at)?;
            }
            if is_first || !found.is_empty() {
                changed();
            }
        }
        Ok(())
    }
}

/// What a reply brings of these streams: the number of the stream, the id, and what was stored.
fn entries<'r>(reply: &'r Reply, streams: &[&str]) -> Option<Vec<(usize, Id, &'r [u8])>> {
    let mut found = Vec::new();
    for stream in list(reply)? {
        let [name, entries] = list(stream)? else {
            return None;
        };
        let name = name.text()?;
        let number = streams.iter().position(|own| *own == name)?;
        for entry in list(entries)? {
            let [id, fields] = list(entry)? else {
                return None;
            };
            let (time, count) = id.text()?.split_once('-')?;
            let id = (time.parse().ok()?, count.parse().ok()?);
            let stored = match list(fields)? {
                [_, Reply::Text(stored)] => stored.as_slice(),
                // Of nobody who knows the format.
                _ => &[],
            };
            found.push((number, id, stored));
        }
    }
    Some(found)
}

fn list(reply: &Reply) -> Option<&[Reply]> {
    match reply {
        Reply::List(items) => Some(items),
        _ => None,
    }
}

fn strange() -> String {
    "its answer is no answer to a watch".to_owned()
}
