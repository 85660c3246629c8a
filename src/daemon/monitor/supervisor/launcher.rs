//! Starts one engine: reads the config, opens the sockets that need privilege, and hands everything over.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use tracing::{debug, error, info};

use super::cluster_process::{ClusterProcess, NO_PROCESS};
use super::engine_process::{self, EngineProcess};
use super::fixed_settings;
use super::prefilter::{self, NoPrefilter};
use crate::adapters::capture::hint_filter::HintFilter;
use crate::adapters::clock::Steady;
use crate::adapters::config::RosterPlace;
use crate::core::claims::{GateFacts, RosterSought};
use crate::core::order::{CaptureSpec, Start};
use crate::daemon::monitor::attempts::AttemptSocket;
use crate::daemon::monitor::confinement;
use crate::daemon::monitor::directories;
use crate::daemon::monitor::driver;
use crate::daemon::monitor::interfaces::InterfaceTable;
use crate::daemon::monitor::open_log::OpenLog;
use crate::daemon::monitor::rights::RunAs;
use crate::daemon::monitor::routing;
use crate::daemon::monitor::sockets;
use crate::daemon::monitor::state_folder;
use crate::model::catalog;
use crate::model::exit::ExitError;
use crate::model::settings::Settings;
use crate::model::time::millis;

pub(in crate::daemon::monitor) struct Launcher {
    pub(in crate::daemon::monitor) config: PathBuf,
    /// The config as it was read for the start, for the first engine.
    pub(in crate::daemon::monitor) loaded: Option<(OwnedFd, Settings)>,
    pub(in crate::daemon::monitor) control: OwnedFd,
    pub(in crate::daemon::monitor) run_as: RunAs,
    pub(in crate::daemon::monitor) backend: &'static str,
    pub(in crate::daemon::monitor) clock: Steady,
    pub(in crate::daemon::monitor) bound: BoundSockets,
    pub(in crate::daemon::monitor) interfaces: InterfaceTable,
    pub(in crate::daemon::monitor) attempts: AttemptSocket,
    /// The last log line about the prefilter, to log each only once.
    pub(in crate::daemon::monitor) prefilter_line: Option<String>,
}

/// Sockets that one engine passes on to the next, because an address can be bound only once.
#[derive(Debug, Default)]
pub(in crate::daemon::monitor) struct BoundSockets {
    captures: Vec<(CaptureSpec, OwnedFd)>,
    metrics: Option<(SocketAddr, OwnedFd)>,
    /// The source that the present engine reads. Each engine has its own.
    pub(super) log: Option<OpenLog>,
}

pub(super) struct Launched {
    pub(super) engine: EngineProcess,
    pub(super) cluster: Option<ClusterProcess>,
    pub(super) settings: Settings,
    pub(super) bound: BoundSockets,
}

impl Launcher {
    /// On a reload the old engine goes on if something fails.
    pub(super) fn launch(
        &mut self,
        in_force: &Settings,
        is_reload: bool,
    ) -> Result<Launched, ExitError> {
        let loaded = self.loaded.take();
        let (config, mut settings) =
            loaded.map_or_else(|| engine_process::load(&self.config), Ok)?;
        fixed_settings::check(in_force, self.attempts.asked, &settings)?;
        self.attempts.put_into(&mut settings);
        if catalog::sets(&in_force.catalog) != catalog::sets(&settings.catalog) {
            driver::check_sets(&self.config, &settings)?;
        }
        if in_force.protection().forwards != settings.protection().forwards {
            routing::check_forwards(&self.config, &settings)?;
        }
        state_folder::prepare(&settings.gate.state_dir, &self.config, &self.run_as)?;
        if confinement::runs_config_programs(&settings) {
            directories::prepare_monitor(&settings.gate.state_dir)?;
        }
        let mut captures =
            sockets::captures(&settings, &self.bound.captures, &mut self.interfaces)?;
        let source = settings.gate.log_sensor.as_ref();
        let source = source.map(|sensor| &sensor.source);
        let log = source.map(OpenLog::open).transpose()?;
        let (log, lines) = log.unzip();
        captures.extend(source.cloned().map(CaptureSpec::Log).zip(lines));
        let metrics =
            sockets::metrics_listener(settings.metrics.listen, self.bound.metrics.as_ref())?;
        let filter = prefilter::attach(&settings, &captures);
        self.log_prefilter(filter.as_ref().err());
        let start = Start {
            run_as: self.run_as.ids,
            // The engine reads the tables of disabled users as well.
            users: settings
                .policies
                .len()
                .saturating_add(settings.disabled.len()),
            captures: captures.iter().map(|(spec, _)| spec.clone()).collect(),
            backend: self.backend.to_owned(),
            daemon_uptime_ms: millis(self.clock.age()),
            roster_version: RosterPlace::of(&settings).and_then(|place| version(&place)),
            state_dir: settings.gate.state_dir.clone(),
            metrics: metrics.is_some(),
            nflog_group: self.attempts.group(),
            hint_filter: filter.is_ok(),
        };
        let mut descriptors: Vec<_> = captures.iter().map(|(_, socket)| socket.as_fd()).collect();
        descriptors.extend(metrics.iter().map(|(_, socket)| socket.as_fd()));
        descriptors.extend(self.attempts.socket());
        descriptors.extend(filter.iter().flat_map(HintFilter::maps));
        // It connects while the engine loads.
        let mut cluster = settings
            .cluster
            .clone()
            .map(|cluster| ClusterProcess::new(cluster, gate_facts(&settings), &self.run_as));
        if let Some(Err(stop)) = cluster.as_mut().map(ClusterProcess::start) {
            if is_reload {
                return Err(stop);
            }
            // Without it only `break_glass` opens, and without an engine nothing.
            error!("{NO_PROCESS}: {}", stop.message);
        }
        let engine =
            EngineProcess::start(config.as_fd(), self.control.as_fd(), &descriptors, &start)?;
        drop(descriptors);
        captures.retain(|(spec, _)| {
            matches!(spec, CaptureSpec::Udp { .. } | CaptureSpec::Nflog { .. })
        });
        Ok(Launched {
            engine,
            cluster,
            settings,
            bound: BoundSockets {
                captures,
                metrics,
                log,
            },
        })
    }

    pub(super) fn keep(&mut self, bound: BoundSockets) {
        self.bound = bound;
    }

    fn log_prefilter(&mut self, missing: Option<&NoPrefilter>) {
        let line = match missing {
            None => "the kernel drops copies, and datagrams with a wrong length or an unknown hint"
                .to_owned(),
            Some(why) => format!("the kernel does not check hints: {why}"),
        };
        if self.prefilter_line.as_ref() == Some(&line) {
            return;
        }
        match missing {
            Some(NoPrefilter::Unavailable(_)) => {
                info!("{line}; the engine checks every datagram at the knock port itself")
            }
            _ => debug!("{line}"),
        }
        self.prefilter_line = Some(line);
    }
}

/// What a cluster process knows, with the roster that it looks for.
fn gate_facts(settings: &Settings) -> GateFacts {
    let place = RosterPlace::of(settings);
    let place = place.filter(|place| place.settings.from_coordinator);
    GateFacts {
        roster: place.map(|place| RosterSought {
            version: version(&place).unwrap_or(0),
            refresh_ms: place.settings.freshness.refresh().map(millis),
        }),
        ..GateFacts::of(settings)
    }
}

/// The version of the roster in force.
fn version(place: &RosterPlace) -> Option<u64> {
    place.notes().map(|notes| notes.in_force.version)
}
