//! `posternd demo --classic`: a port sequence and a packet of fwknop open the port. Both are made here, so no client is needed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_fwknop::{Allow, Key, MacKind, Message, Port, Protocol, Request};

use super::knock::{SentKnock, begin_connection};
use super::probe_error::ProbeError;
use super::progress::Progress;
use super::speed::send_and_connect;
use super::steps::{grant_ends, hidden, introduce, refused, replay, rule_is_listed, time_to_open};
use super::world::{CLIENT_V4, GATE_V4, GATE_V6, KNOCK_PORT, SERVICE_PORT, World};
use crate::adapters::{clock, random};
use crate::model::exit::{ExitError, FAILED};

#[derive(Clone, Copy)]
enum Hit {
    Tcp(u16),
    Udp(u16),
}

const SEQUENCE: [Hit; 3] = [Hit::Tcp(7000), Hit::Tcp(8000), Hit::Udp(9000)];
const WRONG_ORDER: [Hit; 3] = [Hit::Tcp(7000), Hit::Udp(9000), Hit::Tcp(8000)];

/// A packet of fwknop asks for so many seconds.
const TIMEOUT_S: u32 = 3;
/// A port that no policy names.
const OTHER_PORT: u16 = SERVICE_PORT + 1;

pub(super) fn all_steps(
    progress: &mut Progress,
    world: &mut World,
    backend: &str,
) -> Result<(), ExitError> {
    let keys: [u8; 64] = random::bytes().map_err(ExitError::system("making keys"))?;
    let (key, mac_key) = keys.split_at(32);
    world.start_daemon(&users(key, mac_key), backend)?;
    introduce(progress, world)?;
    progress
        .say("User bob has a port sequence, as knockd has them. User carol has keys of fwknop.")?;

    let gate = IpAddr::V4(GATE_V4);
    let title = "The port is hidden: a connection attempt times out";
    hidden(progress, world, gate, title)?;
    let title = format!("The wrong order opens nothing ({})", listed(WRONG_ORDER));
    let wrong = move || hit(gate, &WRONG_ORDER);
    // The first hit is right. The other two are not the next.
    refused(progress, world, &title, ("drop wrong-hit", 2), wrong)?;
    hidden(progress, world, gate, "Still hidden")?;
    sequence_opens(progress, world, gate)?;
    rule_is_listed(progress, world)?;
    grant_ends(progress, world)?;
    hidden(progress, world, gate, "Hidden again")?;

    let key = Key::new(key, MacKind::Sha256, mac_key);
    let key = key.map_err(|error| ExitError::new(FAILED, format!("{error:?}")))?;
    let packet = fwknop_opens(progress, world, gate, &key)?;
    replay(progress, world, gate, packet)?;
    let other = packet_for(&key, OTHER_PORT)?;
    let to = SocketAddr::new(gate, KNOCK_PORT);
    let send = move || SentKnock::send(to, &other).map(drop);
    let title = "A packet for a port outside the policy is refused";
    refused(progress, world, title, ("refuse services", 1), send)?;
    grant_ends(progress, world)?;
    hidden(progress, world, gate, "Hidden again")?;

    progress
        .say("The same sequence over IPv6. It has no key: anyone who sees it can repeat it.")?;
    let gate = IpAddr::V6(GATE_V6);
    hidden(progress, world, gate, "The port is hidden")?;
    sequence_opens(progress, world, gate)?;
    grant_ends(progress, world)?;
    hidden(progress, world, gate, "Hidden again")
}

fn users(key: &[u8], mac_key: &[u8]) -> String {
    let [key, mac_key] = [key, mac_key].map(|key| STANDARD.encode(key));
    let sequence = SEQUENCE.map(|hit| format!("\"{hit}\"")).join(", ");
    format!(
        "[[user]]\nname = \"bob\"\nsequence = [{sequence}]\nservices = [\"tcp/{SERVICE_PORT}\"]\nduration = \"{TIMEOUT_S}s\"\n\n\
         [[user]]\nname = \"carol\"\nfwknop = {{ key = \"{key}\", hmac_key = \"{mac_key}\" }}\nservices = [\"tcp/{SERVICE_PORT}\"]\n"
    )
}

fn sequence_opens(progress: &mut Progress, world: &World, gate: IpAddr) -> Result<(), ExitError> {
    let service = SocketAddr::new(gate, SERVICE_PORT);
    let sent = world.at_client(move || send_and_connect(service, || hit(gate, &SEQUENCE)))?;
    let opened = sent.and_then(|((), opened)| opened);
    let detail = time_to_open(&opened, "the first hit");
    let title = format!("The right order opens the port ({})", listed(SEQUENCE));
    progress.step(&title, opened.is_ok(), &detail)
}

fn fwknop_opens(
    progress: &mut Progress,
    world: &World,
    gate: IpAddr,
    key: &Key,
) -> Result<Vec<u8>, ExitError> {
    let packet = packet_for(key, SERVICE_PORT)?;
    let service = SocketAddr::new(gate, SERVICE_PORT);
    let (to, bytes) = (SocketAddr::new(gate, KNOCK_PORT), packet.clone());
    let sent = world.at_client(move || {
        let (knock, opened) = send_and_connect(service, || SentKnock::send(to, &bytes))?;
        Ok((opened, knock.answer()))
    })?;
    let (opened, answer) = sent.map_err(|error: ProbeError| ExitError::new(FAILED, error))?;
    let back = answer.as_deref().unwrap_or("nothing");
    let detail = time_to_open(&opened, "the packet");
    let length = packet.len();
    let like = format!("fwknop -A tcp/{SERVICE_PORT} -a {CLIENT_V4} -f {TIMEOUT_S} -D {gate}");
    let detail = format!("{length} bytes, like those of {like}; received {back}\n{detail}");
    let passed = opened.is_ok() && answer.is_none();
    progress.step("A packet of fwknop opens the port", passed, &detail)?;
    Ok(packet)
}

fn packet_for(key: &Key, port: u16) -> Result<Vec<u8>, ExitError> {
    let bytes: [u8; 16] = random::bytes().map_err(ExitError::system("making a packet"))?;
    let ports = NonZeroU16::new(port).map(|number| Port {
        protocol: Protocol::Tcp,
        number,
    });
    let request = Request {
        user: "carol".to_owned(),
        timestamp_s: clock::wall().as_millis() / 1000,
        allow: Allow::Address(CLIENT_V4),
        message: Message::Access(ports.into_iter().collect()),
        timeout_s: Some(TIMEOUT_S),
    };
    let packet = key.seal(&request, &bytes);
    let packet = packet.map_err(|error| ExitError::new(FAILED, error.as_str()))?;
    Ok(packet.into_bytes())
}

/// Sends what `knock` of knockd sends: one SYN or one datagram for each hit.
fn hit(gate: IpAddr, hits: &[Hit]) -> Result<(), ProbeError> {
    hits.iter().try_for_each(|hit| match hit {
        Hit::Tcp(port) => begin_connection(SocketAddr::new(gate, *port)).map(drop),
        Hit::Udp(port) => SentKnock::send(SocketAddr::new(gate, *port), &[0]).map(drop),
    })
}

fn listed(hits: [Hit; 3]) -> String {
    hits.map(|hit| hit.to_string()).join(", ")
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Udp(port) => write!(f, "udp/{port}"),
        }
    }
}
