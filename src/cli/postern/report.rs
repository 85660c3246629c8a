//! What the commands report of their knocks.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use postern_proto::{Allow, GateName};

use super::output::{note, say};
use super::words;
use crate::client::SentKnock;
use crate::model::address;
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
            address::place(sent.to)
        )),
    }
}

/// The port did not open in time. Only the gate knows why, so the words say which address to ask it about.
pub(super) fn not_open(port: &str, limit: Duration, sent: &[SentKnock]) -> ExitError {
    let what = format!("{port} did not open within {}", human(limit));
    let knocks = words::count(sent);
    let asked = sent
        .iter()
        .filter_map(|sent| Some((sent.to, sent.request.as_ref()?.allow)));
    let cure = cure(&asked.collect::<Vec<_>>());
    ExitError::new(NOT_OPEN, format!("{what}; {knocks}; {cure}"))
}

/// What was asked for, another setting to try, and the gate's commands that tell more.
fn cure(asked: &[(SocketAddr, Allow)]) -> String {
    let is_source = |(_, allow): &&(SocketAddr, Allow)| matches!(allow, Allow::Source { .. });
    let (sources, claims): (Vec<_>, Vec<_>) = asked.iter().partition(is_source);
    let mut claimed: Vec<String> = claims
        .iter()
        .map(|(to, allow)| words::allow(*allow, Some(to.is_ipv4())))
        .collect();
    claimed.dedup();
    let has_both = sources
        .iter()
        .any(|(to, _)| claims.iter().any(|(gate, _)| gate == to));
    let at_gate = "at the gate run posternd explain --live";
    match (claimed.first(), has_both) {
        (_, true) => {
            format!("{at_gate} and knock again; posternd status there names the address to --allow")
        }
        (Some(from), false) => {
            let all = claimed.join(" and ");
            let next = if sources.is_empty() { "source" } else { "both" };
            format!("claimed {all}, try --allow {next}; {at_gate}, or posternd check --from {from}")
        }
        (None, false) => {
            format!("asked for the source, try --allow both; {at_gate}, or posternd status")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cure_names_the_other_setting() {
        let to: SocketAddr = "192.0.2.1:62201".parse().unwrap();
        let source = (to, Allow::Source { prefix: 128 });
        let address = "::ffff:10.0.0.5".parse().unwrap();
        let claimed = (
            to,
            Allow::Network {
                address,
                prefix: 128,
            },
        );
        for (asked, parts) in [
            (
                &[claimed][..],
                &[
                    "claimed 10.0.0.5, try --allow source",
                    "check --from 10.0.0.5",
                ][..],
            ),
            (&[source], &["try --allow both", "posternd status"]),
            (&[claimed, source], &["status there names the address"]),
        ] {
            let cure = cure(asked);
            assert!(parts.iter().all(|part| cure.contains(part)), "{cure}");
        }
    }
}
