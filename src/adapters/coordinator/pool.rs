//! Connections to the endpoints of a coordinator. They are kept for the next request, but not after a failure.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::stream::Stream;
use super::text;
use crate::adapters::clock;
use crate::model::cluster::CoordinatorEndpoint;

const IDLE_MAX: usize = 16;

/// While another one is left to try, an endpoint has this long to take a connection.
const OTHERS_AFTER: Duration = Duration::from_millis(100);

/// Firewalls on the way forget connections that are idle for long, without a word.
const IDLE_FOR: Duration = Duration::from_secs(60);

pub(super) struct Pool {
    endpoints: Vec<CoordinatorEndpoint>,
    tls: Arc<ClientConfig>,
    /// The endpoint that is asked first.
    current: AtomicUsize,
    idle: Mutex<Idle>,
    names: Arc<Names>,
}

#[derive(Default)]
struct Idle {
    /// Connections of an earlier epoch are not kept.
    epoch: u64,
    /// And when each was used last.
    connections: Vec<(Instant, Connection)>,
}

pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) endpoint: usize,
    epoch: u64,
}

/// The addresses of each endpoint. Claims do not wait for a name server.
#[derive(Default)]
struct Names {
    known: Mutex<Known>,
    have_answered: Condvar,
}

#[derive(Default)]
struct Known {
    addresses: Vec<Vec<SocketAddr>>,
    is_asking: bool,
}

impl Pool {
    pub(super) fn new(endpoints: Vec<CoordinatorEndpoint>, tls: Arc<ClientConfig>) -> Self {
        let literal = endpoints.iter().map(|one| {
            let address = one.host.parse::<IpAddr>().ok();
            address.map(|ip| SocketAddr::new(ip, one.port))
        });
        let addresses = literal.map(|one| one.into_iter().collect()).collect();
        let known = Known {
            addresses,
            is_asking: false,
        };
        Self {
            endpoints,
            tls,
            current: AtomicUsize::new(0),
            idle: Mutex::default(),
            names: Arc::new(Names {
                known: Mutex::new(known),
                have_answered: Condvar::new(),
            }),
        }
    }

    pub(super) fn endpoint(&self, number: usize) -> Option<&CoordinatorEndpoint> {
        self.endpoints.get(number)
    }

    pub(super) fn name(&self, number: usize) -> String {
        let endpoint = self.endpoint(number);
        endpoint.map(ToString::to_string).unwrap_or_default()
    }

    /// What an endpoint said, with its name.
    pub(super) fn at(&self, number: usize, why: &str) -> String {
        match self.endpoint(number) {
            Some(endpoint) => format!("{endpoint}: {why}"),
            None => why.to_owned(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.endpoints.len().max(1)
    }

    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// The next request goes to another endpoint than this one first. Several that fail at once turn once.
    pub(super) fn leave(&self, endpoint: usize) {
        let next = endpoint.wrapping_add(1) % self.len();
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self
            .current
            .compare_exchange(endpoint, next, success, failure);
    }

    /// An idle connection to the current endpoint that the server has not closed.
    pub(super) fn take(&self, until: Instant) -> Option<Connection> {
        let current = self.current();
        loop {
            let (used, mut found) = self.idle().connections.pop()?;
            let is_young = clock::elapsed(used) < IDLE_FOR;
            if is_young && found.endpoint == current && found.stream.is_quiet() {
                found.stream.set_deadline(until);
                return Some(found);
            }
        }
    }

    /// A new connection to the first endpoint that takes one.
    pub(super) fn connect(&self, until: Instant) -> Result<Connection, String> {
        let (first, mut failed) = (self.current(), "there is no endpoint".to_owned());
        for turn in 0..self.endpoints.len() {
            let number = first.wrapping_add(turn) % self.len();
            let is_last = turn.saturating_add(1) == self.endpoints.len();
            match self.connect_to(number, share(until, is_last)) {
                Ok(mut connection) => {
                    self.current.store(number, Ordering::Relaxed);
                    connection.stream.set_deadline(until);
                    return Ok(connection);
                }
                Err(why) => failed = why,
            }
        }
        // Only the last one had all the time that was left, which an endpoint far away needs. The next time it is another one.
        self.leave(first);
        Err(failed)
    }

    pub(super) fn connect_to(&self, number: usize, until: Instant) -> Result<Connection, String> {
        let Some(endpoint) = self.endpoints.get(number) else {
            return Err("there is no endpoint".to_owned());
        };
        let epoch = self.idle().epoch;
        let addresses = self.names.known().addresses.get(number).cloned();
        let addresses = addresses.unwrap_or_default();
        let mut failed = format!("{endpoint}: its name has no address");
        for (turn, address) in addresses.iter().enumerate() {
            let host = endpoint.host.as_str();
            let tls = endpoint.secure.then_some((&self.tls, host));
            let is_last = turn.saturating_add(1) == addresses.len();
            match Stream::connect(*address, tls, share(until, is_last)) {
                Ok(mut stream) => {
                    stream.set_deadline(until);
                    return Ok(Connection {
                        stream,
                        endpoint: number,
                        epoch,
                    });
                }
                Err(error) => failed = format!("{endpoint}: {}", cured(&error)),
            }
        }
        Err(failed)
    }

    pub(super) fn give_back(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.epoch == connection.epoch && idle.connections.len() < IDLE_MAX {
            idle.connections.push((clock::instant(), connection));
        }
    }

    /// After a failure other connections are likely as bad, also those that are in use.
    pub(super) fn clear(&self) {
        let mut idle = self.idle();
        idle.epoch = idle.epoch.wrapping_add(1);
        idle.connections.clear();
    }

    /// Looks the names of the endpoints up again. Waits until then only if none has an address yet.
    pub(super) fn look_up(&self, until: Instant) {
        if self.endpoints.iter().all(is_literal) {
            return;
        }
        let mut known = self.names.known();
        if !known.is_asking {
            let (names, endpoints) = (Arc::clone(&self.names), self.endpoints.clone());
            // The C library has no deadline for it.
            let started = thread::Builder::new().spawn(move || names.look_up(&endpoints));
            known.is_asking = started.is_ok();
        }
        while known.is_asking && known.addresses.iter().all(Vec::is_empty) {
            let left = until.saturating_duration_since(clock::instant());
            if left.is_zero() {
                return;
            }
            let waited = self.names.have_answered.wait_timeout(known, left);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_up(&self, endpoints: &[CoordinatorEndpoint]) {
        for (number, endpoint) in endpoints.iter().enumerate() {
            if is_literal(endpoint) {
                continue;
            }
            let found = (endpoint.host.as_str(), endpoint.port).to_socket_addrs();
            let found: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
            // Without a name server the last addresses stay.
            if let Some(known) = self.known().addresses.get_mut(number)
                && !found.is_empty()
            {
                *known = found;
            }
            self.have_answered.notify_all();
        }
        self.known().is_asking = false;
        self.have_answered.notify_all();
    }
}

/// One that does not answer leaves time for the others.
fn share(until: Instant, is_last: bool) -> Instant {
    let now = clock::instant();
    let left = until.saturating_duration_since(now);
    now + if is_last {
        left
    } else {
        (left / 2).min(OTHERS_AFTER)
    }
}

fn is_literal(endpoint: &CoordinatorEndpoint) -> bool {
    endpoint.host.parse::<IpAddr>().is_ok()
}

/// Why a connection failed, and what to do about it.
pub(super) fn cured(error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "it does not answer in time".to_owned()
        }
        _ => text::short(&error.to_string()),
    };
    let cures = [
        (
            "UnknownIssuer",
            "name the CA that signed it in cluster.ca_file",
        ),
        (
            "CertificateRequired",
            "set cluster.cert_file and cluster.cert_key_file",
        ),
    ];
    text::with_cure(why, &cures)
}

#[cfg(test)]
mod tests {
    use super::super::stream;
    use super::*;
    use crate::model::cluster::Credentials;

    #[test]
    fn failures_at_once_leave_one_endpoint() {
        let endpoint = |port| CoordinatorEndpoint {
            secure: false,
            host: "127.0.0.1".to_owned(),
            port,
        };
        let tls = stream::tls(&Credentials::default()).unwrap();
        let pool = Pool::new([1, 2, 3].map(endpoint).into(), tls);
        (0..8).for_each(|_| pool.leave(0));
        assert_eq!(pool.current(), 1);
        pool.leave(1);
        pool.leave(2);
        assert_eq!(pool.current(), 0);
    }
}
