//! A driver that also adds grants to sets of the host: `nft_set` of a service.
//!
//! The driver below opens the grant in Postern's own table. The element in the set makes the host's own rule, which looks
//! the set up, accept it. The kernel ends the element.

mod driver;
mod elements;

pub(crate) use driver::WithHostSets;
pub(crate) use elements::{left, unfit};
