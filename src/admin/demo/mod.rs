//! `posternd demo`: a real daemon, a real client and a real firewall in temporary namespaces, step by step.
//!
//! Checks every step, and succeeds only if all pass.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use base64::Engine;

use crate::adapters::clock;
use crate::adapters::control::Status;
use crate::adapters::{process, random};
use crate::model::exit::{ExitError, FAILED};
use crate::model::time;

mod firewall;
mod interrupt;
mod knock;
mod link;
mod namespaces;
mod probe_error;
mod progress;
mod speed;
mod world;

use interrupt::Interrupt;
use knock::SentKnock;
use probe_error::ProbeError;
use progress::Progress;
use world::{
    CLIENT_V4, CLIENT_V6, GATE_V4, GATE_V6, KNOCK_PORT, PROFILES, SERVICE_PORT, World, connect,
};

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print JSON, for programs: one object for each step
    #[arg(long)]
    json: bool,
    /// Use this firewall driver: auto, iptables or nftables
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = ["auto", "iptables", "nftables"])]
    backend: String,
}

const OPEN_FOR: Duration = Duration::from_secs(4);

/// A port that does not answer within this time is hidden.
const PATIENCE: Duration = Duration::from_millis(800);

/// Runs the demo. A failed step ends in exit 1.
pub(crate) fn run(options: &Options) -> Result<ExitCode, ExitError> {
    let started = clock::instant();
    let note = namespaces::leave_host()?;
    let interrupt = Interrupt::take()?;
    let mut progress = Progress {
        json: options.json,
        interrupt: interrupt.clone(),
        steps: 0,
        failed: 0,
    };
    progress.say(&format!("Postern demo, {note}."))?;
    let result = all_steps(&mut progress, options);
    // A terminal interrupts the daemon, too, so other errors do not matter then.
    interrupt.check()?;
    result?;
    let took = time::human(Duration::from_secs(clock::elapsed(started).as_secs()));
    let steps = progress.steps;
    if progress.failed > 0 {
        progress.say(&format!(
            "{} of {steps} steps failed ({took}).",
            progress.failed
        ))?;
        return Ok(ExitCode::from(FAILED));
    }
    progress.say(&format!(
        "All {steps} steps passed ({took}). Nothing is left behind."
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn all_steps(progress: &mut Progress, options: &Options) -> Result<(), ExitError> {
    let key: [u8; 32] = random::bytes().map_err(ExitError::system("making a key"))?;
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    let mut world = World::make(&key, progress.interrupt.clone())?;
    world.start_daemon(&key, &options.backend)?;
    progress.say(&format!(
        "A gate at {GATE_V4} and {GATE_V6} runs posternd, with a service on tcp/{SERVICE_PORT}."
    ))?;
    progress.say(&format!("A client is at {CLIENT_V4} and {CLIENT_V6}."))?;
    if let Some(line) = world.logged(&["listening for knocks"]) {
        progress.say(&format!("  {line}"))?;
    }
    full_steps(progress, &world, "home", IpAddr::V4(GATE_V4))?;
    progress.say("The same over IPv6:")?;
    short_steps(progress, &world, "home6", IpAddr::V6(GATE_V6))?;
    progress.say("How fast it is:")?;
    speed_steps(progress, &world)?;
    if options.backend == "auto" && process::find("iptables-restore").is_some() {
        world.start_daemon(&key, "iptables")?;
        speed_steps(progress, &world)?;
    }
    Ok(())
}

fn full_steps(
    progress: &mut Progress,
    world: &World,
    profile: &str,
    gate: IpAddr,
) -> Result<(), ExitError> {
    let title = "The port is hidden: a connection attempt times out";
    hidden(progress, world, gate, title)?;

    let packet = world.packet(profile, OPEN_FOR)?;
    let sent = packet.clone();
    let service = SocketAddr::new(gate, SERVICE_PORT);
    let knock = SocketAddr::new(gate, KNOCK_PORT);
    let knocked = world.at_client(move || {
        let (knock, opened) = speed::knock_and_connect(service, knock, &sent)?;
        Ok((opened, knock.answer()))
    })?;
    let (opened, answer) = knocked.map_err(|error: ProbeError| ExitError::new(FAILED, error))?;
    let back = answer.as_deref().unwrap_or("nothing");
    let title = "One knock: one UDP packet, to which nothing answers";
    let sent = format!(
        "{} random-looking bytes to {gate} port {KNOCK_PORT}",
        packet.len()
    );
    progress.step(title, answer.is_none(), &format!("{sent}; received {back}"))?;
    let rules = firewall::rules(world)?;
    let is_listed = world.grants()?.len() == 1 && !rules.is_empty();
    progress.step("The firewall lists the rule", is_listed, &rules.join("\n"))?;
    let detail = match &opened {
        Ok(took) => {
            let millis = took.as_secs_f64() * 1e3;
            format!("open {millis:.2} ms after the knock was sent")
        }
        Err(error) => error.to_string(),
    };
    progress.step("The connection succeeds", opened.is_ok(), &detail)?;

    replay(progress, world, gate, packet)?;

    let grants = world.grants()?;
    let left = grants.first().map(|grant| grant.until.since(clock::wall()));
    let limit = left
        .unwrap_or_default()
        .saturating_add(Duration::from_secs(2));
    let is_over = world.has_no_grant_within(limit) && firewall::rules(world)?.is_empty();
    let line = world.logged(&["closed", "its time is up"]);
    progress.step(
        "The grant ends by itself",
        is_over,
        &line.unwrap_or_default(),
    )?;
    hidden(progress, world, gate, "Hidden again")
}

fn short_steps(
    progress: &mut Progress,
    world: &World,
    profile: &str,
    gate: IpAddr,
) -> Result<(), ExitError> {
    hidden(progress, world, gate, "The port is hidden")?;
    let file = world.profile(profile);
    let (succeeded, output) =
        world.postern(&["knock", profile, "--config", &file, "--for", "2s", "--wait"])?;
    progress.step("postern knock --wait", succeeded, &output)?;
    let is_over = world.has_no_grant_within(Duration::from_secs(5));
    progress.step("The grant ends by itself", is_over, "")?;
    hidden(progress, world, gate, "Hidden again")
}

fn hidden(
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

/// Every knock must open the port. The times are printed, not judged.
fn speed_steps(progress: &mut Progress, world: &World) -> Result<(), ExitError> {
    for (profile, gate) in PROFILES {
        let times = speed::measure(world, profile, gate)?;
        let backend = world.backend();
        let title = format!("Knock to open port at {gate}, firewall by {backend}");
        progress.step(&title, times.all_opened(), &times.to_string())?;
    }
    Ok(())
}

fn replay(
    progress: &mut Progress,
    world: &World,
    gate: IpAddr,
    packet: Vec<u8>,
) -> Result<(), ExitError> {
    // Within a second the gate counts the same bytes as a copy of one knock, later as a replay.
    thread::sleep(Duration::from_millis(1100));
    let count = |status: Status| status.reasons.get("drop replay").copied();
    let before = count(world.status()?).unwrap_or_default();
    let to = SocketAddr::new(gate, KNOCK_PORT);
    let sent = world.at_client(move || SentKnock::send(to, &packet))?;
    let refused = world.wait_for(Duration::from_secs(2), || {
        let counted = world.status().ok().and_then(count);
        counted.filter(|counted| *counted == before + 1)
    });
    let line = world.logged(&["drop replay"]).unwrap_or_default();
    let title = "A replay of the same packet is refused, with the reason";
    progress.step(title, sent.is_ok() && refused.is_some(), &line)
}
