//! `postern open-packet`: shows what a packet asks for, or the step at which a gate would drop it.
//!
//! The packet is not secret and may be an argument; the key is never one.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::arguments::OpenPacket;
use super::json::{self, RequestJson};
use super::output::say;
use super::{
    gate::{self, Way},
    words,
};
use crate::adapters::clock;
use crate::client::{self, OpenError, PACKET_TEXT_MAX};
use crate::model::exit::{ExitError, FAILED, USAGE};
use crate::model::time::{Timestamp, human};

#[derive(Serialize)]
struct PacketJson {
    gate: String,
    bytes: usize,
    /// The age by this machine's clock; negative for a time in the future.
    age_ms: i64,
    request: RequestJson,
}

pub(super) fn open_packet(arguments: OpenPacket, config: Option<&Path>) -> Result<(), ExitError> {
    let named = arguments.named;
    // With --gate, a single argument is the packet.
    let (profile, packet) = match (arguments.first, arguments.second, &named.gate) {
        (Some(packet), None, Some(_)) => (None, Some(packet)),
        (profile, packet, _) => (profile, packet),
    };
    if packet.is_none() && named.key_stdin {
        let what = "key and packet cannot both come from standard input";
        let cure = "give the packet as an argument";
        return Err(ExitError::new(USAGE, format!("{what}; {cure}")));
    }
    let (profile, secrets) = gate::choose(Way::Any, profile.as_deref(), named, config)?;
    let packet = match packet {
        Some(packet) => packet,
        None => gate::read_input(PACKET_TEXT_MAX)?.to_string(),
    };
    let now = clock::wall();
    let opened = client::open_packet(&packet, &secrets, now).map_err(|error| match error {
        OpenError::NotBase64 | OpenError::NoKey | OpenError::NotOurs => {
            ExitError::new(USAGE, error)
        }
        OpenError::Dropped(_) => ExitError::new(FAILED, error),
    })?;
    let made = Timestamp::from_millis(opened.request.timestamp_ms);
    let (age, ahead) = (now.since(made), made.since(now));
    if arguments.json {
        let packet = PacketJson {
            gate: profile.gate.to_string(),
            bytes: opened.length,
            age_ms: now.age_of(made),
            request: RequestJson::new(&opened.request, None),
        };
        return json::write("open-packet", packet);
    }
    let age = match ahead {
        Duration::ZERO => format!("{} ago", human(age)),
        ahead => format!("{} ahead of this machine's clock", human(ahead)),
    };
    let listing = words::listing(&profile.gate, &opened.request, None);
    say(&format!(
        "a knock of {} bytes, made {age}:\n{listing}",
        opened.length
    ))
}
