//! What connection tracking does to sessions and grants, beside the rules. Pure.

use std::time::Duration;

/// The figures of the kernel's connection tracking. `None` if the kernel does not have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tracking {
    /// Connections in the table, and the most that fit.
    pub(crate) count: Option<u64>,
    pub(crate) max: Option<u64>,
    /// How long the kernel remembers an idle TCP connection.
    pub(crate) remembers: Option<Duration>,
    /// How long a TCP connection is idle before the kernel asks whether its peer is alive, if the program wants that.
    pub(crate) keepalive: Option<Duration>,
}

impl Tracking {
    /// The table is full, or nearly: the kernel drops packets of new connections, also those with a grant.
    pub(crate) fn full(&self) -> Option<String> {
        let (count, max) = (self.count?, self.max?);
        // The last twentieth goes within moments on a busy host.
        let is_full = max > 0 && count.saturating_mul(20) >= max.saturating_mul(19);
        is_full.then(|| {
            format!("the connection table is full ({count} of {max}): the kernel drops new connections, also granted ones; raise net.netfilter.nf_conntrack_max")
        })
    }

    /// The kernel forgets an idle connection before the first keepalive: its next packet is then a stranger's.
    pub(crate) fn forgetful(&self) -> Option<(Duration, Duration)> {
        let both = self.remembers.zip(self.keepalive);
        both.filter(|(remembers, keepalive)| remembers <= keepalive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_table_is_told() {
        let is_full = |count, max| {
            let tracking = Tracking {
                count,
                max,
                ..Tracking::default()
            };
            tracking.full().is_some()
        };
        for (count, max, expected) in [
            (Some(100), Some(100), true),
            (Some(95), Some(100), true),
            (Some(94), Some(100), false),
            (Some(u64::MAX), Some(u64::MAX), true),
            (Some(0), Some(0), false),
            (None, Some(100), false),
        ] {
            assert_eq!(is_full(count, max), expected, "{count:?} of {max:?}");
        }
    }

    #[test]
    fn keepalive_must_come_before_the_timeout() {
        let is_forgetful = |remembers, keepalive| {
            let seconds = |seconds| Some(Duration::from_secs(seconds));
            let tracking = Tracking {
                remembers: seconds(remembers),
                keepalive: seconds(keepalive),
                ..Tracking::default()
            };
            tracking.forgetful().is_some()
        };
        assert!(!is_forgetful(432_000, 7200));
        assert!(is_forgetful(7200, 7200) && is_forgetful(600, 7200));
        assert!(!is_forgetful(600, 300));
    }
}
