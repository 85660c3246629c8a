//! Postern hides network services behind single-packet authorization: a closed port answers nobody, and one
//! authenticated UDP packet, captured and never answered, opens it for one address for a short time.
//!
//! Folders are layers. A module imports only from its own layer and the layers below it, and no two files
//! import each other in a circle; `tests/layers` reads every import and proves both.
//!
//! The two programs use [`cli`] only. The rest is public for the tests of this repository, and the hidden modules
//! need no documentation of every field.
//!
//! | layer | module | contents |
//! |---|---|---|
//! | 6 | [`cli`] | command lines of the two binaries |
//! | 5 | `admin` | what an administrator runs |
//! | 4 | `daemon`, [`client`] | processes |
//! | 3 | [`adapters`] | everything that touches the outside: sockets, files, programs, clocks |
//! | 2 | `core` | pure decisions |
//! | 1 | `model` | plain values |
//! | 0 | the `postern-proto` crate | the wire format |

#[cfg(feature = "client")]
pub mod adapters;
#[cfg(feature = "daemon")]
#[doc(hidden)]
pub mod admin;
#[cfg(feature = "client")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "daemon")]
#[doc(hidden)]
pub mod core;
#[cfg(feature = "daemon")]
#[doc(hidden)]
pub mod daemon;
#[doc(hidden)]
pub mod model;
