//! Single values of a config: durations, names, paths, networks, services, quotas.
//!
//! A message shows a text only through `quoted`, because it could be a key in the wrong place.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use postern_proto::{GateName, ServiceName};

use super::key;
use super::problem::{Refusal, is_not, quoted, refusal};
use crate::model::address;
use crate::model::endpoint::Endpoint;
use crate::model::quota::{Quota, QuotaError};
use crate::model::service::{Ports, Wanted};
use crate::model::time::{self, Timestamp};
use crate::model::user_name::is_user_name;

const WINDOW: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(300);
const DURATION_MAX: Duration = Duration::from_secs(30 * 86_400);
const DURATION_CURE: &str = "write it like 30s, 10m or 1h 30m";
/// An alternative name may be longer than others: the kernel's ALTIFNAMSIZ without the closing zero.
const INTERFACE_MAX: usize = 127;
const SYSTEM_USER_MAX: usize = 32;
/// The kernel's UNIX_PATH_MAX without the closing zero.
const SOCKET_PATH_MAX: usize = 107;

pub(super) fn window(text: &str) -> Result<Duration, Refusal> {
    let window = length(text)?;
    if WINDOW.contains(&window) {
        return Ok(window);
    }
    let what = format!("a window of {} is out of bounds", time::human(window));
    Err(refusal(what, "write 5s to 5m"))
}

/// The duration of a grant: whole seconds, because no firewall counts finer.
pub(super) fn duration(text: &str) -> Result<Duration, Refusal> {
    let duration = length(text)?;
    if duration.is_zero() || duration.subsec_nanos() > 0 {
        let cure = "write 1s or more, like 30s, 10m or 1h 30m";
        return Err(is_not("a whole number of seconds", text, cure));
    }
    Ok(duration)
}

pub(super) fn max_duration(text: &str) -> Result<Duration, Refusal> {
    let duration = duration(text)?;
    if duration > DURATION_MAX {
        let long = time::human(duration);
        let what = format!("a max_duration of {long} is longer than 30 days");
        return Err(refusal(what, "write 720h or less"));
    }
    Ok(duration)
}

/// A duration with this name and these bounds in whole seconds.
pub(super) fn bounded(
    name: &'static str,
    low: u64,
    high: u64,
) -> impl Fn(&str) -> Result<Duration, Refusal> {
    let (low, high) = (Duration::from_secs(low), Duration::from_secs(high));
    move |text| {
        let length = time::parse_duration(text).ok();
        let length = length.filter(|length| (low..=high).contains(length));
        length.ok_or_else(|| {
            let cure = format!("write {} to {}", time::human(low), time::human(high));
            is_not(&format!("a valid {name}"), text, cure)
        })
    }
}

fn length(text: &str) -> Result<Duration, Refusal> {
    // The error of `parse_duration` repeats the text.
    time::parse_duration(text).map_err(|_| is_not("a length of time", text, DURATION_CURE))
}

pub(super) fn point_in_time(text: &str) -> Result<Timestamp, Refusal> {
    time::parse_time(text).map_err(|_| {
        let cure = "write it like 2026-12-01T00:00:00Z, for UTC";
        refusal("this is not a point in time with its offset", cure)
    })
}

/// A point in time, or the start of a day in UTC; a whole second, because some firewalls count so.
pub(super) fn time_or_day(text: &str) -> Result<Timestamp, Refusal> {
    let time = time::parse_time_or_day(text).map_err(|_| {
        let cure = "write 2027-06-30, its start in UTC, or a time like 2027-06-30T00:00:00+02:00";
        refusal("this is neither a day nor a time with its offset", cure)
    })?;
    Ok(Timestamp::from_millis(time.as_millis() / 1000 * 1000))
}

/// Knocks in a time: `30/min`, `5/10s`.
pub(super) fn quota(text: &str) -> Result<Quota, Refusal> {
    text.parse().map_err(|error: QuotaError| match error {
        QuotaError::Form => is_not("a quota", text, error.cure()),
        _ => refusal(error.to_string(), error.cure()),
    })
}

pub(super) fn gate_name(text: &str) -> Result<GateName, Refusal> {
    GateName::new(text).map_err(|error| {
        let cure = "write the name that clients use for this gate, like gate.example.org";
        refusal(error.to_string(), cure)
    })
}

pub(super) fn user_name(text: &str) -> Result<&str, Refusal> {
    if is_user_name(text) {
        return Ok(text);
    }
    let cure =
        "write 1 to 64 letters, digits, dots, underscores, hyphens or @, first a letter or digit";
    Err(is_not("a user name", text, cure))
}

/// Where clients send knocks; `port` if the text has none.
pub(super) fn endpoint(text: &str, port: u16) -> Result<Endpoint, Refusal> {
    let cure = "write host, host:port or [IPv6 address]:port";
    Endpoint::with_default(text, port).map_err(|_| is_not("an address to knock at", text, cure))
}

pub(super) fn interface(text: &str) -> Result<&str, Refusal> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let right = (1..=INTERFACE_MAX).contains(&text.len()) && text != "." && text != "..";
    if right && !text.contains(bad) {
        return Ok(text);
    }
    let cure = "write a name or an altname as ip link shows it, without slash, colon or space";
    Err(is_not("an interface name", text, cure))
}

pub(super) fn system_user(text: &str) -> Result<&str, Refusal> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let right = (1..=SYSTEM_USER_MAX).contains(&text.len()) && !text.starts_with('-');
    if right && text.chars().all(letter) {
        return Ok(text);
    }
    let cure = "write one that getent passwd shows, like \"nobody\"";
    Err(is_not("the name of a system user", text, cure))
}

pub(super) fn absolute(text: &str) -> Result<PathBuf, Refusal> {
    let path = path(text)?;
    if path.is_absolute() {
        return Ok(path);
    }
    let cure = "write the whole path, from / on";
    Err(refusal("this path is relative", cure))
}

pub(super) fn socket(text: &str) -> Result<PathBuf, Refusal> {
    if text.len() > SOCKET_PATH_MAX {
        let what = "this path is too long for a socket";
        return Err(refusal(what, "write a path of at most 107 bytes"));
    }
    absolute(text)
}

pub(super) fn prom_file(text: &str) -> Result<PathBuf, Refusal> {
    let path = absolute(text)?;
    if path.extension().is_some_and(|ending| ending == "prom") {
        return Ok(path);
    }
    let cure = "write a path like \"/var/lib/prometheus/node-exporter/postern.prom\"";
    let what = "a node exporter reads only files that end in .prom";
    Err(refusal(what, cure))
}

/// The path of a key file; a relative one starts at the folder of `file`, which names it.
pub(super) fn key_path(file: &Path, text: &str) -> Result<PathBuf, Refusal> {
    let path = path(text)?;
    Ok(file.parent().unwrap_or_else(|| Path::new("")).join(path))
}

fn path(text: &str) -> Result<PathBuf, Refusal> {
    if key::looks_like_key(text) {
        let cure = "put the key into a file of its own and write the path of the file here";
        return Err(refusal("this is a key, not the path of a file", cure));
    }
    if text.is_empty() || text.contains(char::is_control) {
        return Err(refusal("this is not a path", "write the path of a file"));
    }
    Ok(PathBuf::from(text))
}

pub(super) fn network(text: &str) -> Result<IpNet, Refusal> {
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => refusal(
                format!("{address} has no prefix length"),
                format!("write {} for this one address", address::host(address)),
            ),
            Err(_) => {
                let cure = "write it like 192.0.2.0/24 or 2001:db8::/32";
                is_not("a network", text, cure)
            }
        });
    };
    if let IpNet::V6(v6) = network
        && let Some(IpNet::V4(v4)) = address::network_from_knock(v6.addr(), v6.prefix_len())
    {
        let what = format!("{network} is an IPv4 network in IPv6 notation");
        return Err(refusal(what, format!("write {}", v4.trunc())));
    }
    let trunc = network.trunc();
    if trunc != network {
        let one = address::host(network.addr());
        let cure = format!("write {trunc} for the network or {one} for the one address");
        return Err(refusal(format!("{network} has host bits set"), cure));
    }
    Ok(network)
}

/// A loopback address with a port: other hosts must not read the metrics.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, Refusal> {
    let what = match text.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_loopback() => {
            let address = address.ip();
            format!("{address} is not a loopback address: other hosts could read the metrics")
        }
        Ok(address) if address.port() == 0 => "port 0 is not valid".to_owned(),
        Ok(address) => return Ok(address),
        Err(_) => format!("{} is not an address with a port", quoted(text)),
    };
    let cure = "write a loopback address, like \"127.0.0.1:9162\" or \"[::1]:9162\"";
    Err(refusal(what, cure))
}

pub(super) fn wanted(text: &str) -> Result<Wanted, Refusal> {
    let cure =
        "write tcp/22, udp/5000-5010, sctp/3868, icmp, icmpv6, or the name of a [service.NAME]";
    text.parse().map_err(|_| is_not("a service", text, cure))
}

pub(super) fn ports(text: &str) -> Result<Ports, Refusal> {
    let cure = "write tcp/22, udp/5000-5010, sctp/3868, icmp or icmpv6";
    let wrong = |_| is_not("a protocol with ports", text, cure);
    text.parse().map_err(wrong)
}

pub(super) fn service_name(text: &str) -> Result<&str, Refusal> {
    match text.parse() {
        Ok(Wanted::Named(_)) => Ok(text),
        _ if ServiceName::new(text).is_ok() => Err(refusal(
            format!("{} is a protocol, not a service name", quoted(text)),
            "choose another name",
        )),
        _ => {
            let cure = "write 1 to 32 of a-z, 0-9, - and _, first a letter or digit";
            Err(is_not("a service name", text, cure))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_without_host_bits_are_accepted() {
        for text in ["0.0.0.0/0", "::/0", "192.0.2.7/32", "2001:db8::/32"] {
            assert_eq!(network(text).unwrap().to_string(), text);
        }
        for (text, cure) in [
            (
                "2001:db8::1/64",
                "write 2001:db8::/64 for the network or 2001:db8::1/128 for the one address",
            ),
            ("::ffff:192.0.2.1/120", "write 192.0.2.0/24"),
            ("10.0.0.0/33", "write it like 192.0.2.0/24 or 2001:db8::/32"),
        ] {
            assert_eq!(network(text).unwrap_err().cure, cure);
        }
    }

    #[test]
    fn names_have_limits() {
        fn check<T>(read: fn(&str) -> Result<T, Refusal>, right: &[&str], wrong: &[&str]) {
            for text in right {
                assert!(read(text).is_ok(), "{text}");
            }
            for text in wrong {
                assert!(read(text).is_err(), "{text}");
            }
        }
        let long = "a".repeat(128);
        let (altname, name33) = (&long[..127], &long[..33]);
        check(
            |text| interface(text).map(drop),
            &["eth0", "br-lan.10", "wg_0", altname],
            &["", ".", "..", "a/b", "a b", "a:b", "a\0", &long],
        );
        check(
            |text| service_name(text).map(drop),
            &["web", "0-a_b", &long[..32]],
            &["icmp", "tcp", "Web", "", "-web", "tcp/22", name33],
        );
        check(
            |text| system_user(text).map(drop),
            &["nobody"],
            &["-x", "", "a b", name33],
        );
        check(
            window,
            &["5s", "30s", "5m"],
            &["4s", "4999ms", "301s", "0s", "30", "soon"],
        );
        check(duration, &["1s"], &["0s", "500ms"]);
        check(max_duration, &["720h"], &["720h 1s"]);
        check(socket, &["/run/s"], &["s", &format!("/{}", &long[..107])]);
        check(
            loopback,
            &["127.0.0.1:9162", "127.8.9.1:1", "[::1]:65535"],
            &[],
        );
        let wrong = ",9162,:9162,localhost:9162,127.0.0.1,127.0.0.1:0,[::1]:65536,0.0.0.0:9162,[::]:9162,192.0.2.1:9162,[::ffff:192.0.2.1]:9162";
        check(loopback, &[], &wrong.split(',').collect::<Vec<_>>());
    }

    #[test]
    fn relative_key_paths_start_at_their_file() {
        for (file, text, path) in [
            ("/etc/p.toml", "gate.key", "/etc/gate.key"),
            ("posternd.toml", "gate.key", "gate.key"),
            ("/etc/p.toml", "/k", "/k"),
        ] {
            assert_eq!(key_path(Path::new(file), text).unwrap(), Path::new(path));
        }
    }
}
