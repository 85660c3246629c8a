//! What single values of a config may be: lengths of time, names, paths, networks, services.
//!
//! Every refusal says what would be right. A text is repeated only through `quoted`, for it could be a key in the wrong place.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use postern_proto::ServiceName;

use super::problem::{Fault, fault, quoted};
use super::secret;
use crate::model::address;
use crate::model::endpoint::Endpoint;
use crate::model::policy::is_user_name;
use crate::model::service::{Ports, Wanted};
use crate::model::time;

/// The most users of one gate.
pub(super) const USERS_MAX: usize = 200_000;
/// The most addresses of one gate: one of each family, twice over.
pub(super) const ADDRESSES_MAX: usize = 4;
/// The longest that any grant may last.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(30 * 86_400);
const WINDOW_MIN: Duration = Duration::from_secs(5);
const WINDOW_MAX: Duration = Duration::from_secs(300);
/// The kernel's IFNAMSIZ without the closing zero.
const INTERFACE_MAX: usize = 15;
/// As useradd has it.
const SYSTEM_USER_MAX: usize = 32;
/// The kernel's UNIX_PATH_MAX without the closing zero.
const SOCKET_PATH_MAX: usize = 107;

pub(super) fn window(text: &str) -> Result<Duration, Fault> {
    let window = length(text)?;
    if (WINDOW_MIN..=WINDOW_MAX).contains(&window) {
        return Ok(window);
    }
    Err(fault(
        format!("a window of {} is out of bounds", time::human(window)),
        "write 5s to 5m",
    ))
}

/// How long a grant lasts: whole seconds, for no firewall counts finer.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let duration = length(text)?;
    if duration.is_zero() || duration.subsec_nanos() > 0 {
        return Err(fault(
            format!(
                "{} is not a whole number of seconds from 1 on",
                quoted(text)
            ),
            "write it like 30s, 10m or 1h 30m",
        ));
    }
    Ok(duration)
}

pub(super) fn max_duration(text: &str) -> Result<Duration, Fault> {
    let duration = duration(text)?;
    if duration > DURATION_MAX {
        return Err(fault(
            format!(
                "a max_duration of {} is longer than 30 days",
                time::human(duration)
            ),
            "write 720h or less",
        ));
    }
    Ok(duration)
}

fn length(text: &str) -> Result<Duration, Fault> {
    // The reader's own message repeats the text.
    time::parse_duration(text).map_err(|_| {
        fault(
            format!("{} is not a length of time", quoted(text)),
            "write it like 30s, 10m or 1h 30m",
        )
    })
}

pub(super) fn user_name(text: &str) -> Result<&str, Fault> {
    if is_user_name(text) {
        return Ok(text);
    }
    Err(fault(
        format!("{} is not a user's name", quoted(text)),
        "write 1 to 64 letters, digits, dots, underscores, hyphens or @, the first a letter or digit",
    ))
}

/// Where knocks go; without a port it is this one.
pub(super) fn endpoint(text: &str, port: u16) -> Result<Endpoint, Fault> {
    Endpoint::with_default(text, port).map_err(|_| {
        fault(
            format!("{} is not an address to knock at", quoted(text)),
            "write host, host:port or [IPv6 address]:port",
        )
    })
}

pub(super) fn interface(text: &str) -> Result<&str, Fault> {
    let right = (1..=INTERFACE_MAX).contains(&text.len()) && text != "." && text != "..";
    if right
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
    {
        return Ok(text);
    }
    Err(fault(
        format!("{} is not the name of an interface", quoted(text)),
        "write 1 to 15 characters without slash, colon or space, as ip link shows them",
    ))
}

pub(super) fn system_user(text: &str) -> Result<&str, Fault> {
    let right = (1..=SYSTEM_USER_MAX).contains(&text.len()) && !text.starts_with('-');
    if right
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    {
        return Ok(text);
    }
    Err(fault(
        format!("{} is not the name of a system user", quoted(text)),
        "write one that getent passwd shows, like \"nobody\"",
    ))
}

pub(super) fn absolute(text: &str) -> Result<PathBuf, Fault> {
    let path = path(text)?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(fault(
            "this path is relative",
            "write the whole path, from / on",
        ))
    }
}

pub(super) fn socket(text: &str) -> Result<PathBuf, Fault> {
    if text.len() > SOCKET_PATH_MAX {
        return Err(fault(
            "this path is too long for a socket",
            "write a path of at most 107 bytes",
        ));
    }
    absolute(text)
}

/// The path of a file with a key in it; a relative one starts at the folder of `page`, the file that names it.
pub(super) fn key_path(page: &Path, text: &str) -> Result<PathBuf, Fault> {
    let path = path(text)?;
    Ok(page.parent().unwrap_or_else(|| Path::new("")).join(path))
}

fn path(text: &str) -> Result<PathBuf, Fault> {
    if secret::looks_like_key(text) {
        return Err(fault(
            "this is a key, not the path of a file",
            "put the key into a file of its own and write the file's path here",
        ));
    }
    if text.is_empty() || text.contains(char::is_control) {
        return Err(fault("this is not a path", "write the path of a file"));
    }
    Ok(PathBuf::from(text))
}

pub(super) fn network(text: &str) -> Result<IpNet, Fault> {
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => fault(
                format!("{address} has no prefix length"),
                format!("write {} for this one address", address::host(address)),
            ),
            Err(_) => fault(
                format!("{} is not a network", quoted(text)),
                "write it like 192.0.2.0/24 or 2001:db8::/32",
            ),
        });
    };
    if let IpNet::V6(v6) = network
        && let Some(IpNet::V4(v4)) = address::network_from_wire(v6.addr(), v6.prefix_len())
    {
        return Err(fault(
            format!("{network} is an IPv4 network in IPv6 clothes"),
            format!("write {}", v4.trunc()),
        ));
    }
    let trunc = network.trunc();
    if trunc != network {
        let what = format!("{network} has bits set behind its prefix");
        return Err(fault(
            what,
            format!(
                "write {trunc} for the network or {} for the one address",
                address::host(network.addr())
            ),
        ));
    }
    Ok(network)
}

pub(super) fn wanted(text: &str) -> Result<Wanted, Fault> {
    text.parse().map_err(|_| {
        let cure =
            "write tcp/22, udp/5000-5010, sctp/3868, icmp, icmpv6, or the name of a [service.NAME]";
        fault(format!("{} is not a service", quoted(text)), cure)
    })
}

pub(super) fn ports(text: &str) -> Result<Ports, Fault> {
    text.parse().map_err(|_| {
        let cure = "write tcp/22, udp/5000-5010, sctp/3868, icmp or icmpv6";
        fault(format!("{} names no ports", quoted(text)), cure)
    })
}

pub(super) fn service_name(text: &str) -> Result<&str, Fault> {
    let well_formed = ServiceName::new(text).is_ok();
    match text.parse() {
        Ok(Wanted::Named(_)) => Ok(text),
        _ if well_formed => Err(fault(
            format!("{} means a protocol and cannot be a name", quoted(text)),
            "choose another name",
        )),
        _ => Err(fault(
            format!("{} cannot be the name of a service", quoted(text)),
            "write 1 to 32 of a-z, 0-9, - and _, the first a letter or digit",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
        let fault = result.unwrap_err();
        format!("{}; {}", fault.what, fault.cure)
    }

    #[test]
    fn a_network_with_host_bits_names_the_network_that_is_meant() {
        assert!(
            refused(network("10.0.0.1/24"))
                .contains("write 10.0.0.0/24 for the network or 10.0.0.1/32")
        );
        assert!(refused(network("2001:db8::1/64")).contains("write 2001:db8::/64"));
        assert!(refused(network("10.0.0.1")).contains("write 10.0.0.1/32"));
        assert!(refused(network("::ffff:192.0.2.1/120")).contains("write 192.0.2.0/24"));
        assert!(refused(network("10.0.0.0/33")).contains("is not a network"));
        for text in ["0.0.0.0/0", "::/0", "192.0.2.7/32", "2001:db8::/32"] {
            assert_eq!(network(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_are_bounded_in_length_and_letters() {
        for name in [
            "a",
            "0",
            "alice",
            "alice.b-c_d@example.org",
            &"a".repeat(64),
        ] {
            assert!(user_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            ".a",
            "-a",
            "@a",
            "a b",
            "a/b",
            "a=b",
            "ä",
            "a\n",
            &"a".repeat(65),
        ] {
            assert!(user_name(name).is_err(), "{name}");
        }
        for name in ["eth0", "br-lan.10", "wg_0", &"e".repeat(15)] {
            assert!(interface(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "a:b", "a\0", &"e".repeat(16)] {
            assert!(interface(name).is_err(), "{name}");
        }
        for name in ["icmp", "tcp", "Web", "", "-web", "tcp/22", &"w".repeat(33)] {
            assert!(service_name(name).is_err(), "{name}");
        }
        assert!(
            system_user("nobody").is_ok() && system_user("-x").is_err() && system_user("").is_err()
        );
    }

    #[test]
    fn lengths_of_time_have_bounds() {
        for text in ["5s", "30s", "5m"] {
            assert!(window(text).is_ok(), "{text}");
        }
        for text in ["4s", "4999ms", "301s", "0s", "30", "soon"] {
            assert!(window(text).is_err(), "{text}");
        }
        assert!(duration("0s").is_err() && duration("500ms").is_err() && duration("1s").is_ok());
        assert!(max_duration("720h").is_ok() && max_duration("720h 1s").is_err());
    }

    #[test]
    fn relative_paths_start_at_the_file_that_names_them_and_a_key_is_no_path() {
        assert_eq!(
            key_path(Path::new("/etc/postern/posternd.toml"), "gate.key").unwrap(),
            Path::new("/etc/postern/gate.key")
        );
        assert_eq!(
            key_path(Path::new("posternd.toml"), "gate.key").unwrap(),
            Path::new("gate.key")
        );
        assert_eq!(
            key_path(Path::new("/etc/p.toml"), "/k").unwrap(),
            Path::new("/k")
        );
        assert!(key_path(Path::new("p"), "").is_err() && key_path(Path::new("p"), "a\0").is_err());
        assert!(refused(absolute("var/lib")).contains("relative"));
        assert!(socket(&format!("/{}", "s".repeat(107))).is_err());
    }
}
