//! Opens a packet with the client's keys, and names the step at which a gate would drop it
//! (`proto/README.md`, section 6, steps 1 to 6).
//!
//! For debugging: it also tries hints of other times, and reports the age of a packet without judging it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::{OpenBuffer, Packet, Request, Step, UserKeys};

use super::secrets::Secrets;
use crate::model::reason::Drop;
use crate::model::time::{Timestamp, millis};

pub(crate) const PACKET_TEXT_MAX: usize = 4096;

const HINTS_AROUND: Duration = Duration::from_hours(7 * 24);

#[derive(Debug)]
pub(crate) struct OpenedPacket {
    pub(crate) request: Request,
    pub(crate) length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the packet is not base64; give it as postern knock --print wrote it")]
    NotBase64,
    #[error("a sequence has no packet to open; give a profile with a key")]
    NoKey,
    #[error(
        "open-packet reads packets of Postern's own; at the gate, posternd explain reads this one"
    )]
    NotOurs,
    #[error("the packet fails at step {}, {}: {}", .0.step(), .0.name(), explanation(.0))]
    Dropped(Drop),
}

fn explanation(dropped: &Drop) -> String {
    let text = match dropped {
        Drop::Length => "a knock has 132 to 516 bytes; give the whole packet",
        Drop::UnknownHint => {
            "it was not made with this key for this gate name; check both, they are case-sensitive"
        }
        Drop::BadMac => {
            "its hint fits, but it was changed, or the hint fits by chance; capture it again"
        }
        Drop::BadSeal => "its MAC fits, but its body does not open; the sending program is faulty",
        Drop::Malformed(rule) => return format!("{rule}; the sending program is faulty"),
        Drop::StepMismatch => "its hint does not fit its time; the sending program is faulty",
        Drop::WrongHit => "it is no knock, but a part of a sequence",
        Drop::TooOld
        | Drop::TooNew
        | Drop::Replay
        | Drop::Duplicate
        | Drop::FwknopBusy
        | Drop::Fwknop(_) => "a gate would drop it; knock again",
    };
    text.to_owned()
}

pub(crate) fn open_packet(
    text: &str,
    secrets: &Secrets,
    now: Timestamp,
) -> Result<OpenedPacket, OpenError> {
    let keys = match secrets {
        Secrets::Postern(keys) => keys,
        Secrets::Fwknop(_) => return Err(OpenError::NotOurs),
        Secrets::Sequence(_) => return Err(OpenError::NoKey),
    };
    let compact: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(compact).map_err(|_| OpenError::NotBase64)?;
    let request = open(&bytes, keys, now).map_err(OpenError::Dropped)?;
    let length = bytes.len();
    Ok(OpenedPacket { request, length })
}

fn open(bytes: &[u8], keys: &UserKeys, now: Timestamp) -> Result<Request, Drop> {
    let packet = Packet::parse(bytes).map_err(|_| Drop::Length)?;
    let hint_key = keys.hint_key();
    // The MAC covers all times: a packet of any age is recognized.
    if !keys.verify(&packet) {
        let mut steps = Step::touching(now.as_millis(), millis(HINTS_AROUND));
        return Err(if steps.any(|step| hint_key.hint(step) == packet.hint()) {
            Drop::BadMac
        } else {
            Drop::UnknownHint
        });
    }
    let mut buffer = OpenBuffer::new();
    let body = keys.open(&packet, &mut buffer).map_err(|_| Drop::BadSeal)?;
    let request = Request::decode(body).map_err(Drop::Malformed)?;
    if hint_key.hint(request.step()) == packet.hint() {
        Ok(request)
    } else {
        Err(Drop::StepMismatch)
    }
}

#[cfg(test)]
mod tests {
    use postern_proto::{Action, Allow, GateName, KeyMaterial, SharedKey, seal};

    use super::*;

    #[test]
    fn wrapped_packet_of_any_age_opens() {
        let material = KeyMaterial::shared(&SharedKey::from_bytes([7; 32]));
        let derive = || UserKeys::derive(&GateName::new("g").unwrap(), &material);
        let secrets = Secrets::Postern(derive());
        let now = Timestamp::from_millis(1_760_000_000_000);
        let request = Request {
            action: Action::Close,
            allow: Allow::Source { prefix: 128 },
            timestamp_ms: now.as_millis(),
            duration_s: 0,
            target: None,
            items: Vec::new(),
        };
        let sealed = seal(&derive(), &request, [9; 12], 64).unwrap();
        let text = STANDARD.encode(sealed.as_bytes());
        let wrapped = format!("{}\n  {}\r\n", &text[..76], &text[76..]);
        let year = Duration::from_hours(10_000);
        for now in [now, now.plus(year), now.minus(year)] {
            let opened = open_packet(&wrapped, &secrets, now).unwrap();
            assert_eq!((&opened.request, opened.length), (&request, 132));
        }
    }
}
