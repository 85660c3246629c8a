//! Knocks until a service answers: the knocks, the look-ups of names and the connection attempts of one wait, in one loop.
//!
//! None of the three waits for another. The attempt that succeeds is the one that the caller gets.

use std::net::SocketAddr;
use std::time::Duration;

use super::attempts::{Attempts, Connected, Unreached};
use super::codes::Codes;
use super::knock::SentKnock;
use super::open_grant::{OpenGrant, allows, service_addresses};
use super::resolve;
use super::rounds::Rounds;
use super::schedule::Schedule;
use super::wake::{Alarm, no_alarm};
use crate::adapters::clock;
use crate::client::profile::Host;
use crate::model::exit::ExitError;

/// How long a knock without a wait waits for a slow resolver, after it has gone to other addresses.
const LATE_NAME: Duration = Duration::from_secs(2);

/// Where the service is that the wait is for.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// At this port of the gate, or of the target.
    AtGate(u16),
    Host {
        host: Host,
        port: u16,
        /// What is known already.
        addresses: Vec<SocketAddr>,
    },
}

#[derive(Debug)]
pub(crate) struct Waited {
    /// One for each address.
    pub(crate) sent: Vec<SentKnock>,
    pub(crate) result: Result<Connected, Unreached>,
}

impl OpenGrant {
    /// Knocks and connects until the service answers, the limit is over, or the alarm is stopped.
    /// Calls `tell` for each address when the first knock to it was sent.
    pub(crate) fn until_open(
        &mut self,
        service: &Awaited,
        limit: Duration,
        codes: Codes,
        alarm: &Alarm,
        tell: &mut dyn FnMut(&SentKnock),
    ) -> Result<Waited, ExitError> {
        let start = clock::instant();
        let mut attempts = Attempts::new(start, true);
        let host = match service {
            Awaited::AtGate(_) => None,
            Awaited::Host { host, .. } => Some(host.clone()),
        };
        let mut rounds = Rounds::new(self, self.schedule, codes, host, alarm)?;
        if let Awaited::Host {
            host, addresses, ..
        } = service
            && !addresses.is_empty()
        {
            rounds.names.know(host, addresses);
        }
        let result = loop {
            alarm.clear();
            let now = clock::elapsed(start);
            if now >= limit || alarm.is_stopped() {
                rounds.check_host(service)?;
                break Err(attempts.failure());
            }
            rounds.knock(now, tell)?;
            attempts.add(rounds.service(service));
            let until = rounds.next(now).min(limit);
            if let Some(connected) = attempts.wait(until, Some(alarm.as_fd())) {
                break Ok(connected);
            }
        };
        let sent = match rounds.end() {
            Err(_) if alarm.is_stopped() => Vec::new(),
            sent => sent?,
        };
        self.remember(&sent, result.is_ok());
        Ok(Waited { sent, result })
    }

    /// Knocks once at each address, without a wait for the service.
    pub(crate) fn knock(&mut self, codes: Codes) -> Result<Vec<SentKnock>, ExitError> {
        let alarm = Alarm::new().map_err(no_alarm)?;
        let start = clock::instant();
        let once = Schedule {
            once: true,
            ..self.schedule
        };
        let mut rounds = Rounds::new(self, once, codes, None, &alarm)?;
        let mut idle = Attempts::new(start, false);
        loop {
            let now = clock::elapsed(start);
            rounds.knock(now, &mut |_| {})?;
            let is_late = rounds.has_sent() && now >= LATE_NAME;
            if !rounds.names.is_pending() || is_late {
                break;
            }
            idle.wait(rounds.next(now), Some(alarm.as_fd()));
            alarm.clear();
        }
        let sent = rounds.end()?;
        self.remember(&sent, true);
        Ok(sent)
    }
}

impl Rounds<'_> {
    /// Fails if no address of the host is known.
    fn check_host(&self, service: &Awaited) -> Result<(), ExitError> {
        match service {
            Awaited::Host { host, port, .. } if self.names.addresses(host, *port).is_empty() => {
                Err(match self.names.failure(host) {
                    Some(failure) => failure.clone().into(),
                    None => resolve::no_answer(host),
                })
            }
            _ => Ok(()),
        }
    }

    /// Where to connect, after the knocks that were sent.
    fn service(&self, service: &Awaited) -> Vec<SocketAddr> {
        match service {
            Awaited::AtGate(port) => service_addresses(self.sent(), *port),
            Awaited::Host { .. } if !self.has_sent() => Vec::new(),
            Awaited::Host { host, port, .. } => {
                let mut addresses = self.names.addresses(host, *port);
                addresses.retain(|address| self.families.contain(address.ip()));
                let is_allowed = |address: &SocketAddr| allows(self.sent(), *address);
                if addresses.iter().any(is_allowed) {
                    addresses.retain(is_allowed);
                }
                addresses
            }
        }
    }
}
