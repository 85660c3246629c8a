//! The monitor's event loop: one thread carries out orders, closes grants in time, checks the firewall, and supervises the engine.
//!
//! It waits only on descriptors and deadlines. It closes grants even if the engine fails.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{error, info, warn};

use crate::adapters::clock;
use crate::core::order::{self, MESSAGE_MAX, Order};
use crate::daemon::monitor::executor::Executor;
use crate::daemon::monitor::firewall_watch::{EXPENSIVE_PAUSE, FirewallWatch};
use crate::daemon::monitor::reap;
use crate::daemon::monitor::signals::Signals;
use crate::daemon::monitor::status::{MonitorStatus, StatusReporter};
use crate::daemon::monitor::supervisor::Supervisor;
use crate::daemon::monitor::supervisor::reload_requests::ReloadRequests;
use crate::daemon::roster::RosterWatch;
use crate::model::exit::{ExitError, FAILED};
use crate::model::settings::OnStop;

#[cfg(test)]
mod tests;

const BATCH: usize = 256;

/// After so much work on orders, the ends of grants and signals come first.
const ORDERS_WITHIN: Duration = Duration::from_millis(100);

const WAIT_WITHOUT_ENGINE: Duration = Duration::from_millis(100);

const REMOVALS: u32 = 4;
const REMOVAL_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Monitor {
    clock: clock::Steady,
    signals: Signals,
    executor: Executor,
    supervisor: Supervisor,
    reloads: ReloadRequests,
    /// Orders that were read and not carried out yet.
    orders: VecDeque<Order>,
    orders_within: Duration,
    firewall_watch: FirewallWatch,
    reporter: StatusReporter,
    roster: RosterWatch,
}

impl Monitor {
    pub(super) fn new(
        clock: clock::Steady,
        signals: Signals,
        executor: Executor,
        supervisor: Supervisor,
    ) -> Self {
        Self {
            clock,
            signals,
            executor,
            supervisor,
            reloads: ReloadRequests::default(),
            orders: VecDeque::new(),
            orders_within: ORDERS_WITHIN,
            firewall_watch: FirewallWatch::new(),
            reporter: StatusReporter::new(clock),
            roster: RosterWatch::default(),
        }
    }

    pub(super) fn serve(mut self) -> Result<(), ExitError> {
        match self.serve_until_stopped() {
            Ok(()) => self.stop(),
            Err(stop) => {
                // A trial must never lock anybody out, even after an error.
                if self.executor.trial_end().is_some() {
                    self.stop().unwrap_or_else(|also| error!("{also}"));
                }
                Err(stop)
            }
        }
    }

    fn serve_until_stopped(&mut self) -> Result<(), ExitError> {
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let is_signalled = self.wait()?;
            if is_signalled && self.signals.take_stop() {
                return Ok(());
            }
            let trial_end = self.executor.trial_end();
            if trial_end.is_some_and(|end| end <= self.clock.now()) {
                return Err(trial_failed());
            }
            self.turn(&mut buffer)?;
        }
    }

    fn turn(&mut self, buffer: &mut [u8]) -> Result<(), ExitError> {
        self.follow_clock();
        self.carry_out_orders(buffer);
        self.firewall_watch.take_events();
        if self.firewall_watch.due_in().is_zero() {
            let now = self.clock.now();
            self.firewall_watch.check(&mut self.executor, now);
            self.supervisor.tell_ended(&mut self.executor);
        }
        if self.signals.take_reload() {
            self.reloads.signal();
            self.reporter.reloading();
        }
        // Another engine would get the reports of the orders that are left.
        if self.orders.is_empty() {
            let now = self.clock.now();
            self.supervisor
                .step(now, &mut self.executor, &mut self.reloads, buffer)?;
        }
        self.reload_if_due();
        self.publish_status();
        reap::orphans(&self.supervisor.process_ids());
        Ok(())
    }

    fn follow_clock(&mut self) {
        if let Some(step) = self.clock.follow() {
            info!("the system's clock was set {step}; every grant keeps the time that it has left");
            self.executor.clock_was_set(step);
            let now = self.clock.now();
            self.firewall_watch.check(&mut self.executor, now);
        }
    }

    fn carry_out_orders(&mut self, buffer: &mut [u8]) {
        let start = clock::instant();
        if self.orders.is_empty() {
            self.read_orders(buffer);
            self.open_announced(buffer);
        }
        loop {
            let now = self.clock.now();
            let reports = self.executor.serve_batch(now, &mut self.orders);
            self.supervisor.send(&reports);
            if self.orders.is_empty() || clock::elapsed(start) >= self.orders_within {
                return;
            }
        }
    }

    /// Opens what was announced, as soon as the order comes. Only while there is nothing else to do.
    fn open_announced(&mut self, buffer: &mut [u8]) {
        let (1, Some(Order::Announced { ticket, request })) =
            (self.orders.len(), self.orders.front())
        else {
            return;
        };
        let (ticket, request) = (*ticket, request.clone());
        self.orders.clear();
        let order = Order::Open { ticket, request };
        let (Ok(message), Order::Open { request, .. }) = (order::encode(&order), order) else {
            return;
        };
        let (supervisor, mut others) = (&mut self.supervisor, Vec::new());
        let mut is_ordered = || supervisor.brings(&message, buffer, &mut others);
        let now = self.clock.now();
        let report = self.executor.open_if(now, ticket, request, &mut is_ordered);
        self.supervisor.send(report.as_slice());
        self.sort(others);
    }

    fn read_orders(&mut self, buffer: &mut [u8]) {
        let orders = self.supervisor.orders(BATCH, buffer);
        self.sort(orders);
    }

    /// Orders to reload are for the supervisor, all others for the executor.
    fn sort(&mut self, orders: Vec<Order>) {
        let (reloads, orders): (Vec<Order>, Vec<Order>) = orders
            .into_iter()
            .partition(|order| matches!(order, Order::Reload { .. }));
        self.orders.extend(orders);
        let is_busy = !self.supervisor.can_reload();
        let tickets = reloads.iter().filter_map(Order::ticket);
        let reports = tickets.filter_map(|ticket| self.reloads.ask(ticket, is_busy));
        self.supervisor.send(&reports.collect::<Vec<_>>());
    }

    fn reload_if_due(&mut self) {
        if self.supervisor.is_idle() {
            self.reloads.forget_signal();
        } else if self.supervisor.can_reload() && self.reloads.is_due() {
            self.reporter.reloading();
            self.supervisor.reload(&mut self.reloads);
        }
    }

    fn publish_status(&mut self) {
        let is_due = self.reporter.is_due(self.supervisor.serves());
        if is_due {
            self.supervisor.ask_figures();
            let roster = self.roster.look(self.supervisor.settings());
            self.executor.tell_roster(roster);
        }
        let status = MonitorStatus {
            serves: self.supervisor.serves(),
            has_served: self.supervisor.has_served(),
            is_settled: self.supervisor.is_settled() && !self.reloads.is_signalled(),
            is_config_unusable: self.supervisor.is_config_unusable(),
            settings: self.supervisor.settings(),
            tally: self.executor.tally(),
            figures: self.supervisor.figures(),
        };
        self.reporter
            .publish(is_due, &status, || self.supervisor.captures());
    }

    /// Waits for an order, a signal, the end of a grant, the next check of the firewall or the next status report. Returns
    /// whether a signal came.
    fn wait(&self) -> Result<bool, ExitError> {
        let longest = if self.supervisor.is_idle() {
            WAIT_WITHOUT_ENGINE
        } else {
            EXPENSIVE_PAUSE
        };
        let next_end = self.executor.next_end();
        let next_end = next_end.map(|end| end.since(self.clock.now()));
        let reload = self.reloads.due_in();
        let reload = reload.filter(|_| self.supervisor.is_settled());
        let due = [next_end, reload].into_iter().flatten();
        let others = [self.firewall_watch.due_in(), self.reporter.beat()];
        let time = due.chain(others).fold(longest, Duration::min);
        let time = if self.orders.is_empty() {
            time
        } else {
            Duration::ZERO
        };
        // One millisecond more, so that the loop does not wake just before the deadline.
        let time = Timespec::try_from(time.saturating_add(Duration::from_millis(1))).ok();
        let signals = self.signals.streams();
        let mut descriptors = signals
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .to_vec();
        descriptors.extend(self.supervisor.poll_fds());
        let events = self.firewall_watch.descriptors();
        descriptors.extend(events.map(|events| PollFd::from_borrowed_fd(events, PollFlags::IN)));
        match poll(&mut descriptors, time.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(ExitError::system("waiting for orders")(error)),
        }
        let mut signals = descriptors.iter().take(signals.len());
        Ok(signals.any(|signal| !signal.revents().is_empty()))
    }

    fn stop(&mut self) -> Result<(), ExitError> {
        self.reporter.stopping();
        self.supervisor.stop();
        let settings = self.supervisor.settings();
        // Nobody answers there any more.
        let _ = std::fs::remove_file(&settings.gate.control_socket);
        if settings.firewall.on_stop == OnStop::Keep && self.executor.trial_end().is_none() {
            let grants = self.executor.leave_open(self.clock.now());
            info!(
                grants,
                "stopped; the protection stays, open grants end by themselves"
            );
            Ok(())
        } else {
            info!("stopped; all rules are removed from the firewall");
            self.remove_from_firewall()
        }
    }

    /// Tries several times, because another program may hold the firewall's lock.
    fn remove_from_firewall(&mut self) -> Result<(), ExitError> {
        for _ in 1..REMOVALS {
            match self.executor.remove() {
                Ok(()) => return Ok(()),
                Err(error) => {
                    warn!("the rules are not removed from the firewall yet, trying again: {error}")
                }
            }
            std::thread::sleep(REMOVAL_PAUSE);
        }
        self.executor
            .remove()
            .map_err(|error| ExitError::new(FAILED, format!("{error}; run posternd flush")))
    }
}

fn trial_failed() -> ExitError {
    ExitError::new(
        FAILED,
        "the trial ended: no knock was admitted and nobody confirmed, so all rules were removed from the firewall; \
         see `posternd check`, and why knocks fail in the log, then try again",
    )
}
