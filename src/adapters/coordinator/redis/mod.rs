//! Redis or Valkey: a claim and its publication are one script, which a server with `appendfsync always` answers after it is on disk.
//!
//! A server that may forget claims is refused: with other settings it forgets them when it is killed, or when memory is short.

use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::identity::{self, Identity};
use super::pool::{self, Connection, Pool};
use super::resp::{self, Reply};
use super::stream::{self, Stream};
use super::text;
use crate::adapters::clock;
use crate::core::claims::{
    self, Answer, Claim, Coordinator, GateFacts, Heard, MARGIN, Publish, PublishKind, Stored,
};
use crate::model::cluster::{Cluster, Credentials};
use crate::model::time::millis;
use script::{SCRIPT, exchange, refusal, try_exchange};

mod script;
mod watch;

/// The settings of the server are checked again after this time.
const CHECK_AFTER: Duration = Duration::from_secs(10);

/// The longest replies of all that a claim or a check gets.
const REPLIES_MAX: usize = 16 << 10;

/// What the server must have, so that it forgets no claim.
const DEMANDS: [(&str, &str); 4] = [
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    // Otherwise nothing is synced while the file is rewritten.
    ("no-appendfsync-on-rewrite", "no"),
    ("maxmemory-policy", "noeviction"),
];

pub(super) struct Redis {
    pool: Pool,
    cluster: Cluster,
    password: Option<Zeroizing<String>>,
    /// The streams of grants, closes and notices, and of heartbeats, which end soon. Each with how long it keeps an entry.
    streams: [(String, Duration); 2],
    /// This gate publishes and watches.
    has_fleet: bool,
    identity: Identity,
    checked: Mutex<Option<Instant>>,
}

impl Redis {
    pub(super) fn new(
        cluster: Cluster,
        credentials: Credentials,
        gate: &GateFacts,
    ) -> Result<Self, String> {
        let grants = format!("{}grants/{}", cluster.prefix, gate.name_hash);
        let longest = Duration::from_millis(gate.longest_grant_ms);
        let heartbeats = (format!("{grants}/heartbeats"), MARGIN);
        Ok(Self {
            pool: Pool::new(cluster.endpoints.clone(), stream::tls(&credentials)?),
            password: credentials.password,
            has_fleet: cluster.fleet_key_file.is_some(),
            cluster,
            streams: [(grants, longest.saturating_add(MARGIN)), heartbeats],
            identity: Identity::default(),
            checked: Mutex::default(),
        })
    }

    /// An idle connection, or a new one to a server that was checked.
    fn connection(&self, until: Instant) -> Result<Connection, String> {
        match self.pool.take(until) {
            Some(connection) => Ok(connection),
            None => self.new_connection(until),
        }
    }

    fn new_connection(&self, until: Instant) -> Result<Connection, String> {
        let mut connection = self.pool.connect(until)?;
        let greeted = self.greet(&mut connection.stream);
        greeted.map_err(|why| self.at(&connection, &why))?;
        Ok(connection)
    }

    fn at(&self, connection: &Connection, why: &str) -> String {
        self.pool.at(connection.endpoint, why)
    }

    /// Authenticates, and refuses a server that may forget claims.
    fn greet(&self, stream: &mut Stream) -> Result<(), String> {
        if let Some(password) = &self.password {
            let user = self.cluster.user.as_deref().unwrap_or("default");
            let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() + user.len() + 64));
            resp::command(&["AUTH", user, password], &mut bytes);
            let [reply] = exchange(stream, &bytes, REPLIES_MAX)?;
            if let Reply::Error(why) = reply {
                let why = text::short(&why);
                return Err(format!(
                    "{why}; check cluster.user and cluster.password_file"
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
            exchange(stream, &bytes, REPLIES_MAX)?;
        let replies = [&role].into_iter().chain(&settings);
        if let Some(why) = replies.into_iter().find_map(refusal) {
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
                    text::short(found.unwrap_or("unknown"))
                ));
            }
        }
        Ok(())
    }

    fn identify(&self, connection: &mut Connection) -> Result<(), String> {
        let (key, fresh) = (self.key(identity::KEY), Identity::fresh()?);
        let mut command = Vec::new();
        resp::command(&["SET", &key, &fresh, "NX"], &mut command);
        resp::command(&["GET", &key], &mut command);
        let found = exchange(&mut connection.stream, &command, REPLIES_MAX);
        let found = found.and_then(|[set, found]| {
            let refused = refusal(&set).or_else(|| refusal(&found));
            refused.map_or(Ok(found), Err)
        });
        let found = found.map_err(|why| self.at(connection, &why))?;
        self.see(connection.endpoint, &found)
    }

    fn see(&self, endpoint: usize, found: &Reply) -> Result<(), String> {
        let found = found.text().unwrap_or_default();
        self.identity.see(&self.pool.name(endpoint), found)
    }

    /// Writes as a claim does, so that a user who may not write is found before a knock is used up.
    fn try_write(&self, stream: &mut Stream) -> Result<(), String> {
        let key = self.key(&format!("trial/{}", self.cluster.member));
        // It has ended, and is told to nobody.
        let [_, (heartbeats, keeps)] = &self.streams;
        let publication = (heartbeats.as_str(), *keeps, "0 -".to_owned());
        let publications: Vec<_> = self.has_fleet.then_some(publication).into_iter().collect();
        let command = self.script(&[key], &self.cluster.member, Some(1), &publications)?;
        let [reply] = exchange(stream, &command, REPLIES_MAX)?;
        match refusal(&reply) {
            Some(why) => Err(why),
            None if matches!(reply, Reply::List(_)) => Ok(()),
            None => Err("its answer is no answer to a claim".to_owned()),
        }
    }

    fn publication(&self, publish: &Publish) -> Result<(&str, Duration, String), String> {
        if !publish.is_sound() {
            return Err("what is to be published is too long, or has no name".to_owned());
        }
        let [grants, heartbeats] = &self.streams;
        let (stream, keeps) = match publish.kind {
            PublishKind::Heartbeat => heartbeats,
            PublishKind::Grant | PublishKind::Close | PublishKind::Notice => grants,
        };
        Ok((stream, *keeps, publish.stored(clock::wall())))
    }

    fn try_claim(
        &self,
        claim: &Claim,
        publish: Option<&Publish>,
        until: Instant,
    ) -> Result<Answer, String> {
        let keys = claim
            .keys()
            .map(|key| self.key(&format!("claims/{}", key.as_str())));
        let publication = publish
            .map(|publish| self.publication(publish))
            .transpose()?;
        let value = claim.value(&self.cluster.member);
        let publications: Vec<_> = publication.into_iter().collect();
        let keys: Vec<_> = keys.collect();
        let command = self.script(&keys, &value, claim.lasts_ms, &publications)?;
        match self.ask(&command, until)?.as_slice() {
            [Reply::Number(0), _] => Ok(Answer::Won),
            [Reply::Number(1), Reply::Text(owner)] => Ok(Answer::Lost {
                made: claims::made_at(owner),
            }),
            [Reply::Number(2), Reply::Text(_)] if keys.len() == 2 => Ok(Answer::CodeLost),
            _ => Err("its answer is no answer to a claim".to_owned()),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.cluster.prefix)
    }

    /// A stream with one entry, which is new after each change of this value.
    fn changes(&self, name: &str) -> String {
        self.key(name) + "/changes"
    }

    /// Runs one command. `None` if its reply is longer than `most`.
    fn one(
        &self,
        words: &[&str],
        values: &[&[u8]],
        most: usize,
        within: Duration,
    ) -> Result<Option<Reply>, String> {
        let parts = words.iter().map(|word| word.as_bytes());
        let parts: Vec<&[u8]> = parts.chain(values.iter().copied()).collect();
        let mut command = Vec::new();
        resp::command(&parts, &mut command);
        let mut connection = self.connection(clock::instant() + within)?;
        let [reply] = match try_exchange(&mut connection.stream, &command, most) {
            Err(error) if error.kind() == ErrorKind::FileTooLarge => return Ok(None),
            reply => reply.map_err(|error| self.at(&connection, &pool::cured(&error)))?,
        };
        if let Some(why) = refusal(&reply) {
            return Err(self.at(&connection, &why));
        }
        self.pool.give_back(connection);
        Ok(Some(reply))
    }

    /// Runs the script.
    fn ask(&self, command: &[u8], until: Instant) -> Result<Vec<Reply>, String> {
        let mut connection = self.connection(until)?;
        let reply = exchange(&mut connection.stream, command, REPLIES_MAX);
        let [reply] = reply.map_err(|why| {
            self.pool.clear();
            self.pool.leave(connection.endpoint);
            self.at(&connection, &why)
        })?;
        if let Some(why) = refusal(&reply) {
            return Err(self.at(&connection, &why));
        }
        let endpoint = connection.endpoint;
        self.pool.give_back(connection);
        match reply {
            Reply::List(items) => match items.as_slice() {
                [Reply::Number(-1), found] => {
                    self.see(endpoint, found)?;
                    Err("its identity was read in two ways".to_owned())
                }
                _ => Ok(items),
            },
            _ => Err("its answer is no answer to a claim".to_owned()),
        }
    }

    /// Runs [`SCRIPT`] for these keys of a claim, and these publications: stream, how long it keeps them, and content.
    fn script(
        &self,
        keys: &[String],
        value: &str,
        lasts_ms: Option<u64>,
        publications: &[(&str, Duration, String)],
    ) -> Result<Vec<u8>, String> {
        let (own, identity) = (self.key(identity::KEY), self.identity.known()?);
        let count = keys
            .len()
            .saturating_add(publications.len())
            .saturating_add(1);
        let count = count.to_string();
        let claims = keys.len().to_string();
        let lasts = lasts_ms.map(|lasts| lasts.to_string()).unwrap_or_default();
        let keeps: Vec<String> = publications
            .iter()
            .map(|(_, keeps, _)| millis(*keeps).to_string())
            .collect();
        let mut parts = vec!["EVAL", SCRIPT, &count, &own];
        parts.extend(keys.iter().map(String::as_str));
        parts.extend(publications.iter().map(|(stream, ..)| *stream));
        parts.extend([identity.as_str(), &claims, value, &lasts]);
        for ((.., content), keeps) in publications.iter().zip(&keeps) {
            parts.extend([keeps.as_str(), content.as_str()]);
        }
        let mut bytes = Vec::new();
        resp::command(&parts, &mut bytes);
        Ok(bytes)
    }
}

impl Coordinator for Redis {
    fn claim(&self, claim: &Claim, publish: Option<&Publish>, within: Duration) -> Answer {
        let until = clock::instant() + within;
        self.try_claim(claim, publish, until)
            .unwrap_or_else(|why| Answer::Unknown { why })
    }

    fn publish(&self, several: &[Publish], within: Duration) -> Result<(), String> {
        let publications = several.iter().map(|publish| self.publication(publish));
        let publications = publications.collect::<Result<Vec<_>, _>>()?;
        let command = self.script(&[], "", None, &publications)?;
        match self.ask(&command, clock::instant() + within)?.as_slice() {
            [Reply::Number(0), _] => Ok(()),
            _ => Err("its answer is no answer to a publication".to_owned()),
        }
    }

    fn watch(&self, hear: &mut dyn FnMut(Heard<'_>) -> bool) -> Result<(), String> {
        self.watch_until_told(hear)
    }

    fn prepare(&self, within: Duration) -> Result<(), String> {
        let until = clock::instant() + within;
        self.pool.look_up(until);
        let mut endpoint = self.pool.current();
        let prepared = self.connection(until).and_then(|mut connection| {
            endpoint = connection.endpoint;
            let start = clock::instant();
            let checked = self.check(&mut connection.stream);
            checked.map_err(|why| self.at(&connection, &why))?;
            self.identify(&mut connection)?;
            let written = self.try_write(&mut connection.stream);
            written.map_err(|why| self.at(&connection, &why))?;
            text::in_time(clock::elapsed(start), self.cluster.deadline)?;
            self.pool.give_back(connection);
            Ok(())
        });
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        *checked = prepared.is_ok().then(clock::instant);
        if prepared.is_err() {
            self.pool.clear();
            // A claim that failed meanwhile has left it already.
            self.pool.leave(endpoint);
        }
        prepared
    }

    fn read(&self, name: &str, most: usize, within: Duration) -> Result<Stored, String> {
        let longest = most.saturating_add(REPLIES_MAX);
        match self.one(&["GET", &self.key(name)], &[], longest, within)? {
            None => Ok(Stored::TooLong),
            Some(Reply::Nil) => Ok(Stored::Nothing),
            Some(Reply::Text(value)) if value.len() > most => Ok(Stored::TooLong),
            Some(Reply::Text(value)) => Ok(Stored::Value(value)),
            Some(_) => Err("its answer is no value".to_owned()),
        }
    }

    fn write(&self, name: &str, value: &[u8], within: Duration) -> Result<(), String> {
        let set = self.one(&["SET", &self.key(name)], &[value], REPLIES_MAX, within)?;
        match set.as_ref().and_then(Reply::text) {
            Some("OK") => Ok(()),
            _ => Err("it did not say that the value is set".to_owned()),
        }
    }

    fn write_watched(&self, name: &str, value: &[u8], within: Duration) -> Result<(), String> {
        self.write(name, value, within)?;
        let changes = self.changes(name);
        let words = ["XADD", &changes, "MAXLEN", "1", "*", "p", "1"];
        let added = self.one(&words, &[], REPLIES_MAX, within)?;
        added.map(drop).ok_or_else(too_long)
    }

    fn watch_value(&self, name: &str, changed: &mut dyn FnMut()) -> Result<(), String> {
        self.watch_changes(&self.changes(name), changed)
    }

    fn remove(&self, name: &str, within: Duration) -> Result<(), String> {
        // Without another command that the user must have.
        let words = ["SET", &self.key(name), "", "PX", "1"];
        let removed = self.one(&words, &[], REPLIES_MAX, within)?;
        removed.map(drop).ok_or_else(too_long)
    }

    fn is_due(&self) -> bool {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.is_none_or(|checked| clock::elapsed(checked) >= CHECK_AFTER)
    }
}

fn too_long() -> String {
    "its answer is too long".to_owned()
}
