//! The figures of connection tracking, from /proc. Each network namespace has its own.

use std::path::Path;
use std::time::Duration;

use crate::adapters::files;
use crate::core::host_rules::Tracking;

pub(crate) fn read() -> Tracking {
    let seconds = |name| number(name).map(Duration::from_secs);
    Tracking {
        count: number("netfilter/nf_conntrack_count"),
        max: number("netfilter/nf_conntrack_max"),
        remembers: seconds("netfilter/nf_conntrack_tcp_timeout_established"),
        keepalive: seconds("ipv4/tcp_keepalive_time"),
    }
}

/// `None` if the kernel has no such number, as without connection tracking.
fn number(name: &str) -> Option<u64> {
    let path = Path::new("/proc/sys/net").join(name);
    files::read_system(&path).ok()?.trim().parse().ok()
}
