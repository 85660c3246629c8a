//! Enrolment lines: a request with a client's public key, and a token with everything that a profile needs.
//!
//! The first word of a line tells whether it is secret. A checksum finds typing errors. There is exactly one line for each
//! content. Touches no file.

mod issued;
mod line;
mod name;
mod request;
mod tag;
#[cfg(test)]
mod tests;

#[cfg(feature = "daemon")]
pub(crate) use issued::{ADDRESSES_MAX, SERVICES_MAX};
pub use issued::{Token, TokenKey};
pub use line::LineKind;
#[cfg(feature = "daemon")]
pub(crate) use line::{LINE_MAX, LineError};
pub(crate) use name::{is_profile_name, short_name};
pub use request::EnrollRequest;
