//! Tells the engine something.

use crate::adapters::ipc::Link;
use crate::core::claims::Told;
use crate::core::order;

/// If the engine has ended, this process ends as well.
pub(super) fn send(link: &Link, told: &Told) {
    if let Ok(bytes) = order::encode(told) {
        let _ = link.send(&bytes);
    }
}
