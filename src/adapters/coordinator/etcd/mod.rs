//! etcd: a claim is one transaction that writes its keys if none of them exists, and what is to be published with it.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::identity::{self, Identity};
use super::pool::{Connection, Pool};
use super::stream;
use super::text;
use crate::adapters::clock;
use crate::core::claims::{
    self, Answer, Claim, Coordinator, GateFacts, Heard, MARGIN, Publish, PublishKind, Stored,
};
use crate::model::cluster::{Cluster, Credentials};
use leases::Leases;
use wire::{Committed, Granted, encode};

mod ask;
mod leases;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

/// The longest answer: a claim's has less than one kilobyte.
const ANSWER_MAX: usize = 16 << 10;

const GRANT_WITHIN: Duration = Duration::from_secs(1);

/// Later comparisons must not delay the word that the coordinator is back.
const COMPARE_AFTER: Duration = Duration::from_secs(8);
const COMPARE_WITHIN: Duration = Duration::from_millis(200);
/// So much longer than the deadline a probe waits, to say that an answer comes too late. A node that is silent must not keep the gate
/// from the next node for long.
const TOO_LATE: Duration = Duration::from_millis(50);

pub(super) struct Etcd {
    pool: Pool,
    cluster: Cluster,
    password: Option<Zeroizing<String>>,
    /// What the keys of publications start with.
    published: String,
    /// This gate publishes and watches.
    has_fleet: bool,
    /// How far from the current endpoint the next watch begins, of publications and of a value.
    watch_from: AtomicUsize,
    value_from: AtomicUsize,
    identity: Identity,
    state: Mutex<State>,
}

struct State {
    token: Option<String>,
    claims: Leases,
    grants: Leases,
    /// A close lasts as long as the grants that it closes, which may be another gate's.
    closes: Leases,
    /// When all endpoints were last asked for their cluster.
    compared: Option<Instant>,
}

impl Etcd {
    pub(super) fn new(
        cluster: Cluster,
        credentials: Credentials,
        gate: &GateFacts,
    ) -> Result<Self, String> {
        let window = Duration::from_millis(gate.window_ms);
        let longest_grant = Duration::from_millis(gate.longest_grant_ms);
        Ok(Self {
            pool: Pool::new(cluster.endpoints.clone(), stream::tls(&credentials)?),
            password: credentials.password,
            published: format!("{}grants/{}/", cluster.prefix, gate.name_hash),
            has_fleet: cluster.fleet_key_file.is_some(),
            cluster,
            watch_from: AtomicUsize::new(0),
            value_from: AtomicUsize::new(0),
            identity: Identity::default(),
            state: Mutex::new(State {
                token: None,
                claims: Leases::new(claims::longest(window)),
                grants: Leases::new(longest_grant),
                closes: Leases::new(longest_grant.saturating_add(MARGIN)),
                compared: None,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self) -> Option<String> {
        self.state().token.clone()
    }

    /// An idle connection, or a new one.
    fn connection(&self, until: Instant) -> Result<Connection, String> {
        match self.pool.take(until) {
            Some(connection) => Ok(connection),
            None => self.pool.connect(until),
        }
    }

    /// A transaction that a majority of the nodes must confirm, as it must confirm a claim.
    fn look(&self, within: Duration) -> Result<(), String> {
        let start = clock::instant();
        let until = start + within;
        let connection = match self.pool.take(until) {
            Some(connection) => connection,
            None => self.pool.connect(until)?,
        };
        let number = connection.endpoint;
        self.identify(connection)?;
        let in_time = text::in_time(clock::elapsed(start), self.cluster.deadline);
        in_time.inspect_err(|_| self.pool.leave(number))
    }

    fn identify(&self, connection: Connection) -> Result<(), String> {
        let number = connection.endpoint;
        let fresh = Identity::fresh()?;
        let request = wire::identify(&self.key(identity::KEY), &fresh);
        let answer = self.ask_by(connection, "kv/txn", &request, ANSWER_MAX);
        let committed: Committed = answer.map_err(|failure| self.cured(failure))?;
        let found = if committed.succeeded {
            fresh
        } else {
            committed.identity()
        };
        self.see(number, &found)
    }

    fn see(&self, number: usize, found: &str) -> Result<(), String> {
        self.identity.see(&self.pool.name(number), found)
    }

    /// Fails if the transaction, of this many keys, was not carried out because the coordinator is another one.
    fn see_same(&self, committed: &Committed, keys: usize) -> Result<(), String> {
        if committed.succeeded || !committed.has_answers(keys.saturating_add(1)) {
            return Ok(());
        }
        self.see(self.pool.current(), &committed.identity())
    }

    /// Asks those that the claims do not go to. One that does not answer is asked again the next time.
    fn compare_endpoints(&self, left: Duration) -> Result<(), String> {
        let compared = self.state().compared;
        let within = match compared {
            None => left,
            Some(at) if clock::elapsed(at) > COMPARE_AFTER => left.min(COMPARE_WITHIN),
            Some(_) => return Ok(()),
        };
        let current = self.pool.current();
        let others = u32::try_from(self.pool.len().saturating_sub(1)).unwrap_or_default();
        for number in (0..self.pool.len()).filter(|number| *number != current) {
            let until = clock::instant() + within / others.max(1);
            if let Ok(connection) = self.pool.connect_to(number, until) {
                let _ = self.identify(connection);
            }
        }
        self.state().compared = Some(clock::instant());
        self.identity.known().map(drop)
    }

    fn grant(&self, which: fn(&mut State) -> &mut Leases, within: Duration) -> Result<(), String> {
        let asked = clock::instant();
        let seconds = which(&mut self.state()).seconds();
        let request = json!({ "TTL": seconds.to_string() });
        let granted: Granted = self
            .ask("lease/grant", &request, ANSWER_MAX, within)
            .map_err(|failure| self.cured(failure))?;
        let long = granted.seconds.parse::<u64>();
        let is_id = granted.id.bytes().all(|id| id.is_ascii_digit());
        if long.is_ok_and(|long| long >= seconds) && is_id {
            which(&mut self.state()).granted(granted.id, asked);
            return Ok(());
        }
        Err("etcd granted a lease that is too short".to_owned())
    }

    fn key(&self, name: &str) -> String {
        encode(format!("{}{name}", self.cluster.prefix))
    }

    /// What puts a publication. `in_haste`: rather with a lease that is too short than later.
    fn put(&self, publish: &Publish, in_haste: bool) -> Result<Value, String> {
        if !publish.is_sound() {
            return Err("what is to be published is too long, or has no name".to_owned());
        }
        let lasts = Duration::from_millis(publish.lasts_ms);
        let mut state = self.state();
        let is_long = lasts > state.claims.longest;
        let leases = match publish.kind {
            PublishKind::Close => &mut state.closes,
            _ => &mut state.grants,
        };
        let long = is_long.then(|| leases.take(1)).flatten();
        // Without a long one a gate that joins late may miss it.
        let may_be_short = in_haste || !is_long;
        let short = || may_be_short.then(|| state.claims.take(1)).flatten();
        let lease = long.or_else(short);
        drop(state);
        let lease = lease.ok_or("no lease for publications was granted in time")?;
        let (kind, name) = (publish.kind.name(), &publish.name);
        let key = encode(format!("{}{kind}/{name}", self.published));
        Ok(wire::put(&key, &publish.stored(clock::wall()), &lease))
    }

    /// A lease for the closes among these, as long as the longest of them.
    fn grant_for_closes(&self, several: &[Publish], within: Duration) -> Result<(), String> {
        let closes = several.iter();
        let closes = closes.filter(|publish| publish.kind == PublishKind::Close);
        let Some(lasts) = closes.map(|publish| publish.lasts_ms).max() else {
            return Ok(());
        };
        let lasts = Duration::from_millis(lasts);
        let is_due = {
            let leases = &mut self.state().closes;
            if leases.longest < lasts {
                *leases = Leases::new(lasts);
            }
            leases.is_due()
        };
        if is_due {
            self.grant(|state| &mut state.closes, within)?;
        }
        Ok(())
    }

    /// Fails before anything was sent.
    fn transaction(&self, claim: &Claim, publish: Option<&Publish>) -> Result<Value, String> {
        let identity = self.identity.known()?;
        let more = publish.map(|publish| self.put(publish, true)).transpose()?;
        let lease = match claim.lasts_ms.map(Duration::from_millis) {
            None => "0".to_owned(),
            Some(lasts) => {
                let leases = &mut self.state().claims;
                if lasts > leases.longest {
                    return Err("the claim would have to last longer than its lease".to_owned());
                }
                let lease = leases.take(claim.keys().count());
                lease.ok_or("no lease was granted in time")?
            }
        };
        let keys = claim
            .keys()
            .map(|key| self.key(&format!("claims/{}", key.as_str())));
        let keys: Vec<String> = keys.collect();
        let value = claim.value(&self.cluster.member);
        let puts = keys.iter().map(|key| wire::put(key, &value, &lease));
        let puts: Vec<Value> = puts.chain(more).collect();
        let own = self.key(identity::KEY);
        Ok(wire::transaction((&own, &identity), &keys, &puts))
    }
}

impl Coordinator for Etcd {
    fn claim(&self, claim: &Claim, publish: Option<&Publish>, within: Duration) -> Answer {
        let asked = self.transaction(claim, publish).and_then(|request| {
            self.ask::<Committed>("kv/txn", &request, ANSWER_MAX, within)
                .map_err(|failure| self.cured(failure))
        });
        match asked {
            Ok(committed) => {
                let keys = claim.keys().count();
                let puts = keys.saturating_add(usize::from(publish.is_some()));
                let same = self.see_same(&committed, keys);
                same.map_or_else(
                    |why| Answer::Unknown { why },
                    |()| wire::read(keys, puts, &committed),
                )
            }
            Err(why) => Answer::Unknown { why },
        }
    }

    fn publish(&self, several: &[Publish], within: Duration) -> Result<(), String> {
        let identity = self.identity.known()?;
        self.grant_for_closes(several, within)?;
        // While the coordinator answers too late for claims, nobody else renews it.
        if self.state().claims.is_due() {
            self.grant(|state| &mut state.claims, within)?;
        }
        let puts = several.iter().map(|publish| self.put(publish, false));
        let puts = puts.collect::<Result<Vec<_>, _>>()?;
        let own = self.key(identity::KEY);
        let request = wire::transaction((&own, &identity), &[], &puts);
        let committed: Committed = self
            .ask("kv/txn", &request, ANSWER_MAX, within)
            .map_err(|failure| self.cured(failure))?;
        self.see_same(&committed, 0)?;
        if committed.succeeded {
            return Ok(());
        }
        Err("its answer is no answer to a publication".to_owned())
    }

    fn watch(&self, hear: &mut dyn FnMut(Heard<'_>) -> bool) -> Result<(), String> {
        if self.state().grants.is_due() {
            self.grant(|state| &mut state.grants, GRANT_WITHIN)?;
        }
        self.watch_until_told(hear)
    }

    fn prepare(&self, within: Duration) -> Result<(), String> {
        let until = clock::instant() + within;
        let left = || until.saturating_duration_since(clock::instant());
        self.pool.look_up(until);
        let prepared = self
            .authenticate(left())
            .and_then(|()| self.look(left().min(self.cluster.deadline.saturating_add(TOO_LATE))))
            .and_then(|()| self.grant(|state| &mut state.claims, left()))
            .and_then(|()| {
                let is_due = self.has_fleet && self.state().grants.is_due();
                if is_due {
                    self.grant(|state| &mut state.grants, left())?;
                }
                self.compare_endpoints(left())
            });
        if prepared.is_err() {
            self.pool.clear();
        }
        prepared
    }

    fn read(&self, name: &str, most: usize, within: Duration) -> Result<Stored, String> {
        let request = json!({ "key": self.key(name) });
        // Base64, and what is around it.
        let longest = most.saturating_mul(4) / 3 + ANSWER_MAX;
        let page: Result<wire::Page, _> = self.ask("kv/range", &request, longest, within);
        let page = match page {
            Err(failure) if failure.is_too_long() => return Ok(Stored::TooLong),
            page => page.map_err(|failure| self.cured(failure))?,
        };
        Ok(match page.kvs.first().map(wire::Pair::value) {
            None => Stored::Nothing,
            Some(value) if value.len() > most => Stored::TooLong,
            Some(value) => Stored::Value(value),
        })
    }

    fn write(&self, name: &str, value: &[u8], within: Duration) -> Result<(), String> {
        let request = json!({ "key": self.key(name), "value": encode(value) });
        let written: Result<Value, _> = self.ask("kv/put", &request, ANSWER_MAX, within);
        written.map(drop).map_err(|failure| self.cured(failure))
    }

    fn write_watched(&self, name: &str, value: &[u8], within: Duration) -> Result<(), String> {
        self.write(name, value, within)
    }

    fn watch_value(&self, name: &str, changed: &mut dyn FnMut()) -> Result<(), String> {
        self.watch_key(&self.key(name), changed)
    }

    fn remove(&self, name: &str, within: Duration) -> Result<(), String> {
        let request = json!({ "key": self.key(name) });
        let removed: Result<Value, _> = self.ask("kv/deleterange", &request, ANSWER_MAX, within);
        removed.map(drop).map_err(|failure| self.cured(failure))
    }

    fn is_due(&self) -> bool {
        let state = self.state();
        state.claims.is_due() || (self.has_fleet && state.grants.is_due())
    }
}
