//! The monitor's loop: orders, ends of grants, signals and the life of the engine, one after another, in one thread.
//!
//! It waits on descriptors and deadlines only. Closing goes on whatever the engine does.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{error, info, warn};

use crate::clock;
use crate::link::Received;
use crate::monitor::child::Engine;
use crate::monitor::desk::Desk;
use crate::monitor::prepare::{self, RunAs};
use crate::order::{self, MESSAGE_MAX, Order, Report};
use crate::settings::{OnStop, Settings};
use crate::stop::{FAILED, SYSTEM, Stop};

/// Orders that are carried out in one step of the firewall.
const ORDERS: usize = 256;

/// The first engine must serve within this time; 100,000 users take a few seconds.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Pauses before an engine that died is started again.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// An engine that served this long had no trouble starting.
const SERVED_WELL: Duration = Duration::from_secs(60);

/// The monitor's side of everything.
pub struct Monitor {
    pub(super) config: PathBuf,
    pub(super) settings: Settings,
    pub(super) desk: Desk,
    pub(super) engine: Option<Engine>,
    pub(super) control: OwnedFd,
    pub(super) run_as: RunAs,
    pub(super) clock: clock::Steady,
    pub(super) signals: UnixStream,
    /// When the engine was last started, and the pause before the next start.
    pub(super) started: Instant,
    pub(super) pause: Duration,
    /// Whether any engine of this run ever served.
    pub(super) served: bool,
}

impl Monitor {
    /// Serves until a signal says stop.
    ///
    /// # Errors
    /// When it can't go on.
    pub fn serve(mut self) -> Result<(), Stop> {
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            self.wait()?;
            if self.signalled() {
                return self.stop();
            }
            let orders = self.orders(&mut buffer);
            let reports = self.desk.serve(self.clock.now(), orders);
            self.report(&reports);
            self.watch_engine()?;
        }
    }

    /// Waits for an order, a signal or the next end.
    fn wait(&self) -> Result<(), Stop> {
        let end = self.desk.next_end().map(|end| end.since(self.clock.now()));
        let longest = Duration::from_millis(if self.engine.is_some() { 1000 } else { 100 });
        let time = end.map_or(longest, |end| end.min(longest));
        // Rounded up to the millisecond, so as not to wake just before the end again and again.
        let time = Timespec::try_from(time.saturating_add(Duration::from_millis(1))).ok();
        let mut waited = vec![PollFd::new(&self.signals, PollFlags::IN)];
        waited.extend(self.engine.iter().map(|engine| PollFd::from_borrowed_fd(engine.link.as_fd(), PollFlags::IN)));
        match poll(&mut waited, time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Stop::new(SYSTEM, format!("waiting for orders: {error}"))),
        }
    }

    /// All orders that are there, up to a batch. An engine that says anything else, or is gone, is ended.
    fn orders(&mut self, buffer: &mut [u8]) -> Vec<Order> {
        let mut orders = Vec::new();
        let Some(engine) = self.engine.as_mut() else { return orders };
        let trouble = loop {
            if orders.len() >= ORDERS {
                return orders;
            }
            match engine.link.try_receive(buffer) {
                Ok(Received::Nothing) => return orders,
                Ok(Received::Gone) => break None,
                Ok(Received::Message(len)) => match order::decode(buffer.get(..len).unwrap_or_default()) {
                    Ok(Order::Ready) => {
                        engine.ready = true;
                        self.served = true;
                        info!("the engine serves");
                    }
                    Ok(order) => orders.push(order),
                    Err(error) => break Some(error.to_string()),
                },
                Err(error) => break Some(error.to_string()),
            }
        };
        if let Some(why) = trouble {
            error!("the engine gave an order that is none, it is ended: {why}");
        }
        self.end_engine();
        orders
    }

    fn report(&mut self, reports: &[Report]) {
        for report in reports {
            let Some(engine) = self.engine.as_ref() else { return };
            let sent = order::encode(report)
                .map_err(|error| error.to_string())
                .and_then(|bytes| engine.link.try_send(&bytes).map_err(|error| error.to_string()));
            if let Err(why) = sent {
                warn!("the engine does not listen, it is ended: {why}");
                self.end_engine();
            }
        }
    }

    /// Starts a new engine where there is none, after a pause that grows.
    fn watch_engine(&mut self) -> Result<(), Stop> {
        if let Some(engine) = self.engine.as_mut() {
            if let Some(status) = engine.ended() {
                self.engine = None;
                if !self.served {
                    // It said why by itself; its exit code is the answer.
                    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED);
                    return Err(Stop::new(code, "the engine could not begin (its own line is above)"));
                }
                warn!("the engine ended: {status}");
            } else if !engine.ready && clock::elapsed(self.started) > READY_WITHIN {
                warn!("the engine was not ready within {READY_WITHIN:?}, it is ended");
                self.end_engine();
            }
            return Ok(());
        }
        if clock::elapsed(self.started) < self.pause {
            return Ok(());
        }
        self.pause = if clock::elapsed(self.started) > SERVED_WELL { PAUSE_MIN } else { self.pause.saturating_mul(2).min(PAUSE_MAX) };
        if let Err(stop) = self.start_engine() {
            error!("no engine, knocks are not heard; trying again in {:?}: {stop}", self.pause);
        }
        Ok(())
    }

    /// Reads the config afresh, for no key of it was kept, and starts an engine on it.
    pub(super) fn start_engine(&mut self) -> Result<(), Stop> {
        self.started = clock::instant();
        let (bundle, settings) = prepare::load(&self.config)?;
        let captures = prepare::captures(&settings.gate)?;
        self.desk.reload(&settings, self.clock.now()).map_err(|error| Stop::new(FAILED, error))?;
        self.engine = Some(Engine::start(&super::ENGINE, &bundle, self.control.as_fd(), &captures, self.run_as.ids)?);
        self.settings = settings;
        Ok(())
    }

    fn end_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.end();
        }
    }

    fn signalled(&mut self) -> bool {
        let mut byte = [0];
        self.signals.read(&mut byte).is_ok_and(|count| count > 0)
    }

    fn stop(mut self) -> Result<(), Stop> {
        self.end_engine();
        // Nobody answers there any more.
        let _ = std::fs::remove_file(&self.settings.gate.control_socket);
        match self.settings.firewall.on_stop {
            OnStop::Keep => {
                info!(grants = self.desk.grants().count(), "stopped; the protection stays, open grants run out by themselves");
                Ok(())
            }
            OnStop::Remove => {
                info!("stopped; everything is taken out of the firewall");
                self.desk.remove().map_err(|error| Stop::new(FAILED, error))
            }
        }
    }
}
