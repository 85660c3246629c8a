//! `forward` and `masquerade` of a `[service.NAME]`: the host behind the gate that the service's port leads to.
//!
//! Owns what such a service may look like, that no two claim one port of the gate, and that a host sees the same of both.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::fields::Fields;
use super::page::Page;
use super::problem::{Fault, fault, quoted};
use crate::model::address;
use crate::model::catalog::{Forward, ForwardError};
use crate::model::service::Ports;

/// The forwards of a config, each with the place that it stands at.
#[derive(Default)]
pub(super) struct Forwards(Vec<(Forward, String)>);

/// Where the service leads; `None` where it does not, or the page says what is wrong. `ports` is missing where they were refused.
pub(super) fn read(
    page: &mut Page<'_>,
    fields: &Fields<'_>,
    ports: Option<&[(Range<usize>, Ports)]>,
) -> Option<Forward> {
    let masquerade = fields.flag(page, "masquerade");
    if !fields.has("forward") {
        if fields.has("masquerade") {
            let what = fault(
                "masquerade stands without forward",
                "add forward = \"10.0.0.5:22\", or take masquerade out",
            );
            page.refuse(fields.span_of("masquerade"), what);
        }
        return None;
    }
    let (host, port) = fields.text(page, "forward", host)?;
    let [(span, at)] = ports? else {
        let what = fault(
            "a service that forwards has exactly one port",
            "write ports = [\"tcp/2222\"], and a service for each port",
        );
        page.refuse(fields.span_of("ports"), what);
        return None;
    };
    let forward = Forward::new(*at, host, port, masquerade.unwrap_or_default());
    let forward = forward.map_err(|why| match why {
        ForwardError::NoPorts => fault(
            format!("{at} cannot be forwarded"),
            "write tcp, udp or sctp with a port, like tcp/2222",
        ),
        ForwardError::RangeToPort => fault(
            format!("{at} is a range and cannot go to one port"),
            format!("write forward = \"{host}\" without a port: the ports are kept"),
        ),
    });
    page.check(span.clone(), forward)
}

/// `10.0.0.5:22`, `[fd00::5]:22`, or an address alone.
fn host(text: &str) -> Result<(IpAddr, Option<u16>), Fault> {
    let bare = || {
        text.parse::<IpAddr>().ok().or_else(|| {
            text.strip_prefix('[')?
                .strip_suffix(']')?
                .parse::<Ipv6Addr>()
                .ok()
                .map(IpAddr::V6)
        })
    };
    let parsed = match text.parse::<SocketAddr>() {
        Ok(socket) => Some((socket.ip(), Some(socket.port()))),
        Err(_) => bare().map(|address| (address, None)),
    };
    let cure = "write address and port, like \"10.0.0.5:22\" or \"[fd00::5]:22\"";
    let Some((address, port)) = parsed else {
        return Err(fault(
            format!("{} is not an address with a port", quoted(text)),
            cure,
        ));
    };
    let address = address.to_canonical();
    if port == Some(0) {
        return Err(fault("port 0 is nobody's", cure));
    }
    if address.is_loopback() {
        return Err(fault(
            format!("{address} is the gate itself"),
            "leave forward out: the service then is the gate's own",
        ));
    }
    if address::is_nobody(address) {
        return Err(fault(format!("{address} is no host's address"), cure));
    }
    Ok((address, port))
}

impl Forwards {
    /// Takes a service's forward; refuses one whose packets could be meant for another.
    pub(super) fn take(
        &mut self,
        page: &mut Page<'_>,
        fields: &Fields<'_>,
        forward: Option<Forward>,
    ) {
        let Some(forward) = forward else { return };
        let span = fields.span_of("ports");
        if let Some((other, place)) = self.0.iter().find(|(other, _)| other.collides(&forward)) {
            let what = format!(
                "{} is forwarded already, to {} at {place}",
                forward.at, other.host
            );
            page.refuse(span, fault(what, "choose another port of the gate"));
            return;
        }
        // who may pass is known by host and port, once the packet has been led there
        let is_same_place = |other: &Forward| {
            other.host == forward.host && other.inner().overlap(forward.inner()).is_some()
        };
        if let Some((_, place)) = self
            .0
            .iter()
            .find(|(other, _)| is_same_place(other) && other.masquerade != forward.masquerade)
        {
            let what = format!(
                "the service at {place} leads to the same host and port, but with another masquerade"
            );
            page.refuse(
                fields.span_of("forward"),
                fault(what, "write the same masquerade for both"),
            );
            return;
        }
        self.0.push((forward, page.named(span.start)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_an_address_of_either_family_and_maybe_a_port() {
        for (text, address, port) in [
            ("10.0.0.5:22", "10.0.0.5", Some(22)),
            ("[fd00::5]:22", "fd00::5", Some(22)),
            ("10.0.0.5", "10.0.0.5", None),
            ("fd00::5", "fd00::5", None),
            ("[fd00::5]", "fd00::5", None),
            ("[::ffff:10.0.0.5]:22", "10.0.0.5", Some(22)),
        ] {
            assert_eq!(
                host(text).unwrap(),
                (address.parse().unwrap(), port),
                "{text}"
            );
        }
        for text in [
            "",
            "inner:22",
            "10.0.0.5:",
            "10.0.0.5:0",
            "10.0.0.5:70000",
            "127.0.0.1:22",
            "[::1]:22",
            "0.0.0.0:22",
            "224.0.0.1:22",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
