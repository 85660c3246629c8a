//! Listening sockets, from /proc.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::adapters::files;
use crate::adapters::netlink::attributes::address;

pub(super) fn read(unseen: &mut Vec<String>) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match files::read_system(Path::new(path)) {
            Ok(text) => found.extend(listeners(&text)),
            // A kernel without IPv6 has no such file.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => unseen.push(format!("cannot read listening sockets: {path}: {error}")),
        }
    }
    found
}

/// UDP sockets that receive from everyone.
pub(crate) fn udp() -> Vec<SocketAddr> {
    let texts = ["/proc/net/udp", "/proc/net/udp6"].map(|path| files::read_system(Path::new(path)));
    let texts = texts.into_iter().flatten();
    texts.flat_map(|text| in_state("07", &text)).collect()
}

/// Listening TCP sockets.
pub(crate) fn tcp() -> Vec<SocketAddr> {
    read(&mut Vec::new())
}

fn listeners(text: &str) -> Vec<SocketAddr> {
    in_state("0A", text)
}

/// The rows in a state. Addresses are 32-bit words in the machine's byte order.
fn in_state(wanted: &str, text: &str) -> Vec<SocketAddr> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (local, state) = (words.nth(1)?, words.nth(1)?);
        let (address, port) = local.split_once(':')?;
        (state == wanted).then_some(())?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(SocketAddr::new(address_of(address)?, port))
    };
    text.lines().skip(1).filter_map(row).collect()
}

fn address_of(hex: &str) -> Option<IpAddr> {
    let (words, []) = hex.as_bytes().as_chunks::<8>() else {
        return None;
    };
    let mut bytes = Vec::new();
    for word in words {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    address(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_both_families_are_read() {
        let read = |rows: &str| -> Vec<String> {
            let text = format!("  sl  local_address\n{rows}");
            listeners(&text).iter().map(ToString::to_string).collect()
        };
        let v4 = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   1: 0100007F:1F90 00000000:0000 0A 0\n   2: 0202000A:0016 0702000A:C001 01 0\n";
        assert_eq!(read(v4), ["0.0.0.0:22", "127.0.0.1:8080"]);
        let v6 = "   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0\n   1: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0\n";
        assert_eq!(read(v6), ["[::]:22", "[2001:db8::1]:80"]);
    }
}
