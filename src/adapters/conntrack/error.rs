//! Why connections could not be adopted or ended, and what to do.

use rustix::io::Errno;

use crate::adapters::netlink::NetlinkError;

/// Why connections could not be adopted or ended.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The netlink socket does not open.
    #[error(
        "opening a netlink socket to {0}: {1}; check that the kernel supports it and that posternd has CAP_NET_ADMIN"
    )]
    NoSocket(&'static str, std::io::Error),
    /// The kernel did not do it.
    #[error("{0}: {1}; {cure}", cure = cure(.1))]
    Kernel(&'static str, NetlinkError),
}

fn cure(error: &NetlinkError) -> &'static str {
    let errno = match error {
        NetlinkError::Refused(refusals) => refusals.first().map(|refusal| refusal.errno),
        _ => None,
    };
    match errno {
        Some(Errno::PERM | Errno::ACCESS) => "the monitor needs the capability CAP_NET_ADMIN",
        Some(Errno::INVAL | Errno::OPNOTSUPP) => {
            "this kernel may lack it: load the modules nf_conntrack_netlink and tcp_diag"
        }
        Some(Errno::NOMEM | Errno::NOSPC) => {
            "the table is full: raise net.netfilter.nf_conntrack_max"
        }
        _ => "read the kernel's log, and end them by hand with conntrack -D or ss -K",
    }
}
