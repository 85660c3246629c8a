//! etcd: a claim is one transaction that writes its keys if none of them exists.
//!
//! A lease ends the claims. It is granted in advance, because a lease for each claim would double the time, and it carries few
//! claims, because etcd stalls while it removes many keys at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::gateway::{Failure, Gateway};
use crate::adapters::clock;
use crate::core::claims::{self, Answer, Claim, Coordinator};
use crate::model::cluster::{Cluster, Credentials};
use crate::model::time::millis;

/// A lease is replaced after this time, and not used after that one.
const RENEW_AFTER: Duration = Duration::from_secs(10);
const USE_FOR: Duration = Duration::from_secs(20);

/// The same for its claims: to remove 20,000 at once stalls etcd for 0.3 s.
const RENEW_AT: u32 = 250;
const CLAIMS_MAX: u32 = 500;

pub(super) struct Etcd {
    gateway: Gateway,
    cluster: Cluster,
    password: Option<Zeroizing<String>>,
    /// How long a claim may have to last.
    longest: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<String>,
    lease: Option<Lease>,
}

struct Lease {
    id: String,
    /// Before it was asked for, so that etcd ends it later than this gate thinks.
    asked: Instant,
    claims: u32,
}

#[derive(Deserialize)]
struct Authenticated {
    token: String,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "TTL")]
    seconds: String,
}

#[derive(Deserialize)]
struct Committed {
    header: Header,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "revision")]
    _revision: String,
}

#[derive(Deserialize)]
struct Response {
    response_put: Option<Value>,
    response_range: Option<Range>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    #[serde(default)]
    value: String,
}

impl Etcd {
    pub(super) fn new(
        cluster: Cluster,
        credentials: Credentials,
        window: Duration,
    ) -> Result<Self, String> {
        Ok(Self {
            gateway: Gateway::new(cluster.endpoints.clone(), &credentials)?,
            password: credentials.password,
            cluster,
            longest: claims::longest(window),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self) -> Option<String> {
        self.state().token.clone()
    }

    /// A lease that lasts at least as long as any claim.
    fn lease(&self) -> Option<String> {
        let mut state = self.state();
        let lease = state.lease.as_mut()?;
        if clock::elapsed(lease.asked) > USE_FOR || lease.claims >= CLAIMS_MAX {
            return None;
        }
        lease.claims = lease.claims.saturating_add(1);
        Some(lease.id.clone())
    }

    /// A lease or a token that the server does not know is used no more.
    fn forget(&self, failure: &Failure) {
        if let Failure::Refused(status, why) = failure {
            let mut state = self.state();
            if why.contains("lease not found") {
                state.lease = None;
            } else if *status == 401 || why.contains("auth") || why.contains("token") {
                state.token = None;
            }
        }
    }

    fn authenticate(&self, within: Duration) -> Result<(), String> {
        let (Some(user), Some(password)) = (&self.cluster.user, &self.password) else {
            return Ok(());
        };
        if self.token().is_some() {
            return Ok(());
        }
        let request = json!({ "name": user, "password": password.as_str() });
        let answer: Result<Authenticated, _> =
            self.gateway
                .ask("auth/authenticate", None, &request, within);
        match answer {
            Ok(Authenticated { token }) => self.state().token = Some(token),
            Err(Failure::Refused(_, why)) if why.contains("authentication is not enabled") => {}
            Err(failure) => return Err(self.cured(failure)),
        }
        Ok(())
    }

    fn cured(&self, failure: Failure) -> String {
        self.forget(&failure);
        let why = failure.why();
        let cures = [
            (
                "invalid user ID or password",
                "check cluster.user and cluster.password_file",
            ),
            (
                "user name is empty",
                "set cluster.user and cluster.password_file",
            ),
            (
                "permission denied",
                "grant cluster.user readwrite on all keys of cluster.prefix",
            ),
            (
                "NOSPACE",
                "turn on auto-compaction and defragment, see docs/cluster.md",
            ),
            (
                "CommonName of client",
                "use a client certificate without a CN, see docs/cluster.md",
            ),
            (
                "UnknownIssuer",
                "name the CA that signed it in cluster.ca_file",
            ),
            (
                "CertificateRequired",
                "set cluster.cert_file and cluster.cert_key_file",
            ),
        ];
        match cures.iter().find(|(what, _)| why.contains(what)) {
            Some((_, cure)) => format!("{why}; {cure}"),
            None => why,
        }
    }

    /// A read that a majority of the nodes must confirm, as it must confirm a claim.
    fn look(&self, within: Duration) -> Result<(), String> {
        let start = clock::instant();
        let request = json!({ "key": self.key("members"), "keys_only": true });
        let token = self.token();
        let answer: Result<Value, _> =
            self.gateway
                .ask("kv/range", token.as_deref(), &request, within);
        answer.map_err(|failure| self.cured(failure))?;
        let took = clock::elapsed(start);
        if took > self.cluster.deadline {
            return Err(format!(
                "it answers later than cluster.deadline, {} ms",
                millis(self.cluster.deadline)
            ));
        }
        Ok(())
    }

    fn grant(&self, within: Duration) -> Result<(), String> {
        let asked = clock::instant();
        let seconds = self
            .longest
            .saturating_add(USE_FOR)
            .as_secs()
            .saturating_add(1);
        let request = json!({ "TTL": seconds.to_string() });
        let token = self.token();
        let granted: Granted = self
            .gateway
            .ask("lease/grant", token.as_deref(), &request, within)
            .map_err(|failure| self.cured(failure))?;
        let long = granted.seconds.parse::<u64>();
        if long.is_ok_and(|long| long >= seconds)
            && granted.id.bytes().all(|id| id.is_ascii_digit())
        {
            let id = granted.id;
            self.state().lease = Some(Lease {
                id,
                asked,
                claims: 0,
            });
            return Ok(());
        }
        Err("etcd granted a lease that is too short".to_owned())
    }

    fn key(&self, name: &str) -> String {
        BASE64_STANDARD.encode(format!("{}{name}", self.cluster.prefix))
    }

    fn transaction(&self, claim: &Claim, lease: Option<&str>) -> Value {
        let value = BASE64_STANDARD.encode(claim.value(&self.cluster.member));
        let lease = lease.unwrap_or("0");
        let keys: Vec<String> = claim
            .keys()
            .map(|key| self.key(&format!("claims/{}", key.as_str())))
            .collect();
        let compare = keys.iter().map(|key| {
            json!({ "key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0" })
        });
        let put = keys
            .iter()
            .map(|key| json!({ "request_put": { "key": key, "value": value, "lease": lease } }));
        let range = keys
            .iter()
            .map(|key| json!({ "request_range": { "key": key } }));
        json!({
            "compare": compare.collect::<Vec<_>>(),
            "success": put.collect::<Vec<_>>(),
            "failure": range.collect::<Vec<_>>(),
        })
    }
}

impl Coordinator for Etcd {
    fn claim(&self, claim: &Claim, within: Duration) -> Answer {
        let lease = match claim.lasts_ms {
            Some(lasts) if lasts > millis(self.longest) => {
                let why = "the claim would have to last longer than its lease".to_owned();
                return Answer::Unknown { why };
            }
            Some(_) => match self.lease() {
                Some(lease) => Some(lease),
                None => {
                    let why = "no lease was granted in time".to_owned();
                    return Answer::Unknown { why };
                }
            },
            None => None,
        };
        let request = self.transaction(claim, lease.as_deref());
        let token = self.token();
        let answer = self
            .gateway
            .ask("kv/txn", token.as_deref(), &request, within);
        match answer {
            Ok(committed) => read(claim, committed),
            Err(failure) => Answer::Unknown {
                why: self.cured(failure),
            },
        }
    }

    fn prepare(&self, within: Duration) -> Result<(), String> {
        let start = clock::instant();
        let left = || within.saturating_sub(clock::elapsed(start));
        let prepared = self
            .authenticate(left())
            .and_then(|()| self.look(left().min(self.cluster.deadline.saturating_mul(2))))
            .and_then(|()| self.grant(left()));
        if prepared.is_err() {
            self.gateway.turn();
        }
        prepared
    }

    fn is_due(&self) -> bool {
        let state = self.state();
        state.lease.as_ref().is_none_or(|lease| {
            clock::elapsed(lease.asked) >= RENEW_AFTER || lease.claims >= RENEW_AT
        })
    }
}

/// What a transaction that etcd carried out says of the claim. An answer that contradicts itself says nothing.
fn read(claim: &Claim, committed: Committed) -> Answer {
    let Committed {
        header: Header { .. },
        succeeded,
        responses,
    } = committed;
    let are_puts = responses.iter().all(|one| one.response_put.is_some());
    if responses.len() == claim.keys().count() {
        if succeeded && are_puts {
            return Answer::Won;
        }
        let owner = |response: &Response| {
            let pair = response.response_range.as_ref()?.kvs.first()?;
            Some(BASE64_STANDARD.decode(&pair.value).unwrap_or_default())
        };
        let mut owners = responses.iter().map(owner);
        if !succeeded {
            if let Some(value) = owners.next().flatten() {
                return Answer::Lost {
                    made: claims::made_at(&value),
                };
            }
            if owners.next().flatten().is_some() {
                return Answer::CodeLost;
            }
        }
    }
    Answer::Unknown {
        why: "its answer is no answer to a claim".to_owned(),
    }
}
