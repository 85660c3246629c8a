//! What the commands report of their knocks.

use std::io;
use std::time::Duration;

use postern_proto::GateName;

use super::output::{note, say};
use super::words;
use crate::client::SentKnock;
use crate::model::exit::{ExitError, NOT_OPEN};
use crate::model::time::human;

/// Reports each knock on standard output, and failures on standard error.
pub(super) fn tell(gate: &GateName, sent: &[SentKnock]) -> Result<(), ExitError> {
    sent.iter().try_for_each(|sent| tell_one(gate, sent))?;
    tell_failures(sent);
    Ok(())
}

pub(super) fn tell_one(gate: &GateName, sent: &SentKnock) -> Result<(), ExitError> {
    match sentence(gate, sent) {
        Some(sentence) => say(&format!("{sentence}\n")),
        None => Ok(()),
    }
}

/// The same on standard error.
pub(super) fn tell_aside(gate: &GateName, sent: &[SentKnock]) {
    sent.iter().for_each(|sent| tell_one_aside(gate, sent));
    tell_failures(sent);
}

pub(super) fn tell_one_aside(gate: &GateName, sent: &SentKnock) {
    sentence(gate, sent).iter().for_each(|text| note(text));
}

/// What a knock asked for; `None` if it was not sent.
fn sentence(gate: &GateName, sent: &SentKnock) -> Option<String> {
    let request = sent.request.as_ref().filter(|_| sent.outcome.is_ok())?;
    Some(words::sentence(gate, sent.to, request))
}

pub(super) fn tell_failures(sent: &[SentKnock]) {
    sent.iter().for_each(tell_failure);
}

fn tell_failure(sent: &SentKnock) {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable, Unsupported};
    let Err(error) = &sent.outcome else { return };
    match error.kind() {
        AddrNotAvailable | HostUnreachable | NetworkUnreachable | Unsupported => {}
        _ => note(&format!(
            "no knock to {}: {error}; the other knock was sent",
            sent.to
        )),
    }
}

/// The port did not open in time. Only the gate's log knows why.
pub(super) fn not_open(port: &str, limit: Duration, sent: &[SentKnock]) -> ExitError {
    let what = format!("{port} did not open within {}", human(limit));
    let knocks = words::count(sent);
    let cure = "a gate sends no answer; run posternd explain --live there and knock again";
    ExitError::new(NOT_OPEN, format!("{what}; {knocks}; {cure}"))
}
