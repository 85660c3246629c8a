//! The gate daemon.
fn main() {}
