//! Why a coordinator cannot be used: reasons of servers, bounded, and what to do about them.

use std::time::Duration;

use crate::model::time::millis;

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

/// Fails if an answer took longer than a claim may.
pub(super) fn in_time(took: Duration, deadline: Duration) -> Result<(), String> {
    if took > deadline {
        return Err(format!(
            "it answers later than cluster.deadline, {} ms",
            millis(deadline)
        ));
    }
    Ok(())
}
