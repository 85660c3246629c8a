//! Redis or Valkey: a claim is `SET key value NX GET PX`, which a server with `appendfsync always` answers after it is on disk.
//!
//! A server that may forget claims is refused: with other settings it forgets them when it is killed, or when memory is short.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use zeroize::Zeroizing;

use super::resp::{self, Replies, Reply};
use super::stream::{self, Stream};
use crate::adapters::clock;
use crate::core::claims::{self, Answer, Claim, Coordinator};
use crate::model::cluster::{Cluster, CoordinatorEndpoint, Credentials};
use crate::model::time::millis;

/// The settings of the server are checked again after this time.
const CHECK_AFTER: Duration = Duration::from_secs(10);
const IDLE_MAX: usize = 16;
const REASON_MAX: usize = 200;

/// What the server must have, so that it forgets no claim.
const DEMANDS: [(&str, &str); 4] = [
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    // Otherwise nothing is synced while the file is rewritten.
    ("no-appendfsync-on-rewrite", "no"),
    ("maxmemory-policy", "noeviction"),
];

pub(super) struct Redis {
    cluster: Cluster,
    password: Option<Zeroizing<String>>,
    tls: Arc<ClientConfig>,
    /// The endpoint that is asked first.
    current: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The addresses of each endpoint. Claims do not wait for a name server.
    addresses: Vec<Vec<SocketAddr>>,
    /// Connections to the current endpoint.
    idle: Vec<Stream>,
    checked: Option<Instant>,
}

impl Redis {
    pub(super) fn new(cluster: Cluster, credentials: Credentials) -> Result<Self, String> {
        Ok(Self {
            tls: stream::tls(&credentials)?,
            password: credentials.password,
            cluster,
            current: AtomicUsize::new(0),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(&self) -> Option<(usize, &CoordinatorEndpoint)> {
        let count = self.cluster.endpoints.len().max(1);
        let number = self.current.load(Ordering::Relaxed) % count;
        Some((number, self.cluster.endpoints.get(number)?))
    }

    /// An idle connection, or a new one to a server that was checked.
    fn connection(&self, until: Instant) -> Result<Stream, String> {
        if let Some(mut stream) = self.state().idle.pop() {
            stream.set_deadline(until);
            return Ok(stream);
        }
        let Some((number, endpoint)) = self.endpoint() else {
            return Err("there is no endpoint".to_owned());
        };
        let at = |why: &dyn std::fmt::Display| format!("{endpoint}: {why}");
        let addresses = self.state().addresses.get(number).cloned();
        let mut failed = at(&"it has no address");
        for address in addresses.unwrap_or_default() {
            let tls = endpoint
                .secure
                .then_some((&self.tls, endpoint.host.as_str()));
            match Stream::connect(address, tls, until) {
                Ok(mut stream) => {
                    self.greet(&mut stream).map_err(|why| at(&why))?;
                    return Ok(stream);
                }
                Err(error) => failed = at(&cured(&error)),
            }
        }
        Err(failed)
    }

    /// Authenticates, and refuses a server that may forget claims.
    fn greet(&self, stream: &mut Stream) -> Result<(), String> {
        if let Some(password) = &self.password {
            let user = self.cluster.user.as_deref().unwrap_or("default");
            let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() + user.len() + 64));
            resp::command(&["AUTH", user, password], &mut bytes);
            let [reply] = exchange(stream, &bytes).map_err(|error| error.to_string())?;
            if let Reply::Error(why) = reply {
                return Err(format!(
                    "{}; check cluster.user and cluster.password_file",
                    short(&why)
                ));
            }
        }
        self.check(stream)
    }

    fn check(&self, stream: &mut Stream) -> Result<(), String> {
        let mut bytes = Vec::new();
        resp::command(&["ROLE"], &mut bytes);
        for (name, _) in DEMANDS {
            resp::command(&["CONFIG", "GET", name], &mut bytes);
        }
        let [role, settings @ ..]: [Reply; 1 + DEMANDS.len()] =
            exchange(stream, &bytes).map_err(|error| error.to_string())?;
        let refused = |reply: &Reply| match reply {
            Reply::Error(why) if why.starts_with("NOAUTH") => {
                Some(format!("{}; set cluster.password_file", short(why)))
            }
            Reply::Error(why) if why.starts_with("NOPERM") => Some(format!(
                "{}; the user needs the commands SET, GET, ROLE and CONFIG GET",
                short(why)
            )),
            Reply::Error(why) => Some(short(why)),
            _ => None,
        };
        let replies = [&role].into_iter().chain(&settings);
        if let Some(why) = replies.into_iter().find_map(refused) {
            return Err(why);
        }
        let is_master = matches!(&role, Reply::List(items) if items.first().and_then(Reply::text) == Some("master"));
        if !is_master {
            return Err("it is not the master; name the master in cluster.endpoints".to_owned());
        }
        for ((name, wanted), reply) in DEMANDS.iter().zip(&settings) {
            let found = match reply {
                Reply::List(pair) => pair.get(1).and_then(Reply::text),
                _ => None,
            };
            if found != Some(*wanted) {
                return Err(format!(
                    "{name} is {}, so it may forget claims; set {name} {wanted} in redis.conf",
                    short(found.unwrap_or("unknown"))
                ));
            }
        }
        self.state().checked = Some(clock::instant());
        Ok(())
    }

    fn give_back(&self, stream: Stream) {
        let mut state = self.state();
        if state.idle.len() < IDLE_MAX {
            state.idle.push(stream);
        }
    }

    fn resolve(&self) {
        let found = self.cluster.endpoints.iter().map(|endpoint| {
            let found = (endpoint.host.as_str(), endpoint.port).to_socket_addrs();
            found.map(Iterator::collect::<Vec<_>>).unwrap_or_default()
        });
        let found: Vec<Vec<SocketAddr>> = found.collect();
        let mut state = self.state();
        if state.addresses.is_empty() {
            state.addresses = found;
            return;
        }
        for (known, found) in state.addresses.iter_mut().zip(found) {
            // Without a name server the last addresses stay.
            if !found.is_empty() {
                *known = found;
            }
        }
    }

    fn try_claim(&self, claim: &Claim, until: Instant) -> Result<Answer, String> {
        let value = claim.value(&self.cluster.member);
        let lasts = claim.lasts_ms.map(|lasts| lasts.to_string());
        let mut bytes = Vec::new();
        for key in claim.keys() {
            let key = format!("{}claims/{}", self.cluster.prefix, key.as_str());
            let mut parts = vec!["SET", &key, &value, "NX", "GET"];
            if let Some(lasts) = &lasts {
                parts.extend(["PX", lasts]);
            }
            resp::command(&parts, &mut bytes);
        }
        let mut stream = self.connection(until)?;
        let (mark, code) = if claim.code.is_some() {
            let [mark, code] = exchange(&mut stream, &bytes).map_err(|error| cured(&error))?;
            (mark, code)
        } else {
            let [mark] = exchange(&mut stream, &bytes).map_err(|error| cured(&error))?;
            (mark, Reply::Nil)
        };
        let answer = match (mark, code) {
            (Reply::Nil, Reply::Nil) => Answer::Won,
            (Reply::Text(value), Reply::Nil | Reply::Text(_)) => Answer::Lost {
                made: claims::made_at(&value),
            },
            (Reply::Nil, Reply::Text(_)) => Answer::CodeLost,
            (Reply::Error(why), _) | (_, Reply::Error(why)) => return Err(short(&why)),
            _ => return Err("its answer is no answer to a claim".to_owned()),
        };
        self.give_back(stream);
        Ok(answer)
    }
}

impl Coordinator for Redis {
    fn claim(&self, claim: &Claim, within: Duration) -> Answer {
        let until = clock::instant() + within;
        self.try_claim(claim, until).unwrap_or_else(|why| {
            // Other connections to it are likely as bad.
            self.state().idle.clear();
            Answer::Unknown { why }
        })
    }

    fn prepare(&self, within: Duration) -> Result<(), String> {
        self.resolve();
        let until = clock::instant() + within;
        let was_idle = !self.state().idle.is_empty();
        let prepared = self.connection(until).and_then(|mut stream| {
            let start = clock::instant();
            self.check(&mut stream)?;
            let took = clock::elapsed(start);
            if took > self.cluster.deadline {
                return Err(format!(
                    "it answers later than cluster.deadline, {} ms",
                    millis(self.cluster.deadline)
                ));
            }
            self.give_back(stream);
            Ok(())
        });
        if prepared.is_err() {
            self.state().idle.clear();
            if !was_idle {
                self.current.fetch_add(1, Ordering::Relaxed);
            }
        }
        prepared
    }

    fn is_due(&self) -> bool {
        let checked = self.state().checked;
        checked.is_none_or(|checked| clock::elapsed(checked) >= CHECK_AFTER)
    }
}

/// Sends commands and reads exactly as many replies.
fn exchange<const N: usize>(stream: &mut Stream, commands: &[u8]) -> io::Result<[Reply; N]> {
    stream.write_all(commands)?;
    stream.flush()?;
    let mut replies = Replies::of(stream);
    let read: Vec<Reply> = (0..N).map(|_| replies.next()).collect::<io::Result<_>>()?;
    if !replies.is_empty() {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "it sent more than was asked for",
        ));
    }
    <[Reply; N]>::try_from(read).map_err(|_| ErrorKind::InvalidData.into())
}

fn short(why: &str) -> String {
    why.chars().take(REASON_MAX).collect()
}

fn cured(error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "it does not answer in time".to_owned(),
        _ => short(&error.to_string()),
    };
    if why.contains("UnknownIssuer") {
        return format!("{why}; name the CA that signed it in cluster.ca_file");
    }
    why
}
