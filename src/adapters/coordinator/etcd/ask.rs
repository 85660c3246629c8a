//! Requests to etcd with a deadline, and what their failures say.

use std::io::ErrorKind;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::super::http::{self, Request};
use super::super::pool::{self, Connection};
use super::super::text;
use super::wire::Authenticated;
use super::{ANSWER_MAX, Etcd};
use crate::adapters::clock;

pub(super) enum Failure {
    /// No endpoint took the request.
    NotSent(String),
    /// The server says no, with this status of HTTP. After 503 or 504 it may still do it.
    Refused(u16, String),
    /// Whether it was carried out nobody can tell.
    Unknown(String),
    /// The same, because the answer is longer than any that was expected.
    TooLong(String),
}

impl Failure {
    pub(super) fn is_too_long(&self) -> bool {
        matches!(self, Self::TooLong(_))
    }

    pub(super) fn why(self) -> String {
        match self {
            Self::NotSent(why)
            | Self::Refused(_, why)
            | Self::Unknown(why)
            | Self::TooLong(why) => why,
        }
    }
}

impl Etcd {
    /// Sends one request. Another endpoint gets it only if the one before took no byte of it.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        call: &str,
        request: &impl Serialize,
        most: usize,
        within: Duration,
    ) -> Result<T, Failure> {
        let until = clock::instant() + within;
        let connection = self.connection(until).map_err(Failure::NotSent)?;
        let answer = self.ask_by(connection, call, request, most);
        if matches!(answer, Err(Failure::Unknown(_) | Failure::TooLong(_))) {
            self.pool.clear();
        }
        answer
    }

    pub(super) fn ask_by<T: DeserializeOwned>(
        &self,
        connection: Connection,
        call: &str,
        request: &impl Serialize,
        most: usize,
    ) -> Result<T, Failure> {
        let number = connection.endpoint;
        let answer = self.exchange(connection, call, request, most);
        // Another node may answer, have a leader, or not be about to end.
        let leaves = matches!(
            answer,
            Err(Failure::Unknown(_) | Failure::TooLong(_) | Failure::Refused(408 | 500.., _))
        );
        if leaves {
            self.pool.leave(number);
        }
        answer
    }

    fn exchange<T: DeserializeOwned>(
        &self,
        mut connection: Connection,
        call: &str,
        request: &impl Serialize,
        most: usize,
    ) -> Result<T, Failure> {
        let number = connection.endpoint;
        let Some(endpoint) = self.pool.endpoint(number) else {
            return Err(Failure::NotSent("there is no endpoint".to_owned()));
        };
        let at = |why: &str| self.pool.at(number, why);
        let body = serde_json::to_vec(request).map(Zeroizing::new);
        let body = body.map_err(|error| Failure::NotSent(error.to_string()))?;
        let (host, path, token) = (endpoint.to_string(), format!("/v3/{call}"), self.token());
        let request = Request {
            host: &host,
            path: &path,
            token: token.as_deref(),
            body: &body,
        };
        let stream = &mut connection.stream;
        let mut status = 0;
        let answered = request.send(stream).and_then(|()| {
            let answer = http::Answer::read(stream)?;
            status = answer.status;
            answer.whole(most)
        });
        let (bytes, is_kept) = answered.map_err(|error| {
            let why = at(&pool::cured(&error));
            match error.kind() {
                // A long error page is no value.
                ErrorKind::FileTooLarge if status == 200 => Failure::TooLong(why),
                _ => Failure::Unknown(why),
            }
        })?;
        if is_kept {
            self.pool.give_back(connection);
        }
        if status != 200 {
            return Err(Failure::Refused(status, at(&status_text(status, &bytes))));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::Unknown(at(&format!("its answer is not etcd's: {error}"))))
    }

    /// A lease or a token that the server does not know is used no more.
    pub(super) fn cured(&self, failure: Failure) -> String {
        if let Failure::Refused(status, why) = &failure {
            let mut state = self.state();
            if why.contains("lease not found") {
                state.claims.forget();
                state.grants.forget();
                state.closes.forget();
            } else if *status == 401 || why.contains("auth") || why.contains("token") {
                state.token = None;
            }
        }
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
        ];
        text::with_cure(failure.why(), &cures)
    }

    pub(super) fn authenticate(&self, within: Duration) -> Result<(), String> {
        let (Some(user), Some(password)) = (&self.cluster.user, &self.password) else {
            return Ok(());
        };
        if self.token().is_some() {
            return Ok(());
        }
        let request = Credential {
            name: user,
            password,
        };
        match self.ask("auth/authenticate", &request, ANSWER_MAX, within) {
            Ok(Authenticated { token }) => self.state().token = Some(token),
            Err(Failure::Refused(_, why)) if why.contains("authentication is not enabled") => {}
            Err(failure) => return Err(self.cured(failure)),
        }
        Ok(())
    }
}

/// An answer that is not 200.
pub(super) fn status_text(status: u16, body: &[u8]) -> String {
    let said = String::from_utf8_lossy(body);
    format!("status {status}: {}", text::short(said.trim()))
}

/// Not through `serde_json::Value`, which would copy the password.
#[derive(Serialize)]
struct Credential<'c> {
    name: &'c str,
    password: &'c str,
}
