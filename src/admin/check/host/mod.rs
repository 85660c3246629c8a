//! What the host's own rules do to Postern's: services that stay open without a knock, and grants that open nothing.
//!
//! `look` gathers facts with programs that only read; `nft`, `expr` and `iptables` turn their output into `rules`; `walk` sends one
//! packet through a chain; `judge` and its siblings say what follows, and `cure` how to mend it. Only `look` touches the host.

use super::findings::Finding;
use crate::model::settings::Settings;

mod blocked;
mod cure;
mod expr;
mod iptables;
mod judge;
mod look;
mod nft;
mod open;
mod rewritten;
mod rules;
#[cfg(test)]
mod tests;
mod walk;

/// Looks at the host and judges it; `backend` is the name of the driver that `run` would use.
pub(super) fn look(settings: &Settings, backend: &str) -> Vec<Finding> {
    judge::judge(settings, backend, &look::facts(settings))
}
