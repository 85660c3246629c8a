//! Reasons of servers, bounded, and with what to do about them.

const REASON_MAX: usize = 200;

pub(super) fn short(why: &str) -> String {
    why.chars().take(REASON_MAX).collect()
}

/// `cures`: what a reason contains, and the cure.
pub(super) fn with_cure(why: String, cures: &[(&str, &str)]) -> String {
    match cures.iter().find(|(what, _)| why.contains(what)) {
        Some((_, cure)) => format!("{why}; {cure}"),
        None => why,
    }
}
