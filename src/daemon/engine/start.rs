//! Starts an engine: hand-over from the monitor, privileges, keys, hint table, captures, store.
//!
//! The store comes last, when the monitor says go, because the old engine has it open until then. Knocks wait in the captures.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use postern_proto::KeyMaterial;
use tracing::{debug, info};

use super::core::Core;
use super::prefilter::Prefilter;
use super::{limits, privileges, tables};
use crate::adapters::attempts::AttemptReader;
use crate::adapters::capture::Capture;
use crate::adapters::capture::log::{LogCapture, NextFile};
use crate::adapters::capture::nflog::NflogCapture;
use crate::adapters::capture::packet::{CapturedInterface, PacketCapture};
use crate::adapters::capture::udp::UdpCapture;
use crate::adapters::clock::{self, ClockEvents};
use crate::adapters::config::bundle::Bundle;
use crate::adapters::config::{self, Loaded, OldKey};
use crate::adapters::ipc::{Link, Received};
use crate::adapters::random;
use crate::adapters::sandbox;
use crate::adapters::store;
use crate::adapters::store::ReplayStore;
use crate::adapters::store::disk::DiskStore;
use crate::core::fleet::{Fleet, FleetKeys};
use crate::core::gate::Gate;
use crate::core::order::{self, CaptureSpec, MESSAGE_MAX, Order, Report, Start};
use crate::model::exit::{CONFIG, ExitError, IO, SYSTEM};
use crate::model::settings::Settings;

pub(super) struct EngineParts {
    pub(super) core: Core,
    pub(super) store: DiskStore,
    pub(super) captures: Vec<(String, Box<dyn Capture>)>,
    pub(super) sensor: Option<(String, LogCapture)>,
    /// Those of the captures. The monitor reports their indexes.
    pub(super) interfaces: Vec<CapturedInterface>,
    /// Where the log file goes that the monitor passes on after a rotation.
    pub(super) next_file: NextFile,
    pub(super) control: UnixListener,
    pub(super) metrics: Option<TcpListener>,
    pub(super) attempts: Option<AttemptReader>,
    pub(super) prefilter: Option<Prefilter>,
    pub(super) clock_events: Option<ClockEvents>,
}

/// Takes over from the monitor. Gives up privileges before it reads the config. `None` if the monitor ended before it said go.
pub(super) fn take_over(link: &Link) -> Result<Option<EngineParts>, ExitError> {
    let (start, descriptors) = receive(link)?;
    // The sandbox forbids it.
    let clock_events = ClockEvents::subscribe().ok();
    // The kernel named it after the file that was executed, /proc/self/exe.
    let _ = rustix::thread::set_name(c"posternd");
    // The monitor has already logged that it could not raise the limit.
    let locked = privileges::lock_memory().is_none();
    limits::lower(start.users)?;
    privileges::give_up(start.run_as)?;
    for gap in sandbox::engine(&start.state_dir).map_err(|error| ExitError::new(SYSTEM, error))? {
        info!("{}", sandbox::gap_line(&format!("the engine: {gap}")));
    }
    debug!(locked, "the engine has given up all rights");
    let handed = Handed::sort(&start, descriptors)?;
    let Loaded {
        settings,
        keys,
        codes,
        old_keys,
        fwknop,
        sequences,
        fleet_keys,
        ..
    } = load(handed.config)?;
    let run = random::bytes().map_err(ExitError::system("drawing random bytes"));
    let fleet =
        FleetKeys::new(fleet_keys).map(|keys| run.map(|run| Fleet::new(keys, run, &settings)));
    let fleet = fleet.transpose()?;
    let ports = settings.gate.ports.clone();
    let sensor = settings.gate.log_sensor.as_ref();
    let prefix = sensor.map_or(String::new(), |sensor| sensor.prefix.clone());
    let next_file = NextFile::default();
    let (sockets, used) = (handed.sockets, handed.used);
    let adopted = handed.maps.map(|maps| {
        let knocks = start.captures.iter().zip(&sockets);
        let knocks = knocks.filter(|(spec, _)| matches!(spec, CaptureSpec::Packet { .. }));
        let sockets: Vec<BorrowedFd<'_>> = knocks.map(|(_, socket)| socket.as_fd()).collect();
        Prefilter::adopt(maps, used, &sockets, &ports)
    });
    let adopted = adopted.transpose()?;
    let (mut prefilter, drops, used) = adopted
        .map_or((None, None, None), |(prefilter, drops, used)| {
            (Some(prefilter), Some(drops), used)
        });
    let cluster = settings.cluster.clone();
    let (name, state_dir) = (settings.gate.name.clone(), settings.gate.state_dir.clone());
    let mut gate = gate_of(settings, keys, &old_keys)
        .with_codes(codes)
        .with_fwknop(fwknop)
        .with_sequences(sequences);
    drop(old_keys);
    zeroize::zeroize_stack::<{ config::STACK }>();
    install_table(&mut gate, prefilter.as_mut())?;
    // After the hint table is in the kernel, so that no knock is lost.
    let (mut captures, mut interfaces, mut sensor) = (Vec::new(), Vec::new(), None);
    for (spec, socket) in start.captures.into_iter().zip(sockets) {
        let name = spec.to_string();
        if let CaptureSpec::Log(source) = &spec {
            let next_file = Arc::clone(&next_file);
            let log = LogCapture::new(source, socket, next_file, prefix.clone());
            sensor = Some((name, log));
        } else if let Some(capture) = capture(spec, socket, &ports, &mut interfaces)? {
            captures.push((name, capture));
        }
    }
    if !wait_for_go(link)? {
        return Ok(None);
    }
    let mut store = DiskStore::open(&state_dir).map_err(store_failed)?;
    let mut kept = store.load().map_err(store_failed)?;
    let (closed, closed_floor) = (std::mem::take(&mut kept.closed), kept.closed_floor);
    gate.recall(kept);
    install_table(&mut gate, prefilter.as_mut())?;
    let mut core = Core::new(gate, name.as_str(), clock::wall());
    if let Some(cluster) = cluster {
        core.join_cluster(name.as_str(), &cluster);
    }
    if let Some(mut fleet) = fleet {
        fleet.recall(closed, core.gate().times().floor.max(closed_floor));
        core.join_fleet(fleet);
    }
    core.health().backend = start.backend;
    core.health().daemon_uptime = Duration::from_millis(start.daemon_uptime_ms);
    core.health().roster_version = start.roster_version;
    core.health().kernel = drops;
    core.health().used = used;
    core.health().nflog_group = start.nflog_group;
    Ok(Some(EngineParts {
        core,
        store,
        captures,
        sensor,
        interfaces,
        next_file,
        control: UnixListener::from(handed.control),
        metrics: handed.metrics.map(TcpListener::from),
        attempts: handed.attempts.map(AttemptReader::new),
        prefilter,
        clock_events,
    }))
}

/// What the monitor handed over, by what it is for.
struct Handed {
    config: OwnedFd,
    control: OwnedFd,
    /// One for each capture.
    sockets: Vec<OwnedFd>,
    metrics: Option<OwnedFd>,
    attempts: Option<OwnedFd>,
    /// The maps of the hint filter.
    maps: Option<[OwnedFd; 2]>,
    /// The map of used packets, if the kernel can do it.
    used: Option<OwnedFd>,
}

impl Handed {
    /// The monitor sends them in this order.
    fn sort(start: &Start, descriptors: Vec<OwnedFd>) -> Result<Self, ExitError> {
        let mut descriptors = descriptors.into_iter();
        let (Some(config), Some(control)) = (descriptors.next(), descriptors.next()) else {
            let what = "the monitor handed over too few descriptors";
            return Err(ExitError::new(SYSTEM, what));
        };
        let sockets = descriptors.by_ref().take(start.captures.len()).collect();
        let metrics = start.metrics.then(|| descriptors.next()).flatten();
        let attempts = start.nflog_group.and_then(|_| descriptors.next());
        let mut map = || descriptors.next();
        let maps = start.hint_filter.then(|| Some([map()?, map()?])).flatten();
        Ok(Self {
            config,
            control,
            sockets,
            metrics,
            attempts,
            maps,
            used: descriptors.next(),
        })
    }
}

/// Derives the keys that open knocks. Not inlined, so that the caller can wipe its stack.
#[inline(never)]
fn gate_of(settings: Settings, keys: Vec<KeyMaterial>, old_keys: &[OldKey]) -> Gate {
    let rows = tables::rows(&settings, &keys);
    drop(keys);
    Gate::of(settings, rows, old_keys.iter().map(OldKey::parts))
}

/// Builds the hint table for the current time, unless there is one. With many users this takes longest.
fn install_table(gate: &mut Gate, prefilter: Option<&mut Prefilter>) -> Result<(), ExitError> {
    if let Some(steps) = gate.table_wanted(clock::wall()) {
        let table = tables::first(&gate.hint_keys(), steps, &gate.table());
        prefilter.map_or(Ok(()), |prefilter| prefilter.load(&table))?;
        gate.install(table);
    }
    Ok(())
}

fn wait_for_go(link: &Link) -> Result<bool, ExitError> {
    let loaded = order::encode(&Order::Loaded).map_err(|error| ExitError::new(SYSTEM, error))?;
    if link.send(&loaded).is_err() {
        return Ok(false);
    }
    let mut buffer = vec![0; MESSAGE_MAX];
    let received = link.receive(&mut buffer);
    match received.map_err(ExitError::system("waiting for the monitor to say go"))? {
        Received::Message(len) => match order::decode_first(&buffer, len) {
            Ok(Report::Go) => Ok(true),
            Ok(other) => {
                let what = format!("the monitor sent {other:?} instead of go");
                Err(ExitError::new(SYSTEM, what))
            }
            Err(error) => Err(ExitError::new(SYSTEM, error)),
        },
        Received::Nothing | Received::Gone => Ok(false),
    }
}

fn receive(link: &Link) -> Result<(Start, Vec<OwnedFd>), ExitError> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let waiting = "waiting for the monitor (the engine is started by `posternd run`, not by hand)";
    let received = link.receive_descriptors(&mut buffer);
    let (received, descriptors) = received.map_err(ExitError::system(waiting))?;
    let Received::Message(len) = received else {
        let what = "the monitor was gone before the engine had started";
        return Err(ExitError::new(SYSTEM, what));
    };
    let start = order::decode_first(&buffer, len).map_err(|error| ExitError::new(SYSTEM, error))?;
    Ok((start, descriptors))
}

fn load(descriptor: OwnedFd) -> Result<Loaded, ExitError> {
    let failed = |error: std::io::Error| {
        let what = format!("reading the config that the monitor handed over: {error}");
        ExitError::new(IO, what)
    };
    let bundle = Bundle::take(File::from(descriptor)).map_err(failed)?;
    config::load_again(&bundle).map_err(|problems| ExitError::new(CONFIG, problems))
}

fn capture(
    spec: CaptureSpec,
    descriptor: OwnedFd,
    ports: &[u16],
    interfaces: &mut Vec<CapturedInterface>,
) -> Result<Option<Box<dyn Capture>>, ExitError> {
    Ok(Some(match spec {
        CaptureSpec::Packet { interface, index } => {
            let interface = interface.map(|name| CapturedInterface::new(name, index));
            interfaces.extend(interface.clone());
            Box::new(
                PacketCapture::new(descriptor, interface, ports.to_vec())
                    .map_err(ExitError::system("listening on the packet socket"))?,
            )
        }
        CaptureSpec::Sequences { interface, index } => {
            let interface = interface.map(|name| CapturedInterface::new(name, index));
            interfaces.extend(interface.clone());
            let capture = PacketCapture::of_hits(descriptor, interface);
            let doing = "listening for hits of sequences";
            Box::new(capture.map_err(ExitError::system(doing))?)
        }
        CaptureSpec::Nflog {
            interfaces: named, ..
        } => {
            let named = named.into_iter();
            let named = named.map(|(name, index)| CapturedInterface::new(name, index));
            let named: Vec<CapturedInterface> = named.collect();
            interfaces.extend(named.iter().cloned());
            Box::new(NflogCapture::new(descriptor, named, ports.to_vec()))
        }
        CaptureSpec::Udp { port } => Box::new(UdpCapture::new(descriptor, port)),
        CaptureSpec::Log(_) => return Ok(None),
    }))
}

fn store_failed(error: store::StoreError) -> ExitError {
    ExitError::new(IO, error)
}
