//! `postern keep`: keeps services open until a signal comes, wherever this machine goes.
//!
//! A network that is down, or a gate that does not open, is no reason to end.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use postern_proto::Action;

use super::arguments::Keep;
use super::code;
use super::guarded::{Guarded, renewal_interval};
use super::output::note;
use super::plan::Plan;
use super::run::signals;
use crate::client::CommandExit;
use crate::model::exit::{ExitError, NO_HOST, NOT_OPEN, UNAVAILABLE};

/// For how long to ask, if neither command line nor profile says it.
const LENGTH: Duration = Duration::from_secs(60);
/// How long to wait for the first opening.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn keep(arguments: Keep, config: Option<&Path>) -> Result<ExitCode, ExitError> {
    let mut plan = Plan::new(
        Action::Open,
        arguments.request,
        arguments.grant.duration,
        config,
    )?;
    plan.check()?;
    plan.check_renewal()?;
    let length = *plan.request.duration.get_or_insert(LENGTH);
    let (code, pause) = (plan.code.as_ref(), plan.knock_pause());
    let interval = renewal_interval("keep", Some(length), false, code, pause)?;
    let codes = code::obtain_more(false, code, &plan.request.gate)?;
    let runner = signals()?;
    let mut grant = Guarded::new(plan, codes, Some(interval), false, arguments.messages);
    let early = match grant.open(&runner, OPEN_WITHIN) {
        Err(error) if [NO_HOST, NOT_OPEN, UNAVAILABLE].contains(&error.code) => {
            note(&error.message);
            None
        }
        opened => opened?,
    };
    let signal = match early {
        Some(signal) => signal,
        None => {
            let signal;
            (grant, signal) = grant.during(|| runner.wait_for_signal())?;
            signal
        }
    };
    let ended = CommandExit {
        status: None,
        signal: Some(signal),
    };
    grant.close("keep", Some(ended))?;
    Ok(ExitCode::SUCCESS)
}
