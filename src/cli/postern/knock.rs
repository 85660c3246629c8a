//! `postern knock` and `postern close`.
//!
//! Owns what is said of a knock; making and sending it is the client's work.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::GateName;

use super::arguments::{Close, Knock, Showing};
use super::json::{Asked, Knocked, KnockedAt, Waited};
use super::plan::Plan;
use super::{code, json, note, say, words};
use crate::client::{self, Exit, Failure, KnockRequest, Prepared, Sent, ServiceOpen};
use crate::model::time::human;

pub(super) fn knock(arguments: Knock, config: Option<&Path>) -> Result<(), Failure> {
    let Knock {
        gate,
        asking,
        target,
        length,
        code_stdin,
        wait,
        spoof_source,
        showing,
    } = arguments;
    let mut plan =
        Plan::to_open(gate, asking, target, length.duration, config)?.forged_from(spoof_source);
    let wait = wait
        .map(|limit| Wait::for_port(&plan.wish, limit))
        .transpose()?;
    // Who only looks is not asked for a code.
    if !showing.dry_run {
        plan.wish.items()?;
        plan.wish.code = code::obtain(code_stdin, plan.code.as_ref(), &plan.wish.gate)?;
    }
    carry_out("knock", &showing, &plan, wait)
}

pub(super) fn close(arguments: Close, config: Option<&Path>) -> Result<(), Failure> {
    let Close {
        gate,
        asking,
        target,
        showing,
    } = arguments;
    carry_out(
        "close",
        &showing,
        &Plan::to_close(gate, asking, target, config)?,
        None,
    )
}

fn carry_out(
    command: &str,
    showing: &Showing,
    plan: &Plan,
    wait: Option<Wait>,
) -> Result<(), Failure> {
    let (gate, prepared) = (
        &plan.wish.gate,
        client::prepare(&plan.wish, &plan.way, &plan.keys)?,
    );
    if showing.print || showing.dry_run {
        return show(command, showing, gate, &prepared);
    }
    let sent = prepared.send()?;
    if !showing.json {
        tell(gate, &sent)?;
    }
    let opening = wait.as_ref().map(|wait| wait.until_open(&sent));
    match (&opening, showing.json) {
        (Some(Some(opening)), false) => say(&format!("{}\n", words::opened(opening)))?,
        (_, true) => json::write(command, in_json(gate, &sent, opening))?,
        (_, false) => {}
    }
    match (wait, opening) {
        (Some(wait), Some(None)) => Err(wait.in_vain()),
        _ => Ok(()),
    }
}

/// What would be sent: as packets, or as what they ask for.
fn show(
    command: &str,
    showing: &Showing,
    gate: &GateName,
    prepared: &Prepared,
) -> Result<(), Failure> {
    let packet = |knock: &client::Knock| {
        showing
            .print
            .then(|| STANDARD.encode(knock.packet.as_bytes()))
    };
    if showing.json {
        let knocks = prepared.knocks.iter().map(|knock| KnockedAt {
            to: knock.to.to_string(),
            sent: false,
            error: None,
            request: Some(Asked::new(&knock.request, Some(knock.to.is_ipv4()))),
            packet: packet(knock),
        });
        let unreachable = prepared
            .unreachable
            .iter()
            .map(|(to, error)| unsent(*to, error));
        let mode = if showing.print { "printed" } else { "dry-run" };
        return json::write(
            command,
            Knocked {
                gate: gate.to_string(),
                mode,
                knocks: knocks.chain(unreachable).collect(),
                wait: None,
            },
        );
    }
    for knock in &prepared.knocks {
        match packet(knock) {
            Some(packet) => say(&format!("{packet}\n"))?,
            None => say(&format!(
                "not sent to {}:\n{}",
                knock.to,
                words::listing(gate, &knock.request, Some(knock.to.is_ipv4()))
            ))?,
        }
    }
    Ok(())
}

/// A family that the network does not have is nothing to speak of; any other failure is.
fn tell(gate: &GateName, sent: &[Sent]) -> Result<(), Failure> {
    for one in sent {
        match (&one.outcome, &one.request) {
            (Ok(()), Some(request)) => {
                say(&format!("{}\n", words::sentence(gate, one.to, request)))?
            }
            _ => complain(one),
        }
    }
    Ok(())
}

/// The same on standard error, for commands whose standard output is another's.
pub(super) fn tell_aside(gate: &GateName, sent: &[Sent]) {
    for one in sent {
        match (&one.outcome, &one.request) {
            (Ok(()), Some(request)) => note(&words::sentence(gate, one.to, request)),
            _ => complain(one),
        }
    }
}

fn complain(sent: &Sent) {
    match &sent.outcome {
        Err(error) if !is_missing_family(error) => note(&format!(
            "no knock to {}: {error}; the other one was sent",
            sent.to
        )),
        _ => {}
    }
}

fn is_missing_family(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable, Unsupported};
    matches!(
        error.kind(),
        AddrNotAvailable | HostUnreachable | NetworkUnreachable | Unsupported
    )
}

fn in_json(gate: &GateName, sent: &[Sent], opening: Option<Option<ServiceOpen>>) -> Knocked {
    Knocked {
        gate: gate.to_string(),
        mode: "sent",
        knocks: KnockedAt::all(sent),
        wait: opening.map(Waited::of),
    }
}

fn unsent(to: SocketAddr, error: &io::Error) -> KnockedAt {
    KnockedAt {
        to: to.to_string(),
        sent: false,
        error: Some(error.to_string()),
        request: None,
        packet: None,
    }
}

/// What `--wait` waits for.
struct Wait {
    port: u16,
    limit: Duration,
}

impl Wait {
    fn for_port(wish: &KnockRequest, limit: Duration) -> Result<Self, Failure> {
        match wish.tcp_port() {
            Some(port) => Ok(Self { port, limit }),
            None => Err(Failure::new(
                Exit::Usage,
                "--wait needs a TCP port to try",
                "ask for one such as tcp/22, or leave out --wait",
            )),
        }
    }

    fn until_open(&self, sent: &[Sent]) -> Option<ServiceOpen> {
        client::wait_for(&client::doors(sent, self.port), self.limit)
    }

    fn in_vain(&self) -> Failure {
        in_vain(&format!("tcp/{}", self.port), self.limit)
    }
}

/// A port that did not open: why, nobody says but the gate's log.
pub(super) fn in_vain(what: &str, limit: Duration) -> Failure {
    let what = format!("{what} did not open within {}", human(limit));
    Failure::new(
        Exit::NotOpen,
        what,
        "the gate answers nobody, but posternd explain --live there says of the next knock why",
    )
}
