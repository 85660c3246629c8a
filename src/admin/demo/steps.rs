//! Steps that several stories of the demo have.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use super::firewall;
use super::knock::SentKnock;
use super::probe_error::ProbeError;
use super::progress::Progress;
use super::world::{
    CLIENT_V4, CLIENT_V6, GATE_V4, GATE_V6, KNOCK_PORT, SERVICE_PORT, World, connect,
};
use crate::adapters::clock;
use crate::adapters::control::Status;
use crate::model::exit::ExitError;

/// A port that does not answer within this time is hidden.
pub(super) const PATIENCE: Duration = Duration::from_millis(800);

pub(super) fn hidden(
    progress: &mut Progress,
    world: &World,
    gate: IpAddr,
    title: &str,
) -> Result<(), ExitError> {
    let address = SocketAddr::new(gate, SERVICE_PORT);
    let attempt = world.at_client(move || connect(address, PATIENCE))?;
    let (silent, detail) = match attempt {
        Err(error) => (matches!(error, ProbeError::NoAnswer(_)), error.to_string()),
        Ok(took) => {
            let millis = took.as_millis();
            (false, format!("it is open: connected in {millis} ms"))
        }
    };
    progress.step(title, silent, &format!("{address}: {detail}"))
}

pub(super) fn rule_is_listed(progress: &mut Progress, world: &World) -> Result<(), ExitError> {
    let rules = firewall::rules(world)?;
    let is_listed = world.daemon.grants()?.len() == 1 && !rules.is_empty();
    progress.step("The firewall lists the rule", is_listed, &rules.join("\n"))
}

pub(super) fn grant_ends(progress: &mut Progress, world: &World) -> Result<(), ExitError> {
    let grants = world.daemon.grants()?;
    let left = grants.first().map(|grant| grant.until.since(clock::wall()));
    let limit = left
        .unwrap_or_default()
        .saturating_add(Duration::from_secs(2));
    let is_over = world.daemon.has_no_grant_within(limit) && firewall::rules(world)?.is_empty();
    let line = world.daemon.logged(&["closed", "its time is up"]);
    let title = "The grant ends by itself";
    progress.step(title, is_over, &line.unwrap_or_default())
}

pub(super) fn replay(
    progress: &mut Progress,
    world: &World,
    gate: IpAddr,
    packet: Vec<u8>,
) -> Result<(), ExitError> {
    // Within a second the gate counts the same bytes as a copy of one knock, later as a replay.
    thread::sleep(Duration::from_millis(1100));
    let to = SocketAddr::new(gate, KNOCK_PORT);
    let send = move || SentKnock::send(to, &packet).map(drop);
    let title = "A replay of the same packet is refused, with the reason";
    refused(progress, world, title, ("drop replay", 1), send)
}

pub(super) fn introduce(progress: &Progress, world: &World) -> Result<(), ExitError> {
    progress.say(&format!(
        "A gate at {GATE_V4} and {GATE_V6} runs posternd, with a service on tcp/{SERVICE_PORT}."
    ))?;
    progress.say(&format!("A client is at {CLIENT_V4} and {CLIENT_V6}."))?;
    if let Some(line) = world.daemon.logged(&["listening for knocks"]) {
        progress.say(&format!("  {line}"))?;
    }
    Ok(())
}

/// What the client sends is counted under this reason, so many times, and logged.
pub(super) fn refused(
    progress: &mut Progress,
    world: &World,
    title: &str,
    (reason, times): (&str, u64),
    send: impl FnOnce() -> Result<(), ProbeError> + Send + 'static,
) -> Result<(), ExitError> {
    let count = |status: Status| status.reasons.get(reason).copied();
    let expected = count(world.daemon.status()?).unwrap_or_default() + times;
    let sent = world.at_client(send)?;
    let refused = world.daemon.wait_for(Duration::from_secs(2), || {
        let counted = world.daemon.status().ok().and_then(count);
        counted.filter(|counted| *counted == expected)
    });
    // The line of a refused knock is a sentence.
    let words: Vec<&str> = reason.split(' ').collect();
    let line = world.daemon.logged(&words).unwrap_or_default();
    progress.step(title, sent.is_ok() && refused.is_some(), &line)
}

pub(super) fn time_to_open(opened: &Result<Duration, ProbeError>, sent: &str) -> String {
    match opened {
        Ok(took) => {
            let millis = took.as_secs_f64() * 1e3;
            format!("open {millis:.2} ms after {sent} was sent")
        }
        Err(error) => error.to_string(),
    }
}
