//! `postern open-packet`: what a packet asks for, or at which step a gate would drop it.
//!
//! The packet is no secret, so it may stand on the command line; the key is, so it comes from where it always does.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::arguments::OpenPacket;
use super::json::Asked;
use super::{Exit, Failure, gate, json, say, words};
use crate::adapters::clock;
use crate::client::{self, NotOpened, PACKET_TEXT_MAX};
use crate::model::time::{Timestamp, human, millis};

#[derive(Serialize)]
struct Shown {
    gate: String,
    bytes: usize,
    /// How long ago it was made by this machine's clock; negative for a time to come.
    age_ms: i64,
    request: Asked,
}

pub(super) fn open_packet(arguments: OpenPacket, config: Option<&Path>) -> Result<(), Failure> {
    let OpenPacket {
        first,
        second,
        named,
        json: in_json,
    } = arguments;
    // With --gate a single argument is the packet, for no profile is needed.
    let (profile, packet) = match (first, second, &named.gate) {
        (Some(packet), None, Some(_)) => (None, Some(packet)),
        (profile, packet, _) => (profile, packet),
    };
    if packet.is_none() && named.key_stdin {
        return Err(Failure::new(
            Exit::Usage,
            "key and packet cannot both come from standard input",
            "give the packet as an argument",
        ));
    }
    let (profile, keys) = gate::choose(profile.as_deref(), named, config)?;
    let packet = match packet {
        Some(packet) => packet,
        None => gate::read_input(PACKET_TEXT_MAX)?.to_string(),
    };
    let now = clock::wall();
    let opened = client::open_packet(&packet, &keys, now)
        .map_err(|error| Failure::said(exit(error), error))?;
    let made = Timestamp::from_millis(opened.request.timestamp_ms);
    if in_json {
        let age_ms = signed(now.since(made)).saturating_sub(signed(made.since(now)));
        let request = Asked::new(&opened.request, None);
        return json::write(
            "open-packet",
            Shown {
                gate: profile.gate.to_string(),
                bytes: opened.length,
                age_ms,
                request,
            },
        );
    }
    let age = match (now.since(made), made.since(now)) {
        (age, Duration::ZERO) => format!("{} ago", human(age)),
        (_, ahead) => format!("{} ahead of this machine's clock", human(ahead)),
    };
    say(&format!(
        "a knock of {} bytes, made {age}:\n{}",
        opened.length,
        words::listing(&profile.gate, &opened.request, None)
    ))
}

fn exit(error: NotOpened) -> Exit {
    match error {
        NotOpened::Text => Exit::Usage,
        NotOpened::Dropped(_) => Exit::Failed,
    }
}

fn signed(length: Duration) -> i64 {
    i64::try_from(millis(length)).unwrap_or(i64::MAX)
}
