//! The rules that give granted packets the packet mark, and take it from all others.

use super::chains::MARK;
use crate::model::packet_mark::PacketMark;

/// The first rules of `chain`: they leave granted packets to the host, with the mark, and all others go on without it.
/// Other values stay: netavark has a bit of its own there.
pub(super) fn granted(chain: &str, grants: &str, mark: PacketMark) -> [String; 3] {
    [
        format!(
            "{chain} -m mark --mark {mark} -j MARK --set-xmark 0x0/{:#x}",
            mark.mask
        ),
        format!("{chain} -j {grants}"),
        format!("{chain} -m mark --mark {mark} -j RETURN"),
    ]
}

/// The rule of chain [`MARK`].
pub(super) fn marking(mark: PacketMark) -> String {
    format!("{MARK} -j MARK --set-xmark {mark}")
}
