//! Keeps one engine serving: starts it, watches it, restarts it after a crash, and replaces it on a reload.
//!
//! A new engine loads its config while the old one serves, and its cluster process opens the settings of the coordinator. When the new
//! engine lacks only the store, its config comes into force, the old engine finishes and ends, and the new one opens the store. Knocks
//! meanwhile wait in the new engine's sockets. A config that cannot be used changes nothing.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::PollFd;
use tracing::{error, info, warn};

use crate::adapters::clock;
use crate::core::order::{Order, Reloaded, Report};
use crate::daemon::monitor::executor::Executor;
use crate::daemon::monitor::rights;
use crate::model::counters::EngineCounters;
use crate::model::exit::{CONFIG, ExitError, FAILED, PERMISSION};
use crate::model::settings::Settings;
use crate::model::time::{Timestamp, count, human};

pub(crate) mod cluster_process;
pub(super) mod engine_process;
mod fixed_settings;
pub(super) mod launcher;
mod prefilter;
pub(super) mod reload_requests;
mod roster_taker;
mod successor;

use cluster_process::ClusterProcess;
use engine_process::{EngineFailure, EngineProcess, READY_WITHIN};
use launcher::Launcher;
use reload_requests::ReloadRequests;
use roster_taker::RosterTaker;
use successor::Successor;

/// The old engine must end within this time after it was told to. A log sensor takes up to a second.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// After an engine that served this long the next one starts without a longer pause.
const SERVED_WELL: Duration = Duration::from_secs(3);

const NOT_USED: &str = "the new config is not used, the old one stays in force";

pub(super) struct Supervisor {
    launcher: Launcher,
    settings: Settings,
    engine: Option<EngineProcess>,
    /// The one that serves this engine.
    cluster: Option<ClusterProcess>,
    taker: RosterTaker,
    successor: Option<Successor>,
    /// Killed engines whose files the kernel still closes.
    ending: Vec<Child>,
    started: Instant,
    restart_pause: Duration,
    has_served: bool,
    is_config_unusable: bool,
}

impl Supervisor {
    pub(super) fn start(launcher: Launcher, settings: Settings) -> Result<Self, ExitError> {
        let mut supervisor = Self::new(launcher, settings);
        supervisor.launch()?;
        Ok(supervisor)
    }

    fn new(launcher: Launcher, settings: Settings) -> Self {
        Self {
            launcher,
            settings,
            engine: None,
            cluster: None,
            taker: RosterTaker::default(),
            successor: None,
            ending: Vec::new(),
            started: clock::instant(),
            restart_pause: PAUSE_MIN,
            has_served: false,
            is_config_unusable: false,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn serves(&self) -> bool {
        self.engine.as_ref().is_some_and(EngineProcess::serves)
    }

    pub(super) fn has_served(&self) -> bool {
        self.has_served
    }

    pub(super) fn is_settled(&self) -> bool {
        self.successor.is_none() && self.engine.as_ref().is_none_or(EngineProcess::serves)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.successor.is_none() && self.engine.is_none()
    }

    pub(super) fn is_config_unusable(&self) -> bool {
        self.is_config_unusable
    }

    pub(super) fn can_reload(&self) -> bool {
        self.successor.is_none() && self.serves()
    }

    pub(super) fn figures(&self) -> Option<&EngineCounters> {
        let engine = self.engine.as_ref().filter(|engine| engine.serves());
        engine.and_then(EngineProcess::figures)
    }

    pub(super) fn captures(&self) -> Vec<String> {
        let engine = self.engine.as_ref();
        engine.map_or_else(Vec::new, |engine| engine.captures().to_vec())
    }

    pub(super) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let engines = self.processes().map(EngineProcess::poll_fd);
        let taker = self.taker.poll_fd(self.cluster.as_ref());
        let successor = self.successor.iter();
        let opening = successor.filter_map(|successor| successor.cluster.as_ref()?.poll_fd());
        engines.chain(taker).chain(opening)
    }

    pub(super) fn process_ids(&self) -> Vec<u32> {
        let ending = self.ending.iter().map(Child::id);
        let successor = self.successor.iter();
        let bound = successor.map(|successor| &successor.bound);
        let bound = bound.chain([&self.launcher.bound]);
        let programs = bound.filter_map(|bound| bound.log.as_ref()?.process_id());
        let successor = self.successor.iter();
        let successor = successor.filter_map(|successor| successor.cluster.as_ref());
        let clusters = self.cluster.iter().chain(successor);
        self.processes()
            .map(EngineProcess::id)
            .chain(clusters.filter_map(ClusterProcess::id))
            .chain(self.taker.id())
            .chain(ending)
            .chain(programs)
            .collect()
    }

    fn processes(&self) -> impl Iterator<Item = &EngineProcess> {
        let successor = self.successor.iter().map(|successor| &successor.engine);
        self.engine.iter().chain(successor)
    }

    pub(super) fn orders(&mut self, most: usize, buffer: &mut [u8]) -> Vec<Order> {
        let engine = self.engine.as_mut();
        let orders = engine.map_or_else(Vec::new, |engine| engine.orders(most, buffer));
        self.has_served |= self.serves();
        orders
    }

    /// Waits for exactly this message of the engine, but not long. If another message comes instead, adds its order to `other`.
    pub(super) fn brings(
        &mut self,
        message: &[u8],
        buffer: &mut [u8],
        other: &mut impl Extend<Order>,
    ) -> bool {
        let engine = self.engine.as_mut();
        engine.is_some_and(|engine| engine.brings(message, buffer, other))
    }

    pub(super) fn send(&mut self, reports: &[Report]) {
        if let Some(engine) = self.engine.as_mut() {
            reports.iter().for_each(|report| engine.send(report));
            engine.send_unsent();
        }
    }

    fn send_interfaces(&mut self, interfaces: Vec<(String, u32)>) {
        let report = |(name, index)| Report::Interface { name, index };
        self.send(&interfaces.into_iter().map(report).collect::<Vec<_>>());
    }

    /// Tells the engine what changed at the source of the log sensor.
    fn follow_log(&mut self) {
        let engine = self.engine.as_mut().filter(|engine| engine.serves());
        let (Some(engine), Some(log)) = (engine, self.launcher.bound.log.as_mut()) else {
            return;
        };
        if let Some((report, descriptor)) = log.step() {
            engine.send_with(&report, descriptor);
        }
    }

    /// Other gates hear of grants that were closed without an order.
    pub(super) fn tell_ended(&mut self, executor: &mut Executor) {
        if let Some(engine) = &mut self.engine {
            tell_ended(engine, &self.settings, executor);
        }
    }

    /// Starts the cluster process again if it ended, and gives the engine the link to a new one.
    fn follow_cluster(&mut self) {
        let (Some(engine), Some(cluster)) = (self.engine.as_mut(), self.cluster.as_mut()) else {
            return;
        };
        cluster.step();
        if let Some(link) = cluster.take_engine_end() {
            engine.send_with(&cluster.report(), Some(link));
        }
    }

    pub(super) fn ask_figures(&mut self) {
        self.engine.iter_mut().for_each(EngineProcess::ask_figures);
    }

    pub(super) fn step(
        &mut self,
        now: Timestamp,
        executor: &mut Executor,
        reloads: &mut ReloadRequests,
        buffer: &mut [u8],
    ) -> Result<(), ExitError> {
        self.ending
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let moved = self.launcher.interfaces.moved(&self.settings.gate);
        self.send_interfaces(moved);
        self.follow_log();
        self.follow_cluster();
        let config = &self.launcher.config;
        self.taker.step(self.cluster.as_ref(), config, reloads);
        if self.engine.is_some() {
            self.check_engine(reloads)?;
        } else {
            self.restart_after_pause();
        }
        self.step_successor(now, executor, reloads, buffer)
    }

    pub(super) fn reload(&mut self, reloads: &mut ReloadRequests) {
        let tickets = reloads.begin();
        info!("reading the config again");
        let start = clock::instant();
        // Whatever a start would refuse.
        let run_as = rights::run_as(&self.settings.gate.run_as);
        let launched = run_as.and_then(|_| self.launch());
        reloads.finish(clock::elapsed(start));
        match (launched, self.successor.as_mut()) {
            (Ok(()), Some(successor)) => successor.tickets = tickets,
            (Ok(()), None) => {}
            (Err(stop), _) => {
                for line in stop.message.lines() {
                    error!("{NOT_USED}: {line}");
                }
                self.answer_reloads(tickets, &reload_requests::refused(&stop.message));
            }
        }
    }

    pub(super) fn stop(&mut self) {
        self.cluster = None;
        let successor = self.successor.take().map(|successor| successor.engine);
        for engine in successor.into_iter().chain(self.engine.take()) {
            let _ = self.end(engine);
        }
    }

    fn end(&mut self, engine: EngineProcess) -> Option<ExitStatus> {
        let ended = engine.end();
        ended.map_err(|child| self.ending.push(child)).ok()
    }

    fn check_engine(&mut self, reloads: &mut ReloadRequests) -> Result<(), ExitError> {
        let has_time = clock::elapsed(self.started) <= READY_WITHIN;
        let Some(engine) = self.engine.as_mut() else {
            return Ok(());
        };
        if !engine.serves() && !has_time {
            engine.fail(EngineFailure::ServeTimeout);
        }
        let Some(failure) = engine.failure().cloned() else {
            return Ok(());
        };
        let engine = self.engine.take();
        self.cluster = None;
        let status = engine.and_then(|engine| self.end(engine));
        reloads.forget_tickets();
        if !self.has_served {
            let code = status.and_then(|status| status.code());
            return Err(first_failure(code, &EngineFailure::Ended));
        }
        match (failure, status) {
            (EngineFailure::Ended, _) if self.is_handing_over() => {}
            (EngineFailure::Ended, Some(status)) => warn!("the engine ended: {status}"),
            (failure, _) => error!("the engine was ended: {failure}"),
        }
        Ok(())
    }

    fn restart_after_pause(&mut self) {
        let since_start = clock::elapsed(self.started);
        if self.successor.is_some() || since_start < self.restart_pause {
            return;
        }
        self.restart_pause = if since_start > SERVED_WELL {
            PAUSE_MIN
        } else {
            self.restart_pause.saturating_mul(2).min(PAUSE_MAX)
        };
        let launched = self.launch();
        self.is_config_unusable =
            matches!(&launched, Err(stop) if [CONFIG, PERMISSION].contains(&stop.code));
        if let Err(stop) = launched {
            let pause = human(self.restart_pause);
            for line in stop.message.lines() {
                error!("no engine, knocks are not received; trying again in {pause}: {line}");
            }
        }
    }

    fn launch(&mut self) -> Result<(), ExitError> {
        if self.engine.is_none() {
            self.started = clock::instant();
        }
        let is_reload = self.engine.is_some();
        let launched = self.launcher.launch(&self.settings, is_reload)?;
        self.successor = Some(Successor {
            engine: launched.engine,
            cluster: launched.cluster,
            settings: launched.settings,
            bound: launched.bound,
            started: clock::instant(),
            tickets: Vec::new(),
            is_ready: false,
            in_force_since: None,
        });
        Ok(())
    }

    fn is_handing_over(&self) -> bool {
        let successor = self.successor.as_ref();
        successor.is_some_and(|successor| successor.in_force_since.is_some())
    }

    fn step_successor(
        &mut self,
        now: Timestamp,
        executor: &mut Executor,
        reloads: &mut ReloadRequests,
        buffer: &mut [u8],
    ) -> Result<(), ExitError> {
        let Some(successor) = self.successor.as_mut() else {
            return Ok(());
        };
        successor.check(self.engine.is_some(), buffer);
        if successor.engine.failure().is_some() {
            return self.give_up_successor();
        }
        if !successor.is_ready {
            return Ok(());
        }
        match (successor.in_force_since, self.engine.as_mut()) {
            (None, _) => return self.put_in_force(now, executor, reloads),
            (Some(_), None) => self.let_go(executor, reloads),
            (Some(since), Some(old)) if clock::elapsed(since) > FINISH_WITHIN => {
                old.fail(EngineFailure::FinishTimeout)
            }
            (Some(_), Some(_)) => {}
        }
        Ok(())
    }

    /// The successor is loaded: its config comes into force, and the old engine is told to finish.
    fn put_in_force(
        &mut self,
        now: Timestamp,
        executor: &mut Executor,
        reloads: &mut ReloadRequests,
    ) -> Result<(), ExitError> {
        let Some(successor) = self.successor.as_mut() else {
            return Ok(());
        };
        if let Err(error) = executor.reload(&successor.settings, now) {
            let failure = EngineFailure::ConfigRejected(error.to_string());
            successor.engine.fail(failure);
            return self.give_up_successor();
        }
        self.settings = successor.settings.clone();
        successor.in_force_since = Some(clock::instant());
        let tickets = std::mem::take(&mut successor.tickets);
        self.answer_reloads(tickets, &Reloaded::Done);
        match self.engine.as_mut() {
            Some(old) => {
                // It knows what the others call the grants that the new config closed.
                tell_ended(old, &self.settings, executor);
                old.send(&Report::Finish);
            }
            None => self.let_go(executor, reloads),
        }
        Ok(())
    }

    /// No other engine has the store open: the successor may open it and serve.
    fn let_go(&mut self, executor: &mut Executor, reloads: &mut ReloadRequests) {
        let Some(mut successor) = self.successor.take() else {
            return;
        };
        successor.engine.send(&Report::Go);
        executor.count_engine();
        if self.has_served {
            let users = self.settings.policies.len();
            info!(users, "the config is in force: {}", count(users, "user"));
        }
        self.engine = Some(successor.engine);
        self.cluster = successor.cluster;
        self.follow_cluster();
        // It has the indexes of its launch.
        let known = self.launcher.interfaces.known();
        self.send_interfaces(known);
        self.launcher.keep(successor.bound);
        reloads.forget_tickets();
        self.started = clock::instant();
    }

    fn give_up_successor(&mut self) -> Result<(), ExitError> {
        let Some(successor) = self.successor.take() else {
            return Ok(());
        };
        let failure = successor.engine.failure().cloned();
        let failure = failure.unwrap_or(EngineFailure::Ended);
        let status = self.end(successor.engine);
        if !self.has_served {
            let code = status.and_then(|status| status.code());
            return Err(first_failure(code, &failure));
        }
        if self.engine.is_some() {
            let what = format!("the new engine did not start: {failure}");
            error!("{NOT_USED}: {what}");
            self.answer_reloads(successor.tickets, &reload_requests::refused(&what));
        } else {
            warn!("the engine did not start: {failure}");
        }
        Ok(())
    }

    fn answer_reloads(&mut self, tickets: Vec<u64>, outcome: &Reloaded) {
        if let Some(engine) = self.engine.as_mut() {
            for ticket in tickets {
                let outcome = outcome.clone();
                engine.send(&Report::Reloaded { ticket, outcome });
            }
        }
    }

    #[cfg(test)]
    pub(super) fn with_engine(
        launcher: Launcher,
        settings: Settings,
        engine: EngineProcess,
    ) -> Self {
        let mut supervisor = Self::new(launcher, settings);
        supervisor.engine = Some(engine);
        supervisor.restart_pause = Duration::from_secs(600);
        supervisor.has_served = true;
        supervisor
    }

    #[cfg(test)]
    pub(super) fn has_engine(&self) -> bool {
        self.engine.is_some()
    }
}

/// Why the program ends: its first engine did not serve. An engine that ended by itself has logged why, and its exit code is the answer.
fn first_failure(code: Option<i32>, failure: &EngineFailure) -> ExitError {
    let code = code.and_then(|code| u8::try_from(code).ok());
    match failure {
        EngineFailure::Ended => {
            let what = "the engine did not start (its own log line is above)";
            ExitError::new(code.unwrap_or(FAILED), what)
        }
        failure => ExitError::new(FAILED, format!("the engine did not start ({failure})")),
    }
}

fn tell_ended(engine: &mut EngineProcess, settings: &Settings, executor: &mut Executor) {
    let ended = executor.take_ended();
    let cluster = settings.cluster.as_ref();
    if cluster.is_some_and(|cluster| cluster.fleet_key_file.is_some()) {
        ended.iter().for_each(|report| engine.send(report));
    }
}
