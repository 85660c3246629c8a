//! An explanation as JSON: one object for each datagram, on one line.

use std::net::IpAddr;

use postern_fwknop::{DigestKind, Opened};
use serde::Serialize;

use crate::adapters::control;
use crate::admin::explain::{Account, Cause, ClockOffset, Did, HitAccount, Told, What};
use crate::cli::postern::json::RequestJson;
use crate::cli::posternd::attempts;
use crate::core::gate::Seen;
use crate::model::attempt::Unused;
use crate::model::reason::{Drop, Reason};
use crate::model::time::Timestamp;

/// The explanation of one datagram. `docs/json.md` documents the fields; more may be added.
#[derive(Serialize)]
pub(super) struct Object<'a> {
    version: u32,
    number: u64,
    at_ms: Option<Timestamp>,
    source: Option<IpAddr>,
    #[serde(flatten)]
    of: Of<'a>,
    says: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Of<'a> {
    Account(Box<Explained<'a>>),
    Hit(HitJson<'a>),
    Other {
        verdict: Option<&'a str>,
        port: Option<u16>,
    },
    Unused {
        verdict: Option<&'a str>,
        unused: &'a Unused,
    },
}

#[derive(Serialize)]
struct Explained<'a> {
    bytes: usize,
    verdict: &'a str,
    reason: Option<String>,
    step: Option<u8>,
    cause: &'a str,
    user: Option<&'a str>,
    other_gate: Option<&'a str>,
    /// Its age on arrival, by the two clocks; negative if it is from the future.
    age_ms: Option<i64>,
    request: Option<RequestJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fwknop: Option<FwknopJson<'a>>,
    besides: Option<Besides<'a>>,
    running_gate: Option<Seen>,
}

/// A hit of a sequence.
#[derive(Serialize)]
struct HitJson<'a> {
    hit: String,
    verdict: Option<&'a str>,
    reason: Option<String>,
    user: Option<&'a str>,
    /// How many hits have matched, with this one.
    matched: Option<usize>,
    /// Whose sequence it can become.
    users: Vec<&'a str>,
    next: Vec<String>,
}

fn hit(account: &HitAccount) -> HitJson<'_> {
    let (verdict, reason, user) = match &account.did {
        Did::Decided(account) => (
            Some(account.verdict.name()),
            account.reason().map(|reason| reason.to_string()),
            account.user.as_deref(),
        ),
        Did::Wrong => {
            let reason = Reason::Drop(Drop::WrongHit);
            (Some("drop"), Some(reason.to_string()), None)
        }
        Did::Unwatched | Did::Ignored | Did::Matched => (None, None, None),
    };
    let after = account.after.as_ref();
    let users = after.iter().flat_map(|after| &after.users);
    let next = after.iter().flat_map(|after| &after.at.next);
    HitJson {
        hit: account.port().to_string(),
        verdict,
        reason,
        user,
        matched: after.map(|after| after.at.hits),
        users: users.map(|(user, _)| user.as_str()).collect(),
        next: next.map(ToString::to_string).collect(),
    }
}

/// The fields of a packet of fwknop, as its client prints them.
#[derive(Serialize)]
struct FwknopJson<'a> {
    rand: &'a str,
    username: &'a str,
    timestamp: u64,
    version: &'a str,
    r#type: u8,
    message: String,
    nat_access: Option<String>,
    server_auth: Option<String>,
    client_timeout: u32,
    encoded: &'a str,
    digest: &'a str,
    digest_type: &'a str,
}

#[derive(Serialize)]
struct Besides<'a> {
    rule: &'a str,
    says: &'a str,
}

pub(super) fn object(told: &Told) -> Object<'_> {
    let (source, of, says) = match &told.what {
        What::Account(account) => {
            let of = Of::Account(Box::new(explained(account)));
            (account.source, of, account.sentence())
        }
        What::Hit(account) => {
            let of = Of::Hit(hit(account));
            (Some(account.hit.source), of, account.sentence())
        }
        What::Other(other) => {
            let (verdict, port) = (None, other.port);
            (other.source, Of::Other { verdict, port }, other.to_string())
        }
        What::Unused(unused) => {
            let verdict = None;
            let says = attempts::unused_lines(unused, None);
            (
                None,
                Of::Unused { verdict, unused },
                says.trim_end().to_owned(),
            )
        }
    };
    Object {
        version: control::VERSION,
        number: told.number,
        at_ms: told.at,
        source,
        of,
        says,
    }
}

/// What `--clock` found.
#[derive(Serialize)]
pub(super) struct Clock<'a> {
    version: u32,
    at_ms: Timestamp,
    source: IpAddr,
    user: &'a str,
    is_right: bool,
    behind_ms: i64,
    says: String,
}

pub(super) fn clock(offset: &ClockOffset) -> Clock<'_> {
    Clock {
        version: control::VERSION,
        at_ms: offset.at,
        source: offset.source,
        user: &offset.user,
        is_right: offset.is_right,
        behind_ms: offset.behind_ms(),
        says: offset.sentence(),
    }
}

fn fwknop(opened: &Opened) -> FwknopJson<'_> {
    let request = &opened.request;
    let server_auth = opened.server_auth.as_deref();
    FwknopJson {
        rand: &opened.random,
        username: &request.user,
        timestamp: request.timestamp_s,
        version: &opened.version,
        r#type: request.type_number(),
        message: request.message_text(),
        nat_access: request.target().map(ToString::to_string),
        server_auth: server_auth.map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
        client_timeout: request.timeout_s.unwrap_or_default(),
        encoded: &opened.encoded,
        digest: &opened.digest,
        digest_type: match opened.digest_kind {
            DigestKind::Md5 => "md5",
            DigestKind::Sha1 => "sha1",
            DigestKind::Sha256 => "sha256",
            DigestKind::Sha384 => "sha384",
            DigestKind::Sha512 => "sha512",
            DigestKind::Sha3_256 => "sha3_256",
            DigestKind::Sha3_512 => "sha3_512",
        },
    }
}

fn explained(account: &Account) -> Explained<'_> {
    let reason = account.reason();
    let over_ipv4 = account.source.map(|source| source.is_ipv4());
    let request = account.request.as_ref();
    Explained {
        bytes: account.bytes,
        verdict: account.verdict.name(),
        reason: reason.map(|reason| reason.to_string()),
        step: reason.map(Reason::step),
        cause: account.cause.name(),
        user: account.user.as_deref(),
        other_gate: match &account.cause {
            Cause::OtherGate(name) => Some(name.as_str()),
            _ => None,
        },
        age_ms: account.made().map(|made| account.at.age_of(made)),
        request: request.map(|request| RequestJson::new(request, over_ipv4)),
        fwknop: account.fwknop.as_deref().map(fwknop),
        besides: account.besides.as_ref().map(|(rule, says)| Besides {
            rule: rule.name(),
            says,
        }),
        running_gate: account.running,
    }
}
