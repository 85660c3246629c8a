//! `posternd demo`: the whole story, step by step, with a real daemon, a real client and a real firewall in throw-away
//! namespaces. Every step is checked; it ends well only if each came out as told.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use base64::Engine;

use crate::adapters::clock;
use crate::adapters::random;
use crate::model::exit::{ExitError, FAILED};
use crate::model::time;

mod cable;
mod firewall;
mod interrupt;
mod knock;
mod speed;
mod world;

use interrupt::Interrupt;
use knock::Knock;
use world::{CLIENT_V4, CLIENT_V6, GATE_V4, GATE_V6, KNOCK, SERVICE, World, connect};

/// How the demo tells its story.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Write JSON, for programs: one object a step
    #[arg(long)]
    json: bool,
    /// The firewall driver: auto, iptables or nftables
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = ["auto", "iptables", "nftables"])]
    backend: String,
}

/// How long the demo's grants last.
const OPEN_FOR: Duration = Duration::from_secs(4);

/// How long a connection attempt may take before the port counts as hidden.
const PATIENCE: Duration = Duration::from_millis(800);

/// Tells each step, and how it came out.
struct Story {
    json: bool,
    interrupt: Interrupt,
    step: u32,
    failed: u32,
}

/// Runs the demo.
///
/// # Errors
/// When the world of the demo can't be made, or a signal has come; a step that comes out wrong is told and ends in exit 1.
pub fn run(options: &Options) -> Result<ExitCode, ExitError> {
    let started = clock::instant();
    let note = world::leave_the_host()?;
    let interrupt = Interrupt::take()?;
    let mut story = Story {
        json: options.json,
        interrupt: interrupt.clone(),
        step: 0,
        failed: 0,
    };
    story.say(&format!("Postern demo, {note}."))?;
    let told = tell_all(&mut story, options);
    // What else went wrong then is no matter: a terminal interrupts the daemon, too.
    interrupt.check()?;
    told?;
    let took = time::human(Duration::from_secs(clock::elapsed(started).as_secs()));
    if story.failed > 0 {
        story.say(&format!(
            "{} of {} steps did not come out as told ({took}).",
            story.failed, story.step
        ))?;
        return Ok(ExitCode::from(FAILED));
    }
    story.say(&format!(
        "All {} steps came out as told ({took}). Nothing is left behind.",
        story.step
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Sets up the world, tells everything in it, and takes it down.
fn tell_all(story: &mut Story, options: &Options) -> Result<(), ExitError> {
    let key: [u8; 32] = random::bytes().map_err(ExitError::system("making a key"))?;
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    let mut world = World::make(&key, story.interrupt.clone())?;
    world.start_daemon(&key, &options.backend)?;
    story.say(&format!(
        "A gate at {GATE_V4} and {GATE_V6} runs posternd, with a service on tcp/{SERVICE}."
    ))?;
    story.say(&format!("A client sits at {CLIENT_V4} and {CLIENT_V6}."))?;
    if let Some(line) = world.logged(&["listening for knocks"]) {
        story.say(&format!("  {line}"))?;
    }
    tell(story, &world, "home", IpAddr::V4(GATE_V4))?;
    story.say("The same over IPv6:")?;
    tell_short(story, &world, "home6", IpAddr::V6(GATE_V6))?;
    story.say("How quick it is:")?;
    tell_speed(story, &world)?;
    if options.backend == "auto" && world.backend() != "nftables" {
        world.start_daemon(&key, "nftables")?;
        tell_speed(story, &world)?;
    }
    Ok(())
}

/// The whole story over one family.
fn tell(story: &mut Story, world: &World, profile: &str, gate: IpAddr) -> Result<(), ExitError> {
    hidden(
        story,
        world,
        gate,
        "The port is hidden: a connection attempt times out",
    )?;

    let packet = world.packet(profile, OPEN_FOR)?;
    let sent = packet.clone();
    let (service, knock) = (SocketAddr::new(gate, SERVICE), SocketAddr::new(gate, KNOCK));
    let knocked = world.at_client(move || {
        let (knock, opened) = speed::knock_and_connect(service, knock, &sent)?;
        Ok((opened, knock.answer()))
    })?;
    let (opened, answer) = knocked.map_err(|why: String| ExitError::new(FAILED, why))?;
    let back = answer.as_deref().unwrap_or("nothing");
    story.step(
        "One knock: one UDP packet, to which nothing answers",
        answer.is_none(),
        &format!(
            "{} random-looking bytes to {gate} port {KNOCK}; back came {back}",
            packet.len()
        ),
    )?;
    let grants = world.grants()?;
    let rules = firewall::rules(world)?;
    story.step(
        "The firewall lists the rule",
        grants.len() == 1 && !rules.is_empty(),
        &rules.join("\n"),
    )?;
    story.step(
        "The connection succeeds",
        opened.is_ok(),
        &match &opened {
            Ok(took) => format!(
                "open {:.2} ms after the knock was sent",
                took.as_secs_f64() * 1e3
            ),
            Err(why) => why.clone(),
        },
    )?;

    replay(story, world, gate, packet)?;

    let left = world
        .grants()?
        .first()
        .map(|grant| grant.until.since(clock::wall()))
        .unwrap_or_default();
    let over = world.wait_for(left.saturating_add(Duration::from_secs(2)), || {
        world.grants().ok().filter(Vec::is_empty)
    });
    let line = world
        .logged(&["closed", "its time is up"])
        .unwrap_or_default();
    story.step(
        "The grant ends by itself",
        over.is_some() && firewall::rules(world)?.is_empty(),
        &line,
    )?;
    hidden(story, world, gate, "Hidden again")
}

/// Hidden, knocked with the real client, open, hidden again.
fn tell_short(
    story: &mut Story,
    world: &World,
    profile: &str,
    gate: IpAddr,
) -> Result<(), ExitError> {
    hidden(story, world, gate, "The port is hidden")?;
    let file = world.profile(profile);
    let (done, said) =
        world.postern(&["knock", profile, "--config", &file, "--for", "2s", "--wait"])?;
    story.step("postern knock --wait", done, &said)?;
    let over = world.wait_for(Duration::from_secs(5), || {
        world.grants().ok().filter(Vec::is_empty)
    });
    story.step("The grant ends by itself", over.is_some(), "")?;
    hidden(story, world, gate, "Hidden again")
}

fn hidden(story: &mut Story, world: &World, gate: IpAddr, title: &str) -> Result<(), ExitError> {
    let address = SocketAddr::new(gate, SERVICE);
    let attempt = world.at_client(move || connect(address, PATIENCE))?;
    let (silent, said) = match attempt {
        Err(why) => (why.starts_with("no answer"), why),
        Ok(took) => (
            false,
            format!("it is open! connected in {} ms", took.as_millis()),
        ),
    };
    story.step(title, silent, &format!("{address}: {said}"))
}

/// Every knock must open. The figures are told as they come: whether they please is for the reader to say.
fn tell_speed(story: &mut Story, world: &World) -> Result<(), ExitError> {
    for (profile, gate) in [
        ("home", IpAddr::V4(GATE_V4)),
        ("home6", IpAddr::V6(GATE_V6)),
    ] {
        let times = speed::measure(world, profile, gate)?;
        let title = format!(
            "Knock to open port at {gate}, firewall by {}",
            world.backend()
        );
        story.step(&title, times.all_opened(), &times.to_string())?;
    }
    Ok(())
}

fn replay(
    story: &mut Story,
    world: &World,
    gate: IpAddr,
    packet: Vec<u8>,
) -> Result<(), ExitError> {
    // Within a second the same bytes count as a second copy of one knock, after it as a replay.
    thread::sleep(Duration::from_millis(1100));
    let count = |status: &crate::adapters::control::Status| {
        status
            .reasons
            .get("drop replay")
            .copied()
            .unwrap_or_default()
    };
    let before = count(&world.status()?);
    let to = SocketAddr::new(gate, KNOCK);
    let sent = world.at_client(move || Knock::send(to, &packet))?;
    let refused = world.wait_for(Duration::from_secs(2), || {
        world
            .status()
            .ok()
            .filter(|status| count(status) == before + 1)
    });
    let line = world.logged(&["drop replay"]).unwrap_or_default();
    story.step(
        "A replay of the same packet is refused, with the reason",
        sent.is_ok() && refused.is_some(),
        &line,
    )
}

impl Story {
    fn step(&mut self, title: &str, as_told: bool, detail: &str) -> Result<(), ExitError> {
        self.interrupt.check()?;
        self.step = self.step.saturating_add(1);
        self.failed = self.failed.saturating_add(u32::from(!as_told));
        if self.json {
            let object = serde_json::json!({ "version": 1, "step": self.step, "title": title, "ok": as_told, "detail": detail });
            return write(&object.to_string());
        }
        let mark = if as_told { "ok" } else { "NOT AS TOLD" };
        write(&format!("{}. {title}: {mark}", self.step))?;
        detail
            .lines()
            .try_for_each(|line| write(&format!("     {line}")))
    }

    fn say(&self, text: &str) -> Result<(), ExitError> {
        if self.json { Ok(()) } else { write(text) }
    }
}

fn write(line: &str) -> Result<(), ExitError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(ExitError::system("writing to standard output"))
}
