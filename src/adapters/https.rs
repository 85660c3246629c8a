//! Fetches a file over https: bounded in length and time, without redirects, proxies or cookies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::adapters::files;

/// The system's certificates of authorities, where distributions keep them.
const AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

const AUTHORITIES_MAX: usize = 4 << 20;

/// The most time of one file.
const WITHIN: Duration = Duration::from_secs(30);

/// A client that trusts these certificates of authorities.
#[derive(Debug)]
pub(crate) struct Https(Agent);

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("there is no such file")]
    Missing,
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    #[error("{0}")]
    Failed(String),
}

impl Https {
    /// With the certificates in this file, or those of the system.
    pub(crate) fn new(authorities: Option<&Path>) -> Result<Self, String> {
        let found = AUTHORITIES
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists());
        let path = authorities.or(found).ok_or_else(|| {
            "no certificates of authorities; install ca-certificates, or set ca_file".to_owned()
        })?;
        let told = |why: String| format!("{}: {why}", path.display());
        let pem = files::read_at_most(path, AUTHORITIES_MAX);
        let pem = pem.map_err(|error| told(error.to_string()))?;
        let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err(told("it has no certificate".to_owned()));
        }
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(certificates)))
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .https_only(true)
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(WITHIN))
            .tls_config(tls)
            .build();
        Ok(Self(config.into()))
    }

    /// The file at this address, of at most so many bytes.
    pub(crate) fn fetch(&self, url: &str, most: usize) -> Result<Vec<u8>, FetchError> {
        let mut response = self.0.get(url).call().map_err(|error| match error {
            ureq::Error::StatusCode(404) => FetchError::Missing,
            error => FetchError::Failed(error.to_string()),
        })?;
        if !response.status().is_success() {
            let why = format!("the server answers {}", response.status());
            return Err(FetchError::Failed(why));
        }
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        let body = response.body_mut().with_config().limit(limit);
        body.read_to_vec().map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => FetchError::TooLong(most),
            error => FetchError::Failed(error.to_string()),
        })
    }
}
