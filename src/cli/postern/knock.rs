//! `postern knock` and `postern close`.
//!
//! Owns what is said of a knock; making and sending it is the client's work.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::{Action, GateName};

use super::arguments::{Asking, Close, Knock};
use super::json::{Asked, Knocked, KnockedAt, Waited};
use super::{gate, json, note, say, words};
use crate::address;
use crate::client::{self, Exit, Failure, Families, Opening, Prepared, Sent, Wish};
use crate::time::{human, millis};

pub(super) fn knock(arguments: Knock, config: Option<&Path>) -> Result<(), Failure> {
    let Knock { gate, asking, duration, wait } = arguments;
    let (profile, keys) = gate::choose(gate.profile.as_deref(), gate.named, config)?;
    let wish = Wish {
        gate: profile.gate,
        action: Action::Open,
        services: if asking.services.is_empty() { profile.services } else { asking.services.clone() },
        allow: asking.allow.unwrap_or(profile.allow),
        duration: duration.or(profile.duration),
        target: asking.target.clone().or(profile.target),
    };
    let wait = wait.map(|limit| Wait::for_port(&wish, limit)).transpose()?;
    let prepared = client::prepare(&wish, &profile.addresses, families(&asking), &keys)?;
    carry_out("knock", &asking, &wish.gate, prepared, wait)
}

/// Closes everything unless the command itself names services: those of the profile say what to open.
pub(super) fn close(arguments: Close, config: Option<&Path>) -> Result<(), Failure> {
    let Close { gate, asking } = arguments;
    let (profile, keys) = gate::choose(gate.profile.as_deref(), gate.named, config)?;
    let wish = Wish {
        gate: profile.gate,
        action: Action::Close,
        services: asking.services.clone(),
        allow: asking.allow.unwrap_or(profile.allow),
        duration: None,
        target: asking.target.clone().or(profile.target),
    };
    let prepared = client::prepare(&wish, &profile.addresses, families(&asking), &keys)?;
    carry_out("close", &asking, &wish.gate, prepared, None)
}

fn families(asking: &Asking) -> Families {
    match (asking.ipv4, asking.ipv6) {
        (true, _) => Families::V4,
        (false, true) => Families::V6,
        (false, false) => Families::Both,
    }
}

fn carry_out(command: &str, asking: &Asking, gate: &GateName, prepared: Prepared, wait: Option<Wait>) -> Result<(), Failure> {
    if asking.print || asking.dry_run {
        return show(command, asking, gate, &prepared);
    }
    let sent = prepared.send()?;
    if !asking.json {
        tell(gate, &sent)?;
    }
    let opening = wait.as_ref().map(|wait| wait.until_open(&sent));
    match (&opening, asking.json) {
        (Some(Some(opening)), false) => say(&format!("{} is open after {}\n", opening.at, human(whole_millis(opening.after))))?,
        (_, true) => json::write(command, in_json(gate, &sent, opening))?,
        (_, false) => {}
    }
    match (wait, opening) {
        (Some(wait), Some(None)) => Err(wait.in_vain()),
        _ => Ok(()),
    }
}

/// What would be sent: as packets, or as what they ask for.
fn show(command: &str, asking: &Asking, gate: &GateName, prepared: &Prepared) -> Result<(), Failure> {
    let packet = |knock: &client::Knock| asking.print.then(|| STANDARD.encode(knock.packet.as_bytes()));
    if asking.json {
        let knocks = prepared.knocks.iter().map(|knock| KnockedAt {
            to: knock.to.to_string(),
            sent: false,
            error: None,
            request: Some(Asked::new(&knock.request, Some(knock.to.is_ipv4()))),
            packet: packet(knock),
        });
        let unreachable = prepared.unreachable.iter().map(|(to, error)| unsent(*to, error));
        let mode = if asking.print { "printed" } else { "dry-run" };
        return json::write(command, Knocked { gate: gate.to_string(), mode, knocks: knocks.chain(unreachable).collect(), wait: None });
    }
    for knock in &prepared.knocks {
        match packet(knock) {
            Some(packet) => say(&format!("{packet}\n"))?,
            None => say(&format!("not sent to {}:\n{}", knock.to, words::listing(gate, &knock.request, Some(knock.to.is_ipv4()))))?,
        }
    }
    Ok(())
}

/// A family that the network does not have is nothing to speak of; any other failure is.
fn tell(gate: &GateName, sent: &[Sent]) -> Result<(), Failure> {
    for Sent { to, request, outcome } in sent {
        match (outcome, request) {
            (Ok(()), Some(request)) => say(&words::sentence(gate, *to, request))?,
            (Err(error), _) if !is_missing_family(error) => note(&format!("no knock to {to}: {error}; the other one was sent")),
            _ => {}
        }
    }
    Ok(())
}

fn is_missing_family(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable, Unsupported};
    matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkUnreachable | Unsupported)
}

fn in_json(gate: &GateName, sent: &[Sent], opening: Option<Option<Opening>>) -> Knocked {
    let knocks = sent.iter().map(|sent| KnockedAt {
        to: sent.to.to_string(),
        sent: sent.outcome.is_ok(),
        error: sent.outcome.as_ref().err().map(ToString::to_string),
        request: sent.request.as_ref().map(|request| Asked::new(request, Some(sent.to.is_ipv4()))),
        packet: None,
    });
    let wait = opening.map(|opening| Waited {
        open: opening.is_some(),
        address: opening.map(|opening| opening.at.to_string()),
        after_ms: opening.map(|opening| millis(opening.after)),
    });
    Knocked { gate: gate.to_string(), mode: "sent", knocks: knocks.collect(), wait }
}

fn unsent(to: SocketAddr, error: &io::Error) -> KnockedAt {
    KnockedAt { to: to.to_string(), sent: false, error: Some(error.to_string()), request: None, packet: None }
}

fn whole_millis(length: Duration) -> Duration {
    Duration::from_millis(millis(length).max(1))
}

/// What `--wait` waits for.
struct Wait {
    port: u16,
    limit: Duration,
}

impl Wait {
    fn for_port(wish: &Wish, limit: Duration) -> Result<Self, Failure> {
        match wish.tcp_port() {
            Some(port) => Ok(Self { port, limit }),
            None => Err(Failure::new(Exit::Usage, "--wait needs a TCP port to try", "ask for one such as tcp/22, or leave out --wait")),
        }
    }

    /// Tries the target of each knock that went out, or the gate itself.
    fn until_open(&self, sent: &[Sent]) -> Option<Opening> {
        let mut doors: Vec<SocketAddr> = Vec::new();
        for sent in sent.iter().filter(|sent| sent.outcome.is_ok()) {
            let target = sent.request.as_ref().and_then(|request| request.target);
            let mut door = sent.to;
            if let Some(target) = target {
                door = SocketAddr::new(address::from_wire(target), 0);
            }
            door.set_port(self.port);
            if !doors.contains(&door) {
                doors.push(door);
            }
        }
        client::wait_for(&doors, self.limit)
    }

    fn in_vain(&self) -> Failure {
        let what = format!("tcp/{} did not open within {}", self.port, human(self.limit));
        Failure::new(Exit::NotOpen, what, "look into the gate's log for this knock, and check key, gate name and both clocks")
    }
}
