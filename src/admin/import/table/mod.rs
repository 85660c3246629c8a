//! What becomes of each setting of fwknopd and knockd. `docs/from-fwknop-and-knockd.md` has the same rows; a test compares.

mod access;
mod fwknopd;
mod knockd;

pub(super) use access::ACCESS;
pub(super) use fwknopd::{BY_HAND, FWKNOPD};
pub(super) use knockd::{KNOCKD, UCI};
