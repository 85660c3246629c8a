//! Opens a knock with the client's own keys and tells at which step a gate would drop it (PROTOCOL section 6, steps 1 to 6).
//!
//! For debugging, so it looks further than a gate does: hints of other times are tried, and a packet's age is told, not judged.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::{OpenBuffer, Packet, Request, Step, UserKeys};

use crate::model::reason::Drop;
use crate::model::time::Timestamp;

/// More text than any packet has, line ends included.
pub const PACKET_TEXT_MAX: usize = 4096;

/// How far from now hints are tried.
const HINTS_AROUND: Duration = Duration::from_hours(7 * 24);

/// A knock that opened.
#[derive(Debug)]
pub struct Opened {
    /// What it says.
    pub request: Request,
    /// Bytes of the packet.
    pub length: usize,
}

/// Why a packet did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// The text is not base64.
    Text,
    /// A gate with these keys would drop it at this step.
    Dropped(Drop),
}

impl NotOpened {
    /// The step of PROTOCOL section 6; none if it did not come as far as the first.
    pub fn step(self) -> Option<u8> {
        match self {
            Self::Text => None,
            Self::Dropped(dropped) => Some(dropped.step()),
        }
    }
}

/// What failed, and what to do.
impl fmt::Display for NotOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = match self {
            Self::Text => {
                return f.write_str(
                    "the packet is not base64; give it as postern knock --print wrote it",
                );
            }
            Self::Dropped(dropped) => dropped,
        };
        write!(
            f,
            "the packet fails at step {}, {}: ",
            self.step().unwrap_or_default(),
            dropped.name()
        )?;
        match dropped {
            Drop::Length => f.write_str("a knock has 132 to 516 bytes; give the whole packet"),
            Drop::UnknownHint => f.write_str("it was not made with this key for this gate name; check both, they are case-sensitive"),
            Drop::BadMac => f.write_str("its hint fits but it was changed on its way, or the hint fits by chance; take the packet again"),
            Drop::BadSeal => f.write_str("its mac fits but its body does not open; the program that made it is at fault"),
            Drop::Malformed(rule) => write!(f, "{rule}; the program that made it is at fault"),
            Drop::StepMismatch => f.write_str("its hint and its time do not fit together; the program that made it is at fault"),
            Drop::TooOld | Drop::TooNew | Drop::Replay | Drop::Duplicate => f.write_str("a gate would drop it; knock again"),
        }
    }
}

/// Decodes a packet in base64 and opens it.
///
/// # Errors
/// The first step that it fails at.
pub fn open_packet(text: &str, keys: &UserKeys, now: Timestamp) -> Result<Opened, NotOpened> {
    let compact: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(compact).map_err(|_| NotOpened::Text)?;
    open(&bytes, keys, now)
        .map(|request| Opened {
            request,
            length: bytes.len(),
        })
        .map_err(NotOpened::Dropped)
}

fn open(bytes: &[u8], keys: &UserKeys, now: Timestamp) -> Result<Request, Drop> {
    let packet = Packet::parse(bytes).map_err(|_| Drop::Length)?;
    // A mac that fits says whose packet it is, however far away the time of its hint.
    if !keys.verify(&packet) {
        return Err(if hint_fits(&packet, keys, now) {
            Drop::BadMac
        } else {
            Drop::UnknownHint
        });
    }
    let mut buffer = OpenBuffer::new();
    let body = keys.open(&packet, &mut buffer).map_err(|_| Drop::BadSeal)?;
    let request = Request::decode(body).map_err(Drop::Malformed)?;
    if keys.hint_key().hint(request.step()) == packet.hint() {
        Ok(request)
    } else {
        Err(Drop::StepMismatch)
    }
}

fn hint_fits(packet: &Packet<'_>, keys: &UserKeys, now: Timestamp) -> bool {
    let key = keys.hint_key();
    Step::touching(now.as_millis(), crate::model::time::millis(HINTS_AROUND))
        .any(|step| key.hint(step) == packet.hint())
}

#[cfg(test)]
mod tests {
    use postern_proto::{
        Action, Allow, GateName, Item, KeyMaterial, Malformed, Protocol, Service, SharedKey, seal,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    fn keys(gate: &str) -> UserKeys {
        UserKeys::derive(
            &GateName::new(gate).unwrap(),
            &KeyMaterial::shared(&SharedKey::from_bytes([7; 32])),
        )
    }

    fn request() -> Request {
        let ssh = Item::Service(Service::new(Protocol::Tcp, 22, 22).unwrap());
        let allow = Allow::Source { prefix: 128 };
        Request {
            action: Action::Open,
            allow,
            timestamp_ms: NOW.as_millis(),
            duration_s: 0,
            target: None,
            items: vec![ssh],
        }
    }

    fn packet() -> Vec<u8> {
        seal(&keys("g"), &request(), [9; 12], 64)
            .unwrap()
            .as_bytes()
            .to_vec()
    }

    #[test]
    fn a_packet_opens_with_its_own_keys_whatever_its_age_and_however_it_is_wrapped() {
        let text = STANDARD.encode(packet());
        let wrapped = format!("{}\n  {}\r\n", &text[..76], &text[76..]);
        for now in [
            NOW,
            NOW.plus(Duration::from_hours(10_000)),
            NOW.minus(Duration::from_hours(10_000)),
        ] {
            let opened = open_packet(&wrapped, &keys("g"), now).unwrap();
            assert_eq!((opened.request, opened.length), (request(), 132));
        }
    }

    #[test]
    fn each_step_that_can_fail_is_named() {
        let fails = |bytes: &[u8], keys: &UserKeys| open(bytes, keys, NOW).unwrap_err();
        assert_eq!(fails(&packet()[1..], &keys("g")), Drop::Length);
        assert_eq!(fails(&packet(), &keys("h")), Drop::UnknownHint);
        let mut changed = packet();
        changed[60] ^= 1;
        assert_eq!(fails(&changed, &keys("g")), Drop::BadMac);
        assert_eq!(
            open(&changed, &keys("g"), NOW.plus(Duration::from_hours(1000))).unwrap_err(),
            Drop::UnknownHint
        );
        assert_eq!(
            open_packet("no base64!", &keys("g"), NOW).unwrap_err(),
            NotOpened::Text
        );
    }

    #[test]
    fn every_failure_says_its_step_and_what_to_do() {
        let malformed = Drop::Malformed(Malformed::Version);
        for (step, dropped) in [
            Drop::Length,
            Drop::UnknownHint,
            Drop::BadMac,
            Drop::BadSeal,
            malformed,
            Drop::StepMismatch,
        ]
        .into_iter()
        .enumerate()
        {
            let said = NotOpened::Dropped(dropped).to_string();
            assert!(
                said.contains(&format!("step {}, {}", step + 1, dropped.name()))
                    && said.contains("; "),
                "{said}"
            );
        }
    }
}
