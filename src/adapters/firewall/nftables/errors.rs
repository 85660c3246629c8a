//! Errors of the driver: what was refused, what the kernel said, and what to do. Pure.

use std::fmt::Display;
use std::io;

use rustix::io::Errno;

use crate::adapters::firewall::FirewallError;
use crate::adapters::netlink::{NetlinkError, Refusal};

/// The error for a refused message, such as `adding element 192.0.2.7 . protocol 6 . 22 of set grants4`.
pub(super) fn refused(what: &dyn Display, refusal: &Refusal) -> FirewallError {
    let text = refusal.text.as_deref().map(|text| format!(" ({text})"));
    FirewallError::Kernel(format!(
        "nftables: {what}: {}{}{}",
        refusal.errno,
        text.unwrap_or_default(),
        advice(refusal.errno)
    ))
}

pub(super) fn failed(what: &dyn Display, error: &NetlinkError) -> FirewallError {
    match error {
        NetlinkError::Refused(refusals) => match refusals.first() {
            Some(refusal) => refused(what, refusal),
            None => FirewallError::Kernel(format!("nftables: {what}: refused without a reason")),
        },
        error => FirewallError::Unanswered(format!("nftables: {what}: {error}")),
    }
}

pub(super) fn unusable(error: &NetlinkError) -> FirewallError {
    let lacks_it = |one: &Refusal| matches!(one.errno, Errno::INVAL | Errno::OPNOTSUPP);
    match error {
        NetlinkError::Refused(refusals) if refusals.iter().any(lacks_it) => no_nf_tables(),
        other => failed(&"asking for the ruleset", other),
    }
}

pub(super) fn no_socket(error: &io::Error) -> FirewallError {
    match Errno::from_io_error(error) {
        Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => no_nf_tables(),
        _ => FirewallError::Kernel(format!("nftables: opening a netlink socket: {error}")),
    }
}

fn no_nf_tables() -> FirewallError {
    let text = "nftables: this kernel has no nf_tables; load the module nf_tables, or set backend = \"iptables\"";
    FirewallError::Unsupported(text.to_owned())
}

fn advice(errno: Errno) -> String {
    let text = match errno {
        Errno::PERM | Errno::ACCESS => "; the monitor needs the capability CAP_NET_ADMIN",
        Errno::NFILE | Errno::NOSPC => {
            "; the set is full: close grants (posternd close) or wait until some end"
        }
        Errno::NOENT => {
            "; something in Postern's table is gone: did another program change or flush it?"
        }
        Errno::EXIST => "; did another program add to Postern's table?",
        Errno::OPNOTSUPP | Errno::INVAL => {
            "; this kernel's nf_tables may lack what is needed: it takes Linux 5.6 or later"
        }
        Errno::NOMEM | Errno::NOBUFS | Errno::MSGSIZE => {
            "; the kernel has no room for a batch of this length"
        }
        _ => "",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(errno: Errno) -> Refusal {
        Refusal {
            index: Some(0),
            errno,
            text: Some("kernel's words".to_owned()),
        }
    }

    #[test]
    fn refusal_names_element_cause_and_cure() {
        for (errno, advice) in [
            (Errno::PERM, "CAP_NET_ADMIN"),
            (Errno::NFILE, "the set is full"),
            (Errno::NOENT, "is gone"),
        ] {
            let text = refused(&"adding element x", &refusal(errno)).to_string();
            assert!(text.starts_with("nftables: adding element x: "), "{text}");
            assert!(text.contains("(kernel's words)"), "{text}");
            assert!(text.contains(advice), "{text}");
        }
    }

    #[test]
    fn missing_nf_tables_is_named() {
        let refused = NetlinkError::Refused(vec![refusal(Errno::INVAL)]);
        let no_socket = no_socket(&io::Error::from(Errno::PROTONOSUPPORT));
        for error in [unusable(&refused), no_socket] {
            assert!(error.to_string().contains("no nf_tables"), "{error}");
        }
    }
}
