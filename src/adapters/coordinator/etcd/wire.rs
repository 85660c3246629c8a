//! What etcd's JSON gateway is asked and answers. Numbers of 64 bits are text there, and keys and values are base64.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::core::claims::{self, Answer};

#[derive(Deserialize)]
pub(super) struct Header {
    #[serde(default)]
    pub(super) revision: String,
}

#[derive(Deserialize)]
pub(super) struct Authenticated {
    pub(super) token: String,
}

#[derive(Deserialize)]
pub(super) struct Granted {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(rename = "TTL")]
    pub(super) seconds: String,
}

#[derive(Deserialize)]
pub(super) struct Committed {
    #[serde(default)]
    pub(super) succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    response_put: Option<Value>,
    response_range: Option<Found>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<Pair>,
    #[serde(default)]
    pub(super) more: bool,
}

#[derive(Deserialize)]
pub(super) struct Pair {
    #[serde(default)]
    pub(super) key: String,
    #[serde(default)]
    value: String,
}

/// One line of a watch.
#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) result: Option<Watched>,
    pub(super) error: Option<Fault>,
}

/// Not a [`Value`], which needs up to 16 times the memory of its text.
#[derive(Deserialize)]
pub(super) struct Fault {
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Watched {
    #[serde(default)]
    pub(super) canceled: bool,
    #[serde(default)]
    pub(super) cancel_reason: String,
    #[serde(default)]
    pub(super) compact_revision: String,
    #[serde(default)]
    pub(super) events: Vec<Event>,
}

#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) kv: Pair,
}

impl Pair {
    pub(super) fn value(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.value).unwrap_or_default()
    }
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

pub(super) fn put(key: &str, value: &str, lease: &str) -> Value {
    json!({ "request_put": { "key": key, "value": encode(value), "lease": lease } })
}

/// Stores a new identity if there is none, and otherwise reads it.
pub(super) fn identify(key: &str, fresh: &str) -> Value {
    json!({
        "compare": [is_absent(key)],
        "success": [put(key, fresh, "0")],
        "failure": [get(key)],
    })
}

/// Puts all if none of the keys exists and the coordinator has this identity.
pub(super) fn transaction(identity: (&str, &str), keys: &[String], puts: &[Value]) -> Value {
    let (own, value) = identity;
    let is_same =
        json!({ "key": own, "target": "VALUE", "result": "EQUAL", "value": encode(value) });
    let absent = keys.iter().map(|key| is_absent(key));
    let ranges = keys.iter().map(String::as_str).chain([own]).map(get);
    let compare: Vec<Value> = [is_same].into_iter().chain(absent).collect();
    json!({
        "compare": compare,
        "success": puts,
        "failure": ranges.collect::<Vec<_>>(),
    })
}

fn is_absent(key: &str) -> Value {
    json!({ "key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0" })
}

fn get(key: &str) -> Value {
    json!({ "request_range": { "key": key } })
}

impl Committed {
    pub(super) fn has_answers(&self, count: usize) -> bool {
        self.responses.len() == count
    }

    /// The identity that the last answer found, if any.
    pub(super) fn identity(&self) -> String {
        let found = self.responses.last().and_then(owner).unwrap_or_default();
        String::from_utf8(found).unwrap_or_default()
    }
}

/// The value that an answer found.
fn owner(response: &Response) -> Option<Vec<u8>> {
    let pair = response.response_range.as_ref()?.kvs.first()?;
    Some(pair.value())
}

/// What a transaction that etcd carried out says of a claim of this many keys, with this many puts. An answer that contradicts itself
/// says nothing.
pub(super) fn read(keys: usize, puts: usize, committed: &Committed) -> Answer {
    let Committed {
        succeeded,
        responses,
    } = committed;
    if *succeeded {
        let are_puts = responses.iter().all(|one| one.response_put.is_some());
        if are_puts && responses.len() == puts {
            return Answer::Won;
        }
    } else if responses.len() == keys.saturating_add(1) {
        let mut owners = responses.iter().take(keys).map(owner);
        if let Some(value) = owners.next().flatten() {
            return Answer::Lost {
                made: claims::made_at(&value),
            };
        }
        if owners.next().flatten().is_some() {
            return Answer::CodeLost;
        }
    }
    Answer::Unknown {
        why: "its answer is no answer to a claim".to_owned(),
    }
}
