//! The tests of the crate, in one program.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fields;
mod negative;
mod properties;
mod real_client;
mod sequence;
mod support;
mod vectors;
