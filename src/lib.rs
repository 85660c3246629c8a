//! Postern hides network services behind single-packet authorization: a closed port answers nobody, and one
//! authenticated UDP packet, sniffed and never answered, opens it for one address for a few seconds.
//!
//! The house has layers, and `tests/layers.rs` fails on an import that runs against them:
//!
//! | row | modules |
//! |---|---|
//! | 0 | the `postern-proto` crate |
//! | 1 | plain types: [`time`], [`address`], [`service`], [`datagram`], [`endpoint`], [`enrol`], [`figures`], [`opening`], [`policy`], [`terms`], [`grant`], [`keep`], [`manual`], [`mark`], [`reason`], [`recipe`], [`run`], [`settings`], [`bundle`], [`stop`] |
//! | 2 | pure cores: `gate`, `ledger`, `order` |
//! | 3 | adapters: `config`, `profile`, `files`, `program`, `capture`, `backend`, `connections`, `store`, `control`, `log`, `metrics`, `notify`, `link`, `clock`, `random` |
//! | 4 | processes: `engine`, `monitor`, `client`, `admin`, `explain` |
//! | 5 | faces: `cli`, `demo` |

// row 1
pub mod address;
pub mod bundle;
pub mod datagram;
pub mod endpoint;
#[cfg(feature = "client")]
pub mod enrol;
pub mod figures;
pub mod grant;
#[cfg(feature = "daemon")]
pub mod keep;
pub mod manual;
pub mod mark;
pub mod opening;
pub mod policy;
pub mod reason;
pub mod recipe;
pub mod run;
pub mod service;
pub mod settings;
pub mod stop;
pub mod terms;
pub mod time;
// row 2
#[cfg(feature = "daemon")]
pub mod gate;
#[cfg(feature = "daemon")]
pub mod ledger;
#[cfg(feature = "daemon")]
pub mod order;
// row 3
#[cfg(feature = "daemon")]
pub mod backend;
#[cfg(feature = "daemon")]
pub mod capture;
#[cfg(feature = "client")]
pub mod clock;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod connections;
#[cfg(feature = "daemon")]
pub mod control;
#[cfg(feature = "client")]
pub mod files;
#[cfg(feature = "daemon")]
pub mod link;
#[cfg(feature = "daemon")]
pub mod log;
#[cfg(feature = "daemon")]
pub mod metrics;
#[cfg(feature = "daemon")]
pub mod notify;
#[cfg(feature = "client")]
pub mod profile;
#[cfg(feature = "daemon")]
pub mod program;
#[cfg(feature = "client")]
pub mod random;
#[cfg(feature = "daemon")]
pub mod store;
// row 4
#[cfg(feature = "daemon")]
pub mod admin;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "daemon")]
pub mod engine;
#[cfg(feature = "daemon")]
pub mod explain;
#[cfg(feature = "daemon")]
pub mod monitor;
// row 5
#[cfg(feature = "client")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod demo;
