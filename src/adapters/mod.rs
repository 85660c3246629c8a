//! Everything that touches the outside. Adapters do not import each other, except the small ones: `files`,
//! `clock`, `random`, `log` and `netlink`.

#[cfg(feature = "daemon")]
pub mod attempts;
#[cfg(feature = "daemon")]
pub mod capture;
pub mod clock;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod conntrack;
#[cfg(feature = "daemon")]
pub mod control;
#[cfg(feature = "daemon")]
pub mod coordinator;
pub mod files;
#[cfg(feature = "daemon")]
pub mod firewall;
#[cfg(feature = "https")]
pub(crate) mod https;
#[cfg(feature = "daemon")]
pub(crate) mod ipc;
#[cfg(feature = "daemon")]
pub(crate) mod log;
#[cfg(feature = "daemon")]
pub(crate) mod metrics;
// A client asks one question at a time.
#[cfg_attr(
    not(feature = "daemon"),
    allow(dead_code, unreachable_pub, unused_imports)
)]
pub(crate) mod netlink;
pub mod process;
pub mod random;
pub(crate) mod routes;
#[cfg(feature = "daemon")]
pub mod sandbox;
#[cfg(feature = "daemon")]
pub mod store;
#[cfg(feature = "daemon")]
pub(crate) mod systemd;
