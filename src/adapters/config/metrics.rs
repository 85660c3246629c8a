//! The `[metrics]` section: whom the figures are told to, beside whoever asks over the control socket.
//!
//! Only this host may hear them over the network; whoever wants them elsewhere has a monitoring system for that.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::bounds;
use super::fields::Fields;
use super::page::Page;
use super::problem::{Fault, fault, quoted};
use crate::model::settings::Metrics;
use crate::model::time;

const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

pub(super) fn read(page: &mut Page<'_>, fields: &Fields<'_>) -> Metrics {
    fields.only(page, &["file", "interval", "listen"]);
    if fields.has("interval") && !fields.has("file") {
        let what = fault(
            "interval stands without file",
            "add file = \"/var/lib/prometheus/node-exporter/postern.prom\", or take interval out",
        );
        page.refuse(fields.span_of("interval"), what);
    }
    let interval = fields.text(page, "interval", interval);
    Metrics {
        file: fields.text(page, "file", file),
        interval: interval.unwrap_or(Metrics::default().interval),
        listen: fields.text(page, "listen", listen),
    }
}

fn file(text: &str) -> Result<PathBuf, Fault> {
    let path = bounds::absolute(text)?;
    if path.extension().is_some_and(|ending| ending == "prom") {
        return Ok(path);
    }
    Err(fault(
        "a node exporter reads only files that end in .prom",
        "write a path like \"/var/lib/prometheus/node-exporter/postern.prom\"",
    ))
}

fn interval(text: &str) -> Result<Duration, Fault> {
    let interval = time::parse_duration(text)
        .ok()
        .filter(|length| (INTERVAL_MIN..=INTERVAL_MAX).contains(length));
    interval.ok_or_else(|| fault(format!("{} is no interval", quoted(text)), "write 1s to 1h"))
}

fn listen(text: &str) -> Result<SocketAddr, Fault> {
    let cure = "write an address of this host's own, like \"127.0.0.1:9162\" or \"[::1]:9162\"";
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Err(fault(
            format!("{} is not an address with a port", quoted(text)),
            cure,
        ));
    };
    if !address.ip().is_loopback() {
        let what = format!(
            "{} is not a loopback address: others could read the figures, and find the gate by them",
            address.ip()
        );
        return Err(fault(what, cure));
    }
    if address.port() == 0 {
        return Err(fault("port 0 is nobody's", cure));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_with_a_port_are_listened_on() {
        for right in ["127.0.0.1:9162", "127.8.9.1:1", "[::1]:65535"] {
            assert_eq!(listen(right).unwrap().to_string(), right);
        }
        for wrong in [
            "",
            "9162",
            ":9162",
            "localhost:9162",
            "127.0.0.1",
            "127.0.0.1:0",
            "[::1]:65536",
        ] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
        for open in [
            "0.0.0.0:9162",
            "[::]:9162",
            "192.0.2.1:9162",
            "[2001:db8::1]:9162",
            "[::ffff:192.0.2.1]:9162",
        ] {
            assert!(
                listen(open)
                    .unwrap_err()
                    .what
                    .contains("is not a loopback address"),
                "{open}"
            );
        }
    }
}
