//! Measures the time from a knock to an open port, for several knocks at a closed port.
//!
//! Every knock must open the port. The time is not judged, because it depends on the machine.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;

use super::knock::{SentKnock, begin_connection};
use super::probe_error::ProbeError;
use super::world::{KNOCK_PORT, SERVICE_PORT, World};
use crate::adapters::clock;
use crate::core::order::Selection;
use crate::model::exit::ExitError;

const KNOCKS: usize = 25;

/// A port that does not answer within this time is hidden. An open port answers within some ten microseconds.
const HIDDEN_AFTER: Duration = Duration::from_millis(5);

/// The pause between two attempts. A longer one adds to the result; a shorter one slows the gate.
const PAUSE: Duration = Duration::from_micros(50);

/// Limit for open attempts. A dropped SYN is repeated only after a second, so an early attempt does not succeed.
const MAX_PENDING: usize = 64;

const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Times {
    took: Vec<Duration>,
    failure: Option<String>,
}

pub(super) fn measure(world: &World, profile: &str, gate: IpAddr) -> Result<Times, ExitError> {
    let mut times = Times {
        took: Vec::with_capacity(KNOCKS),
        failure: None,
    };
    while times.took.len() < KNOCKS && times.failure.is_none() {
        let packet = world.packet(profile, Duration::from_secs(60))?;
        let service = SocketAddr::new(gate, SERVICE_PORT);
        let knock = SocketAddr::new(gate, KNOCK_PORT);
        let send = move || SentKnock::send(knock, &packet);
        let knocked = world.at_client(move || send_and_connect(service, send))?;
        match knocked.and_then(|(_, opened)| opened) {
            Ok(took) => times.took.push(took),
            Err(error) => times.failure = Some(error.to_string()),
        }
        // A late grant would spoil the next measurement.
        if times.failure.is_none() || !world.daemon.grants()?.is_empty() {
            world.daemon.close(Selection::All)?;
        }
    }
    times.took.sort_unstable();
    Ok(times)
}

/// Sends what opens a closed port, and connects. Returns what was sent and the time to the first connection. Fails if
/// nothing was sent.
pub(super) fn send_and_connect<S>(
    service: SocketAddr,
    send: impl FnOnce() -> Result<S, ProbeError>,
) -> Result<(S, Result<Duration, ProbeError>), ProbeError> {
    let mut attempts = Attempts {
        service,
        pending: VecDeque::new(),
    };
    attempts.begin()?;
    if attempts.any_succeeds(HIDDEN_AFTER)? {
        return Err(ProbeError::AlreadyOpen(service));
    }
    let start = clock::instant();
    let sent = send()?;
    Ok((sent, attempts.until_success(start)))
}

struct Attempts {
    service: SocketAddr,
    pending: VecDeque<Socket>,
}

impl Attempts {
    fn until_success(&mut self, start: std::time::Instant) -> Result<Duration, ProbeError> {
        while clock::elapsed(start) < PATIENCE {
            self.begin()?;
            if self.any_succeeds(PAUSE)? {
                return Ok(clock::elapsed(start));
            }
        }
        Err(ProbeError::StillClosed(self.service, PATIENCE))
    }

    fn begin(&mut self) -> Result<(), ProbeError> {
        self.pending.push_back(begin_connection(self.service)?);
        if self.pending.len() > MAX_PENDING {
            self.pending.pop_front();
        }
        Ok(())
    }

    fn any_succeeds(&self, most: Duration) -> Result<bool, ProbeError> {
        let pending = self.pending.iter();
        let mut watched: Vec<PollFd<'_>> = pending
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT))
            .collect();
        let most = Timespec::try_from(most).ok();
        if poll(&mut watched, most.as_ref()).map_err(ProbeError::Wait)? == 0 {
            return Ok(false);
        }
        let mut sockets = watched.iter().zip(&self.pending);
        let answered = sockets.find(|(watch, _)| !watch.revents().is_empty());
        match answered.map(|(_, socket)| socket.take_error()) {
            Some(Ok(None)) | None => Ok(true),
            Some(Ok(Some(error)) | Err(error)) => Err(ProbeError::Connect(self.service, error)),
        }
    }
}

impl Times {
    pub(super) fn all_opened(&self) -> bool {
        self.failure.is_none() && self.took.len() == KNOCKS
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let took = &self.took;
        if let [first, .., last] | [first @ last] = took.as_slice() {
            let middle = took.get(took.len() / 2).unwrap_or(last);
            let [quickest, median, slowest] =
                [first, middle, last].map(|time| time.as_secs_f64() * 1e3);
            let count = took.len();
            write!(
                f,
                "open {median:.2} ms after the knock was sent: the median of "
            )?;
            write!(f, "the {count} of {KNOCKS} knocks that opened it; ")?;
            write!(
                f,
                "the quickest took {quickest:.2} ms, the slowest {slowest:.2} ms"
            )?;
        } else {
            write!(f, "0 of {KNOCKS} knocks opened it")?;
        }
        match &self.failure {
            Some(why) => write!(f, "; the next did not: {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(count: usize, failure: Option<&str>) -> Times {
        let took = (0..count)
            .map(|n| Duration::from_micros(400 + 100 * n as u64))
            .collect();
        Times {
            took,
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn median_and_extremes_are_printed() {
        let said = times(3, None).to_string();
        assert!(
            said.starts_with("open 0.50 ms after")
                && said.ends_with("the quickest took 0.40 ms, the slowest 0.60 ms"),
            "{said}"
        );
    }

    #[test]
    fn only_all_knocks_are_a_success() {
        assert!(
            times(KNOCKS, None).all_opened()
                && times(KNOCKS, None)
                    .to_string()
                    .contains(" 25 of 25 knocks ")
        );
        let said = times(7, Some("it was still closed")).to_string();
        assert!(
            said.contains(" 7 of 25 knocks ")
                && said.ends_with("; the next did not: it was still closed"),
            "{said}"
        );
        let expected = "0 of 25 knocks opened it; the next did not: it was still closed";
        assert_eq!(times(0, Some("it was still closed")).to_string(), expected);
        for times in [
            times(0, None),
            times(KNOCKS - 1, None),
            times(KNOCKS - 1, Some("why")),
        ] {
            assert!(!times.all_opened(), "{times}");
        }
    }
}
