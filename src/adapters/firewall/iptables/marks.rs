//! The rules that give granted packets the packet mark, and take it from all others.

use super::chains::MARK;
use crate::model::packet_mark::PacketMark;

/// Which packets need the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    All,
    /// The host accepts packets of established connections without it. The kernel compares a packet with the grants one
    /// by one, so such a packet is not compared at all.
    New,
}

impl Marked {
    pub(super) fn where_host_cuts_established(cuts: bool) -> Self {
        if cuts { Self::All } else { Self::New }
    }
}

/// The first rules of `chain`: they leave granted packets to the host, with the mark, and all others go on without it.
/// Other values stay: netavark has a bit of its own there. If `in_sets`, the mark of a packet whose grant a set holds
/// counts; see `nftables::LiveTable`.
pub(super) fn granted(
    chain: &str,
    grants: &str,
    mark: PacketMark,
    marked: Marked,
    in_sets: bool,
) -> impl Iterator<Item = String> {
    let matches: &[&str] = match marked {
        Marked::All => &[""],
        Marked::New => &[
            " -m conntrack ! --ctstate ESTABLISHED",
            // As in `reused_port`: it asks for a new connection.
            " -p tcp -m tcp --syn -m conntrack --ctstate ESTABLISHED",
        ],
    };
    let clear = format!(
        "{chain} -m mark --mark {mark} -j MARK --set-xmark 0x0/{:#x}",
        mark.mask
    );
    let in_set = mark.in_set();
    let in_set =
        in_sets.then(|| format!("{chain} -m mark --mark {in_set} -j MARK --set-xmark {mark}"));
    let compare = matches
        .iter()
        .map(move |matches| format!("{chain}{matches} -j {grants}"));
    let leave = format!("{chain} -m mark --mark {mark} -j RETURN");
    std::iter::once(clear)
        .chain(in_set)
        .chain(compare)
        .chain([leave])
}

/// The rule of chain [`MARK`].
pub(super) fn marking(mark: PacketMark, live: Option<PacketMark>) -> String {
    format!("{MARK}{} -j MARK --set-xmark {mark}", if_live(live))
}

/// Matches packets for which grants count; see `nftables::LiveTable`.
pub(super) fn if_live(live: Option<PacketMark>) -> String {
    let live = live.map(|mark| format!(" -m mark --mark {mark}"));
    live.unwrap_or_default()
}

/// Whether a rule of chain [`MARK`] has such a match.
pub(super) fn needs_live(rule: &str) -> bool {
    rule.starts_with("-m mark ")
}
