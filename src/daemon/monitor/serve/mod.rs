//! The monitor's loop: orders, ends of grants, signals, the firewall and the life of the engine, one after another, in one thread.
//!
//! It waits on descriptors and deadlines only. Closing goes on whatever the engine does. How one engine follows another is
//! `succession`'s.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{error, info, warn};

use crate::adapters::clock;
use crate::core::order::{CaptureSpec, MESSAGE_MAX, Order};
use crate::daemon::monitor::child::{Engine, Over, Stage};
use crate::daemon::monitor::executor::Executor;
use crate::daemon::monitor::orphans;
use crate::daemon::monitor::prepare::RunAs;
use crate::daemon::monitor::reloads::Reloads;
use crate::daemon::monitor::signals::Signals;
use crate::daemon::monitor::status_reports::StatusReports;
use crate::daemon::monitor::succession::Successor;
use crate::model::exit::{CONFIG, ExitError, FAILED, PERMISSION, SYSTEM};
use crate::model::settings::{OnStop, Settings};

#[cfg(test)]
mod tests;

/// Orders that are carried out in one step of the firewall.
const ORDERS: usize = 256;

/// An engine must be loaded, and serve after it was told to, within this time; 100,000 users take a few seconds.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(120);

/// Pauses before an engine that died is started again.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often it is tried to take everything out of the firewall at the end.
const REMOVALS: u32 = 4;

/// An engine that served this long had no trouble starting, and the next one need not wait.
const SERVED_WELL: Duration = Duration::from_secs(3);

/// The shortest pause between two looks at the firewall, for a look that costs next to nothing.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The pause after one that runs programs or reads all rules, unless it took so long that twice its time is more.
const DEAR_LOOK_PAUSE: Duration = Duration::from_secs(1);

/// A look that takes this long is not cheap any more.
const DEAR_LOOK: Duration = Duration::from_millis(2);

/// The monitor's side of everything.
pub(super) struct Monitor {
    pub(super) config: PathBuf,
    pub(super) settings: Settings,
    pub(super) executor: Executor,
    /// The engine whose orders are carried out.
    pub(super) engine: Option<Engine>,
    /// The one that is to follow it.
    pub(super) successor: Option<Successor>,
    /// Bound sockets that engines hand on to one another, for a port can be bound only once.
    pub(super) held: Vec<(CaptureSpec, OwnedFd)>,
    /// Where the figures may be read; handed on likewise.
    pub(super) listener: Option<(SocketAddr, OwnedFd)>,
    /// What was last said of the hint filter.
    pub(super) told_of_prefilter: Option<String>,
    pub(super) control: OwnedFd,
    pub(super) run_as: RunAs,
    pub(super) clock: clock::Steady,
    pub(super) signals: Signals,
    pub(super) status_reports: StatusReports,
    /// A signal asks for the config to be read anew.
    pub(super) reload_wanted: bool,
    /// The engine asks for it.
    pub(super) reloads: Reloads,
    /// When the engine was last started, and the pause before the next start.
    pub(super) started: Instant,
    pub(super) pause: Duration,
    /// Whether any engine of this run ever served.
    pub(super) served: bool,
    /// When the firewall was last looked at, and the pause before the next look.
    pub(super) looked: Instant,
    pub(super) look_pause: Duration,
}

impl Monitor {
    /// Serves until a signal says stop.
    ///
    /// # Errors
    /// When it can't go on.
    pub(super) fn serve(mut self) -> Result<(), ExitError> {
        match self.serve_on() {
            Ok(()) => self.stop(),
            Err(stop) => {
                // Whatever ended it, nobody is locked out by a trial.
                if self.executor.trial_end().is_some() {
                    self.stop().unwrap_or_else(|also| error!("{also}"));
                }
                Err(stop)
            }
        }
    }

    fn serve_on(&mut self) -> Result<(), ExitError> {
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            self.wait()?;
            if self.signals.says_stop() {
                return Ok(());
            }
            if self
                .executor
                .trial_end()
                .is_some_and(|end| end <= self.clock.now())
            {
                let what = "the trial ended: no knock was admitted and nobody confirmed, so everything was taken out of the firewall";
                return Err(ExitError::new(
                    FAILED,
                    format!(
                        "{what}; see `posternd check`, and why knocks fail in the log, then try again"
                    ),
                ));
            }
            self.turn(&mut buffer)?;
        }
    }

    /// Everything that there is to do now.
    fn turn(&mut self, buffer: &mut [u8]) -> Result<(), ExitError> {
        if let Some(step) = self.clock.follow() {
            info!("the system's clock was set {step}; every grant keeps the time that it has left");
            self.executor.clock_was_set(step);
            self.look_at_firewall();
        }
        let orders = self
            .engine
            .as_mut()
            .map(|engine| engine.orders(ORDERS, buffer))
            .unwrap_or_default();
        let (orders, reloads) = apart(orders);
        let mut reports = self.executor.serve(self.clock.now(), orders);
        let is_busy = self.successor.is_some()
            || self
                .engine
                .as_ref()
                .is_none_or(|engine| engine.stage < Stage::Ready);
        reports.extend(
            reloads
                .into_iter()
                .filter_map(|ticket| self.reloads.ask(ticket, is_busy)),
        );
        if let Some(engine) = self.engine.as_mut() {
            reports.iter().for_each(|report| engine.tell(report));
            engine.send_unsent();
            self.served |= engine.stage == Stage::Ready;
        }
        if clock::elapsed(self.looked) >= self.look_pause {
            self.look_at_firewall();
        }
        self.look_at_engine()?;
        if self.signals.says_reload() {
            self.reload_wanted = true;
            self.status_reports.reloading();
        }
        self.look_at_successor(buffer)?;
        self.publish();
        let engines = self
            .engine
            .iter()
            .chain(self.successor.iter().map(|successor| &successor.engine));
        orphans::let_go(&engines.map(Engine::id).collect::<Vec<u32>>());
        Ok(())
    }

    /// Waits for an order, a signal, the next end, the next look at the firewall or the next word to systemd.
    fn wait(&self) -> Result<(), ExitError> {
        let longest = if self.engine.is_some() {
            DEAR_LOOK_PAUSE
        } else {
            Duration::from_millis(100)
        };
        let look = self.look_pause.saturating_sub(clock::elapsed(self.looked));
        let end = self
            .executor
            .next_end()
            .map(|end| end.since(self.clock.now()));
        let reload = self
            .reloads
            .due_in()
            .filter(|_| self.successor.is_none())
            .unwrap_or(longest);
        let time = end
            .unwrap_or(longest)
            .min(longest)
            .min(look)
            .min(reload)
            .min(self.status_reports.health.beat());
        // Rounded up to the millisecond, so as not to wake just before the end again and again.
        let time = Timespec::try_from(time.saturating_add(Duration::from_millis(1))).ok();
        let mut waited = vec![
            PollFd::new(&self.signals.stop, PollFlags::IN),
            PollFd::new(&self.signals.reload, PollFlags::IN),
        ];
        waited.extend(
            self.engine
                .iter()
                .chain(self.successor.iter().map(|successor| &successor.engine))
                .map(Engine::waited_for),
        );
        match poll(&mut waited, time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(ExitError::new(
                SYSTEM,
                format!("waiting for orders: {error}"),
            )),
        }
    }

    fn look_at_firewall(&mut self) {
        let start = clock::instant();
        self.executor.look(self.clock.now());
        self.looked = clock::instant();
        self.look_pause = match clock::elapsed(start) {
            took if took < DEAR_LOOK => LOOK_PAUSE,
            took => took.saturating_mul(2).max(DEAR_LOOK_PAUSE),
        };
    }

    /// Ends an engine that is of no more use, and starts one where there is none, after a pause that grows.
    fn look_at_engine(&mut self) -> Result<(), ExitError> {
        let Some(engine) = self.engine.as_mut() else {
            return self.fill_the_gap();
        };
        if engine.stage < Stage::Ready && clock::elapsed(self.started) > READY_WITHIN {
            engine.over.get_or_insert(Over::Unfit(format!(
                "it did not serve within {}",
                crate::model::time::human(READY_WITHIN)
            )));
        }
        let Some(over) = engine.over.clone() else {
            return Ok(());
        };
        let status = self.engine.take().and_then(Engine::end);
        self.reloads.forget();
        if !self.served {
            // It said why by itself; its exit code is the answer.
            let code = status
                .and_then(|status| status.code())
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(FAILED);
            return Err(ExitError::new(
                code,
                "the engine could not begin (its own line is above)",
            ));
        }
        match (over, status) {
            (Over::Gone, _) if self.is_handing_over() => {}
            (Over::Gone, Some(status)) => warn!("the engine ended: {status}"),
            (over, _) => error!("the engine was ended: {over}"),
        }
        Ok(())
    }

    fn fill_the_gap(&mut self) -> Result<(), ExitError> {
        if self.successor.is_some() || clock::elapsed(self.started) < self.pause {
            return Ok(());
        }
        self.pause = if clock::elapsed(self.started) > SERVED_WELL {
            PAUSE_MIN
        } else {
            self.pause.saturating_mul(2).min(PAUSE_MAX)
        };
        let started = self.start_engine();
        self.status_reports.health.is_held_up = started
            .as_ref()
            .is_err_and(|stop| [CONFIG, PERMISSION].contains(&stop.code));
        if let Err(stop) = started {
            for line in stop.message.lines() {
                error!(
                    "no engine, knocks are not heard; trying again in {}: {line}",
                    crate::model::time::human(self.pause)
                );
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), ExitError> {
        self.status_reports.stopping();
        if let Some(successor) = self.successor.take() {
            successor.engine.end();
        }
        if let Some(engine) = self.engine.take() {
            engine.end();
        }
        // Nobody answers there any more.
        let _ = std::fs::remove_file(&self.settings.gate.control_socket);
        match self.settings.firewall.on_stop {
            OnStop::Keep if self.executor.trial_end().is_none() => {
                let grants = self.executor.rest(self.clock.now());
                info!(
                    grants,
                    "stopped; the protection stays, open grants run out by themselves"
                );
                Ok(())
            }
            OnStop::Keep | OnStop::Remove => {
                info!("stopped; everything is taken out of the firewall");
                self.take_out()
            }
        }
    }

    /// Tries again where somebody else holds the firewall's lock for a while.
    fn take_out(&mut self) -> Result<(), ExitError> {
        for _ in 1..REMOVALS {
            match self.executor.remove() {
                Ok(()) => return Ok(()),
                Err(error) => warn!("not everything is out of the firewall, trying again: {error}"),
            }
            std::thread::sleep(PAUSE_MIN);
        }
        self.executor
            .remove()
            .map_err(|error| ExitError::new(FAILED, format!("{error}; run posternd flush")))
    }
}

/// Orders for the executor, and the tickets of those to reload.
fn apart(orders: Vec<Order>) -> (Vec<Order>, Vec<u64>) {
    let mut reloads = Vec::new();
    let orders = orders.into_iter().filter(|order| match order {
        Order::Reload { ticket } => {
            reloads.push(*ticket);
            false
        }
        _ => true,
    });
    (orders.collect(), reloads)
}
