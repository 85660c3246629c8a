//! What a refusal of the kernel means: the sentence for the log, with what to do next.
//!
//! Owns the words. Which message was refused comes from the driver. Pure.

use std::fmt::Display;
use std::io;

use rustix::io::Errno;

use super::answers::{Fault, Trouble};
use super::table::TABLE;
use crate::adapters::firewall::FirewallError;

/// The sentence for a fault about `what`, such as `adding element 192.0.2.7 . protocol 6 . 22 of set grants4`.
pub(super) fn refused(what: &dyn Display, fault: &Fault) -> FirewallError {
    let said = fault
        .said
        .as_deref()
        .map(|said| format!(" ({said})"))
        .unwrap_or_default();
    let error = io::Error::from_raw_os_error(fault.errno);
    FirewallError::Kernel(format!(
        "nftables: {what}: {error}{said}{}",
        advice(fault.errno)
    ))
}

/// The sentence for an exchange about `what` that has no good end.
pub(super) fn trouble(what: &dyn Display, trouble: &Trouble) -> FirewallError {
    match trouble {
        Trouble::Refused(faults) => match faults.first() {
            Some(fault) => refused(what, fault),
            None => FirewallError::Kernel(format!("nftables: {what}: refused without a reason")),
        },
        Trouble::Unknown(error) => FirewallError::Unanswered(format!(
            "nftables: {what}: the kernel's answer is lost: {error}"
        )),
        Trouble::Garbled(why) => FirewallError::Unanswered(format!("nftables: {what}: {why}")),
    }
}

/// The sentence for a kernel that can't be used at all.
pub(super) fn unusable(trouble: &Trouble) -> FirewallError {
    match trouble {
        Trouble::Refused(faults)
            if faults
                .iter()
                .any(|fault| is(fault, Errno::INVAL) || is(fault, Errno::OPNOTSUPP)) =>
        {
            no_nf_tables()
        }
        other => self::trouble(&"asking for the ruleset", other),
    }
}

/// The sentence for a kernel without netfilter's netlink sockets.
pub(super) fn no_socket(error: &io::Error) -> FirewallError {
    match Errno::from_io_error(error) {
        Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => no_nf_tables(),
        _ => FirewallError::Kernel(format!("nftables: opening a netlink socket: {error}")),
    }
}

fn no_nf_tables() -> FirewallError {
    FirewallError::Unsupported("nftables: this kernel has no nf_tables; load the module nf_tables, or set backend = \"iptables\"".to_owned())
}

/// Whether the fault says that the table is not as it was left: something is gone, or stands where nothing stood.
pub(super) fn is_divergence(fault: &Fault) -> bool {
    is(fault, Errno::NOENT) || is(fault, Errno::EXIST)
}

pub(super) fn is_absence(fault: &Fault) -> bool {
    is(fault, Errno::NOENT)
}

fn is(fault: &Fault, errno: Errno) -> bool {
    fault.errno == errno.raw_os_error()
}

fn advice(errno: i32) -> String {
    match Errno::from_io_error(&io::Error::from_raw_os_error(errno)) {
        Some(Errno::PERM | Errno::ACCESS) => {
            "; the monitor needs the capability CAP_NET_ADMIN".to_owned()
        }
        Some(Errno::NFILE | Errno::NOSPC) => {
            "; the set is full: close grants (posternd close) or wait until some end".to_owned()
        }
        Some(Errno::NOENT) => format!(
            "; something in table inet {TABLE} is gone: did another program change or flush it?"
        ),
        Some(Errno::EXIST) => format!("; did another program add to table inet {TABLE}?"),
        Some(Errno::OPNOTSUPP | Errno::INVAL) => {
            "; this kernel's nf_tables may lack what is needed: it takes Linux 5.6 or later"
                .to_owned()
        }
        Some(Errno::NOMEM | Errno::NOBUFS | Errno::MSGSIZE) => {
            "; the kernel has no room for a batch of this length".to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errno: Errno) -> String {
        refused(
            &"adding element x",
            &Fault {
                index: Some(0),
                errno: errno.raw_os_error(),
                said: Some("kernel's words".to_owned()),
            },
        )
        .to_string()
    }

    #[test]
    fn every_refusal_says_what_was_refused_what_the_kernel_said_and_what_to_do() {
        for (errno, advice) in [
            (Errno::PERM, "CAP_NET_ADMIN"),
            (Errno::NFILE, "the set is full"),
            (Errno::NOENT, "is gone"),
        ] {
            let said = said(errno);
            assert!(
                said.starts_with("nftables: adding element x: ")
                    && said.contains("(kernel's words)")
                    && said.contains(advice),
                "{said}"
            );
        }
    }

    #[test]
    fn a_kernel_without_nf_tables_is_named_as_that() {
        let trouble = Trouble::Refused(vec![Fault {
            index: None,
            errno: Errno::INVAL.raw_os_error(),
            said: None,
        }]);
        assert!(unusable(&trouble).to_string().contains("no nf_tables"));
        assert!(
            no_socket(&io::Error::from(Errno::PROTONOSUPPORT))
                .to_string()
                .contains("no nf_tables")
        );
    }
}
