//! The tags of the fields in a line, in ascending order.

pub(super) const USER: u8 = 1;
pub(super) const FIRST: u8 = USER;
pub(super) const GATE: u8 = 2;
pub(super) const ADDRESS: u8 = 3;
pub(super) const SERVICE: u8 = 4;
pub(super) const DURATION: u8 = 5;
pub(super) const SOURCE_ONLY: u8 = 6;
pub(super) const PROFILE: u8 = 7;
pub(super) const SHARED_KEY: u8 = 8;
pub(super) const PRIVATE_KEY: u8 = 9;
pub(super) const PUBLIC_KEY: u8 = 10;
pub(super) const GATE_KEY: u8 = 11;
pub(super) const PSK: u8 = 12;
pub(super) const CODE: u8 = 13;
pub(super) const GRANT_TO: u8 = 14;
pub(super) const QUOTA: u8 = 15;
pub(super) const LAST: u8 = QUOTA;
