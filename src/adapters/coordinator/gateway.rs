//! etcd's JSON gateway: requests with a deadline, to the first endpoint that takes them.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::crypto::ring;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error, Timeout};

use crate::adapters::clock;
use crate::model::cluster::{CoordinatorEndpoint, Credentials};

/// The longest answer: a claim's has less than one kilobyte.
const ANSWER_MAX: u64 = 16 << 10;
const HEADERS_MAX: usize = 16 << 10;
/// An idle connection is as good as a used one: the server does not close it.
const IDLE_MAX: Duration = Duration::from_secs(3600);
const CONNECTIONS_MAX: usize = 16;
const REASON_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Gateway {
    agent: Agent,
    endpoints: Vec<CoordinatorEndpoint>,
    /// The one that is asked first.
    current: AtomicUsize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No endpoint took the request.
    NotSent(String),
    /// The server says no, with this status of HTTP: it has done nothing.
    Refused(u16, String),
    /// Whether it was carried out nobody can tell.
    Unknown(String),
}

impl Failure {
    pub(super) fn why(self) -> String {
        match self {
            Self::NotSent(why) | Self::Refused(_, why) | Self::Unknown(why) => why,
        }
    }
}

impl Gateway {
    pub(super) fn new(
        endpoints: Vec<CoordinatorEndpoint>,
        credentials: &Credentials,
    ) -> Result<Self, String> {
        let agent = Agent::config_builder()
            .tls_config(tls(credentials)?)
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_response_header_size(HEADERS_MAX)
            .max_idle_connections(CONNECTIONS_MAX)
            .max_idle_connections_per_host(CONNECTIONS_MAX)
            .max_idle_age(IDLE_MAX)
            .user_agent("posternd")
            .build()
            .new_agent();
        Ok(Self {
            agent,
            endpoints,
            current: AtomicUsize::new(0),
        })
    }

    /// Sends one request. Another endpoint gets it only if the one before took no byte of it.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        call: &str,
        token: Option<&str>,
        request: &impl Serialize,
        within: Duration,
    ) -> Result<T, Failure> {
        let start = clock::instant();
        let body = serde_json::to_vec(request);
        let body = body.map_err(|error| Failure::NotSent(error.to_string()))?;
        let first = self.current.load(Ordering::Relaxed);
        let mut why = "the deadline has passed".to_owned();
        for turn in 0..self.endpoints.len() {
            let number = first.wrapping_add(turn) % self.endpoints.len().max(1);
            let left = within.saturating_sub(clock::elapsed(start));
            let Some(endpoint) = self.endpoints.get(number).filter(|_| !left.is_zero()) else {
                break;
            };
            match self.ask_one(endpoint, call, token, &body, left) {
                Err(Failure::NotSent(failed)) => why = format!("{endpoint}: {failed}"),
                answer => {
                    self.current.store(number, Ordering::Relaxed);
                    return answer.map_err(|failure| failure.at(endpoint));
                }
            }
        }
        Err(Failure::NotSent(why))
    }

    /// The next request goes to another endpoint first.
    pub(super) fn turn(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    fn ask_one<T: DeserializeOwned>(
        &self,
        endpoint: &CoordinatorEndpoint,
        call: &str,
        token: Option<&str>,
        body: &[u8],
        within: Duration,
    ) -> Result<T, Failure> {
        let scheme = if endpoint.secure { "https" } else { "http" };
        let mut request = self.agent.post(format!("{scheme}://{endpoint}/v3/{call}"));
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let request = request.header("Content-Type", "application/json").config();
        let request = request
            .timeout_global(Some(within))
            .timeout_connect(Some(within / 2))
            .build();
        let mut response = request.send(body).map_err(failure)?;
        let status = response.status().as_u16();
        let bounded = response.body_mut().with_config().limit(ANSWER_MAX);
        let bytes = bounded.read_to_vec();
        let bytes = bytes.map_err(|error| Failure::Unknown(error.to_string()))?;
        if status == 200 {
            serde_json::from_slice(&bytes)
                .map_err(|error| Failure::Unknown(format!("its answer is not etcd's: {error}")))
        } else {
            let text = String::from_utf8_lossy(&bytes);
            let text: String = text.trim().chars().take(REASON_MAX).collect();
            Err(Failure::Refused(status, format!("status {status}: {text}")))
        }
    }
}

impl Failure {
    fn at(self, endpoint: &CoordinatorEndpoint) -> Self {
        let at = |why| format!("{endpoint}: {why}");
        match self {
            Self::NotSent(why) => Self::NotSent(at(why)),
            Self::Refused(status, why) => Self::Refused(status, at(why)),
            Self::Unknown(why) => Self::Unknown(at(why)),
        }
    }
}

fn failure(error: Error) -> Failure {
    let is_early = match &error {
        Error::HostNotFound | Error::ConnectionFailed => true,
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        _ => false,
    };
    let why: String = error.to_string().chars().take(REASON_MAX).collect();
    if is_early {
        Failure::NotSent(why)
    } else {
        Failure::Unknown(why)
    }
}

fn tls(credentials: &Credentials) -> Result<TlsConfig, String> {
    let roots = match &credentials.ca {
        Some(ca) => certificates(ca).map_err(|why| format!("ca_file: {why}"))?,
        None => Vec::new(),
    };
    let client = match (&credentials.cert, &credentials.cert_key) {
        (Some(cert), Some(key)) => {
            let certs = certificates(cert).map_err(|why| format!("cert_file: {why}"))?;
            let key = PrivateKey::from_pem(key.as_bytes());
            let key = key.map_err(|_| "cert_key_file: it has no private key in PEM".to_owned())?;
            Some(ClientCert::new_with_certs(&certs, key))
        }
        _ => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build())
}

fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem.as_bytes()) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    if found.is_empty() {
        return Err("it has no certificate in PEM".to_owned());
    }
    Ok(found)
}
