//! From a knock to an open port: several knocks at a closed door, each followed by attempts to connect until one gets in.
//!
//! Owns the measuring and how its figures are told. That each knock opens is asserted, how soon is not: how quick a machine is proves
//! nothing about Postern.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::knock::Knock;
use super::world::{KNOCK, SERVICE, World};
use crate::adapters::clock;
use crate::core::order::Selection;
use crate::model::exit::ExitError;

/// Knocks of one measurement; an odd number has a median of its own.
const KNOCKS: usize = 25;

/// A closed port that does not answer within this time is hidden: an open one takes some ten microseconds.
const HIDDEN_AFTER: Duration = Duration::from_millis(5);

/// The pause between two attempts. Short, for it adds to what is measured; no shorter, for each costs the gate time, too.
const PAUSE: Duration = Duration::from_micros(50);

/// Attempts that are not given up yet. A dropped SYN is sent again only after a second, so an attempt that came too early never gets in.
const PENDING: usize = 64;

/// After this a port that is not open never opens.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long each knock took, the quickest first, and why the last one did not open if it did not.
pub(super) struct Times {
    took: Vec<Duration>,
    then: Option<String>,
}

/// Knocks again and again, with a closed door before each knock, until one does not open.
///
/// # Errors
/// What went otherwise than it should beside the knocks: a packet that could not be made, a grant that was not closed.
pub(super) fn measure(world: &World, profile: &str, gate: IpAddr) -> Result<Times, ExitError> {
    let mut times = Times {
        took: Vec::with_capacity(KNOCKS),
        then: None,
    };
    while times.took.len() < KNOCKS && times.then.is_none() {
        let packet = world.packet(profile, Duration::from_secs(60))?;
        let (service, knock) = (SocketAddr::new(gate, SERVICE), SocketAddr::new(gate, KNOCK));
        let knocked = world.at_client(move || knock_and_connect(service, knock, &packet))?;
        match knocked.and_then(|(_, opened)| opened) {
            Ok(took) => times.took.push(took),
            Err(why) => times.then = Some(why),
        }
        // One that was granted too late is open for whoever measures next.
        if times.then.is_none() || !world.grants()?.is_empty() {
            world.close(Selection::All)?;
        }
    }
    times.took.sort_unstable();
    Ok(times)
}

/// Knocks at a closed door and connects: the knock, which still hears what comes back for it, and the time from its sending to the
/// first connection. The error is of a knock that was not sent.
pub(super) fn knock_and_connect(
    service: SocketAddr,
    knock: SocketAddr,
    packet: &[u8],
) -> Result<(Knock, Result<Duration, String>), String> {
    let mut attempts = Attempts {
        service,
        pending: VecDeque::new(),
    };
    attempts.begin()?;
    if attempts.is_any_let_in(HIDDEN_AFTER)? {
        return Err(format!("{service} was open before the knock"));
    }
    let start = clock::instant();
    let knock = Knock::send(knock, packet)?;
    Ok((knock, attempts.until_let_in(start)))
}

/// Connections on their way.
struct Attempts {
    service: SocketAddr,
    pending: VecDeque<Socket>,
}

impl Attempts {
    /// Attempts again and again; the time from `start` to the first that gets in.
    fn until_let_in(&mut self, start: std::time::Instant) -> Result<Duration, String> {
        while clock::elapsed(start) < PATIENCE {
            self.begin()?;
            if self.is_any_let_in(PAUSE)? {
                return Ok(clock::elapsed(start));
            }
        }
        Err(format!(
            "{} was still closed {} after the knock",
            self.service,
            crate::model::time::human(PATIENCE)
        ))
    }

    fn begin(&mut self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("connecting to {}: {error}", self.service);
        let socket = Socket::new(
            Domain::for_address(self.service),
            Type::STREAM.nonblocking(),
            None,
        )
        .map_err(failed)?;
        match socket.connect(&self.service.into()) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                return Err(failed(error));
            }
            _ => self.pending.push_back(socket),
        }
        if self.pending.len() > PENDING {
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Waits so long at most.
    fn is_any_let_in(&self, most: Duration) -> Result<bool, String> {
        let mut watched: Vec<PollFd<'_>> = self
            .pending
            .iter()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT))
            .collect();
        let ready = poll(&mut watched, Timespec::try_from(most).ok().as_ref())
            .map_err(|error| format!("waiting to be let in: {error}"))?;
        if ready == 0 {
            return Ok(false);
        }
        let answered = watched
            .iter()
            .zip(&self.pending)
            .find(|(watch, _)| !watch.revents().is_empty());
        match answered.map(|(_, socket)| socket.take_error()) {
            Some(Ok(None)) | None => Ok(true),
            Some(Ok(Some(error)) | Err(error)) => {
                Err(format!("{} answered: {error}", self.service))
            }
        }
    }
}

impl Times {
    /// Whether every knock of the measurement opened.
    pub(super) fn all_opened(&self) -> bool {
        self.then.is_none() && self.took.len() == KNOCKS
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let took = &self.took;
        if let [first, .., last] | [first @ last] = took.as_slice() {
            let millis = |time: &Duration| time.as_secs_f64() * 1e3;
            let middle = took.get(took.len() / 2).unwrap_or(last);
            write!(
                f,
                "open {:.2} ms after the knock was sent: the median of ",
                millis(middle)
            )?;
            write!(f, "the {} of {KNOCKS} knocks that opened it; ", took.len())?;
            write!(
                f,
                "the quickest took {:.2} ms, the slowest {:.2} ms",
                millis(first),
                millis(last)
            )?;
        } else {
            write!(f, "0 of {KNOCKS} knocks opened it")?;
        }
        self.then
            .as_ref()
            .map_or(Ok(()), |why| write!(f, "; the next did not: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(count: usize, then: Option<&str>) -> Times {
        let took = (0..count)
            .map(|n| Duration::from_micros(400 + 100 * n as u64))
            .collect();
        Times {
            took,
            then: then.map(str::to_owned),
        }
    }

    #[test]
    fn the_figure_in_the_middle_is_told_with_the_first_and_the_last() {
        let said = times(3, None).to_string();
        assert!(
            said.starts_with("open 0.50 ms after")
                && said.ends_with("the quickest took 0.40 ms, the slowest 0.60 ms"),
            "{said}"
        );
    }

    #[test]
    fn it_comes_out_as_told_only_if_every_knock_opened_and_how_many_did_is_said() {
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
        assert_eq!(
            times(0, Some("it was still closed")).to_string(),
            "0 of 25 knocks opened it; the next did not: it was still closed"
        );
        for times in [
            times(0, None),
            times(KNOCKS - 1, None),
            times(KNOCKS - 1, Some("why")),
        ] {
            assert!(!times.all_opened(), "{times}");
        }
    }
}
