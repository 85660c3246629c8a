//! Findings about the roster in force, and about one that was refused.

use std::time::Duration;

use super::findings::{Finding, Findings};
use crate::adapters::config::RosterPlace;
use crate::daemon::roster::Refusals;
use crate::model::settings::Settings;
use crate::model::time::Timestamp;

const SOON: Duration = Duration::from_secs(7 * 86_400);
const CLOCK_ERROR: Duration = Duration::from_secs(60);

const CONFIRM: &str = "confirm it with: posternd roster pull, or posternd roster apply FILE";

/// Returns when the users of the roster end with it.
pub(super) fn check(
    settings: &Settings,
    now: Timestamp,
    findings: &mut Findings,
) -> Option<Timestamp> {
    let place = RosterPlace::of(settings)?;
    let refused = Refusals::read(&place.folder()).last;
    // A file that cannot be read has stopped the check already.
    let in_force = place.notes().map(|notes| notes.in_force);
    let confirmed = in_force.as_ref().map(|roster| roster.confirmed);
    if let Some(last) = refused.filter(|last| Some(last.at) > confirmed) {
        let (name, at) = (last.fault.name(), last.at);
        let what = format!("a roster was refused at {at}, {name}: {}", last.why);
        let kept = match &in_force {
            Some(roster) => format!("version {} stays in force", roster.version),
            None => "no roster is in force".to_owned(),
        };
        findings.add(Finding::warning("roster-refused", what).detail(kept));
    }
    let Some(roster) = in_force else {
        let finding = Finding::warning("roster-none", "[roster] is set, and no roster is in force")
            .detail("take one with: posternd roster apply FILE");
        findings.add(finding);
        return None;
    };
    let (version, until, freshness) = (roster.version, roster.until, place.settings.freshness);
    let what = format!("the roster, version {version},");
    if until <= now {
        let finding = Finding::warning("roster-ended", format!("{what} ended at {until}"))
            .detail("its users are refused; sign it again with: posternd roster sign --until 30d")
            .detail("then take it with: posternd roster apply FILE");
        findings.add(finding);
    } else if until <= now.plus(SOON) {
        let why = "then its users are refused; sign it again before";
        findings.add(Finding::note("roster-ends", format!("{what} ends at {until}")).detail(why));
    }
    if roster.confirmed > now.plus(CLOCK_ERROR) {
        let at = roster.confirmed;
        let what = format!("{what} was confirmed at {at}, which is later than now");
        let finding = Finding::warning("roster-clock", what)
            .detail(
                "the clock was ahead then, or is behind now; with max_age it gets stale too late",
            )
            .detail(CONFIRM);
        findings.add(finding);
    }
    let stale = freshness.stale_from(roster.confirmed);
    if stale.is_some_and(|stale| stale <= now) {
        let refused = freshness.ends(roster.confirmed).is_some();
        let effect = if refused {
            "its users are refused (stale = \"strict\")"
        } else {
            "its users are still admitted (stale = \"best_effort\")"
        };
        let at = roster.confirmed;
        let finding =
            Finding::warning("roster-stale", format!("{what} was last confirmed at {at}"))
                .detail(effect)
                .detail(CONFIRM);
        findings.add(finding);
    }
    let end = freshness.ends(roster.confirmed);
    Some(end.map_or(until, |end| end.min(until)))
}
