//! Tries whether a port is open already, so that no knock is needed.

use std::net::SocketAddr;
use std::time::Duration;

use super::attempts::{Attempts, Connected, Unreached};
use super::names::Names;
use super::resolve::{self, Families};
use super::wake::{Alarm, no_alarm};
use crate::adapters::clock;
use crate::client::profile::Host;
use crate::model::exit::ExitError;

#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) result: Result<Connected, Unreached>,
    /// Where the host is; empty if the resolver has not told yet.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Makes one attempt at each address of the host. Look-up and attempts have this limit each.
pub(crate) fn try_port(
    host: &Host,
    port: u16,
    families: Families,
    limit: Duration,
) -> Result<Tried, ExitError> {
    let alarm = Alarm::new().map_err(no_alarm)?;
    let mut names = Names::new([host.clone()], alarm.waker());
    names.ask();
    let start = clock::instant();
    let mut attempts = Attempts::new(start, false);
    let (mut addresses, mut end) = (Vec::new(), limit);
    let result = loop {
        alarm.clear();
        names.update();
        let now = clock::elapsed(start);
        if addresses.is_empty() {
            addresses = names.addresses(host, port);
            addresses.retain(|address| families.contain(address.ip()));
            attempts.add(addresses.clone());
            if !addresses.is_empty() {
                end = now.saturating_add(limit);
            }
        }
        if addresses.is_empty() && !names.is_pending() {
            match names.failure(host) {
                Some(failure) if failure.may_pass => break Err(Unreached::Closed),
                Some(failure) => return Err(failure.clone().into()),
                None => return Err(resolve::no_address(host.as_str(), families)),
            }
        }
        let is_over = !addresses.is_empty() && attempts.is_over();
        if is_over || now >= end {
            break Err(attempts.failure());
        }
        if let Some(connected) = attempts.wait(end, Some(alarm.as_fd())) {
            break Ok(connected);
        }
    };
    Ok(Tried { result, addresses })
}
