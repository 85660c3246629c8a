//! `posternd demo`: a real daemon, a real client and a real firewall in temporary namespaces, step by step.
//!
//! Checks every step, and succeeds only if all pass.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;

use crate::adapters::{clock, process, random};
use crate::model::exit::{ExitError, FAILED};
use crate::model::time;

mod classic;
mod client;
mod cluster;
mod cluster_world;
mod daemon;
mod firewall;
mod interrupt;
mod knock;
mod link;
mod namespaces;
mod probe_error;
mod progress;
mod speed;
mod steps;
mod world;

use interrupt::Interrupt;
use knock::SentKnock;
use probe_error::ProbeError;
use progress::Progress;
use steps::{grant_ends, hidden, introduce, replay, rule_is_listed, time_to_open};
use world::{GATE_V4, GATE_V6, KNOCK_PORT, PROFILES, SERVICE_PORT, World};

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print JSON, for programs: one object for each step
    #[arg(long)]
    json: bool,
    /// Show a port sequence and a packet of fwknop instead of knocks
    #[arg(long)]
    classic: bool,
    /// Show three gates of one name that share an etcd. Needs a build with it, and the program
    #[arg(long, conflicts_with = "classic")]
    cluster: bool,
    /// Use this firewall driver: auto, iptables or nftables
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = ["auto", "iptables", "nftables"])]
    backend: String,
}

const OPEN_FOR: Duration = Duration::from_secs(4);

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
    let result = if options.cluster {
        cluster::all_steps(&mut progress, &interrupt, &options.backend)
    } else {
        World::make(interrupt.clone()).and_then(|mut world| {
            if options.classic {
                classic::all_steps(&mut progress, &mut world, &options.backend)
            } else {
                all_steps(&mut progress, &mut world, &options.backend)
            }
        })
    };
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

fn all_steps(progress: &mut Progress, world: &mut World, backend: &str) -> Result<(), ExitError> {
    let key: [u8; 32] = random::bytes().map_err(ExitError::system("making a key"))?;
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    world.write_profiles(&key)?;
    let user = format!(
        "[[user]]\nname = \"alice\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE_PORT}\"]\nquota = \"1000/min\"\n"
    );
    world.start_daemon(&user, backend)?;
    introduce(progress, world)?;
    full_steps(progress, world, "home", IpAddr::V4(GATE_V4))?;
    progress.say("The same over IPv6:")?;
    short_steps(progress, world, "home6", IpAddr::V6(GATE_V6))?;
    progress.say("How fast it is:")?;
    speed_steps(progress, world)?;
    if backend == "auto" && process::find("iptables-restore").is_some() {
        world.start_daemon(&user, "iptables")?;
        speed_steps(progress, world)?;
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
        let (knock, opened) = speed::send_and_connect(service, || SentKnock::send(knock, &sent))?;
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
    rule_is_listed(progress, world)?;
    let detail = time_to_open(&opened, "the knock");
    progress.step("The connection succeeds", opened.is_ok(), &detail)?;

    replay(progress, world, gate, packet)?;
    grant_ends(progress, world)?;
    hidden(progress, world, gate, "Hidden again")
}

fn short_steps(
    progress: &mut Progress,
    world: &World,
    profile: &str,
    gate: IpAddr,
) -> Result<(), ExitError> {
    hidden(progress, world, gate, "The port is hidden")?;
    let file = world.daemon.profile(profile);
    let (succeeded, output) =
        world.postern(&["knock", profile, "--config", &file, "--for", "2s", "--wait"])?;
    progress.step("postern knock --wait", succeeded, &output)?;
    let is_over = world.daemon.has_no_grant_within(Duration::from_secs(5));
    progress.step("The grant ends by itself", is_over, "")?;
    hidden(progress, world, gate, "Hidden again")
}

/// Every knock must open the port. The times are printed, not judged.
fn speed_steps(progress: &mut Progress, world: &World) -> Result<(), ExitError> {
    for (profile, gate) in PROFILES {
        let times = speed::measure(world, profile, gate)?;
        let backend = world.daemon.backend();
        let title = format!("Knock to open port at {gate}, firewall by {backend}");
        progress.step(&title, times.all_opened(), &times.to_string())?;
    }
    Ok(())
}
