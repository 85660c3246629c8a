//! A grant for as long as a command needs it: opened, kept open, and closed at the end. For `postern run` and `postern keep`.
//!
//! Messages go to standard error.

use std::time::{Duration, Instant};

use postern_proto::GateName;
use serde::Serialize;

use super::arguments::Messages;
use super::code;
use super::json::{self, KnockJson, WaitJson};
use super::output::note;
use super::plan::Plan;
use super::report::{not_open, tell_aside, tell_failures, tell_one_aside};
use super::words;
use crate::adapters::clock;
use crate::client::profile::CodeSource;
use crate::client::{
    self, Alarm, Awaited, Codes, CommandExit, CommandRunner, Keeper, Keeping, Kept, OpenGrant,
    SentKnock, Waited,
};
use crate::model::exit::{ExitError, USAGE};

#[derive(Default, Serialize)]
struct GuardedJson {
    gate: String,
    knocks: Vec<KnockJson>,
    /// `None` if no TCP port is requested.
    wait: Option<WaitJson>,
    renewals: u32,
    /// `None` if the command did not end by itself.
    exit_status: Option<i32>,
    /// The signal that ended the command, or that came before it started.
    signal: Option<i32>,
    closings: Vec<KnockJson>,
}

pub(super) struct Guarded {
    gate: GateName,
    messages: Messages,
    codes: Codes,
    /// The time between knocks; `None` without renewals.
    interval: Option<Duration>,
    port: Option<u16>,
    is_open: bool,
    grant: OpenGrant,
    knocked: Instant,
    report: GuardedJson,
}

/// A quarter of the grant's length, because nothing tells whether a knock was lost. At most two thirds, and in between as often
/// as half of the quota admits. A program is not asked for more codes than are needed.
pub(super) fn renewal_interval(
    what: &str,
    duration: Option<Duration>,
    code_stdin: bool,
    code: Option<&CodeSource>,
    shortest: Duration,
) -> Result<Duration, ExitError> {
    let needed = match duration {
        Some(_) if !code::is_renewable(code_stdin, code) => {
            "a new one-time code for each knock; name a code_command in the profile"
        }
        Some(duration) => {
            let longest = (duration * 2 / 3).max(Duration::from_secs(1));
            let often = (duration / 4).max(shortest).min(longest);
            return Ok(code.map_or(often, |_| longest));
        }
        None => "the length of the grant; set it with --for 60s, or as duration in the profile",
    };
    Err(ExitError::new(USAGE, format!("{what} needs {needed}")))
}

impl Guarded {
    pub(super) fn new(
        plan: Plan,
        codes: Codes,
        interval: Option<Duration>,
        once: bool,
        messages: Messages,
    ) -> Self {
        Self {
            gate: plan.request.gate.clone(),
            messages,
            codes,
            interval,
            port: plan.request.tcp_port(),
            is_open: false,
            grant: plan.into_grant(once),
            knocked: clock::instant(),
            report: GuardedJson::default(),
        }
    }

    /// Knocks until the port is open. Returns a signal that came first.
    pub(super) fn open(
        &mut self,
        runner: &CommandRunner,
        limit: Duration,
    ) -> Result<Option<i32>, ExitError> {
        let is_wanted = self.messages.are_wanted();
        self.knocked = clock::instant();
        let codes = self.codes.clone();
        let Some(port) = self.port else {
            let sent = self.grant.knock(codes)?;
            if is_wanted {
                tell_aside(&self.gate, &sent);
            }
            self.report.knocks = KnockJson::all(&sent);
            self.is_open = true;
            return Ok(runner.pending_signal());
        };
        let (gate, grant) = (&self.gate, &mut self.grant);
        let alarm = Alarm::new().map_err(client::no_alarm)?;
        let mut tell = |sent: &SentKnock| {
            if is_wanted {
                tell_one_aside(gate, sent);
            }
        };
        let (waited, signal) = runner.during(&alarm, || {
            grant.until_open(&Awaited::AtGate(port), limit, codes, &alarm, &mut tell)
        });
        let Waited { sent, result } = waited?;
        if is_wanted {
            tell_failures(&sent);
        }
        self.report.knocks = KnockJson::all(&sent);
        if signal.is_some() {
            return Ok(signal);
        }
        let open = result.ok().map(|connected| connected.port);
        self.report.wait = Some(open.into());
        let open = open.ok_or_else(|| not_open(&format!("tcp/{port}"), limit, &sent))?;
        self.is_open = true;
        if is_wanted {
            note(&words::opened(&open, &sent));
        }
        Ok(None)
    }

    /// Keeps the grant open, if it has an interval, as long as `meanwhile` lasts.
    pub(super) fn during<T>(
        mut self,
        meanwhile: impl FnOnce() -> T,
    ) -> Result<(Self, T), ExitError> {
        let Some(interval) = self.interval else {
            let outcome = meanwhile();
            return Ok((self, outcome));
        };
        let alarm = Alarm::new().map_err(client::no_alarm)?;
        let since = clock::elapsed(self.knocked);
        let keeping = Keeping {
            first: if self.is_open {
                interval.saturating_sub(since)
            } else {
                Duration::ZERO
            },
            interval,
            port: self.port,
            code: self.codes.more.clone(),
            is_open: self.is_open,
        };
        let tell = self.tell_kept();
        let keeper = Keeper::start(self.grant, keeping, alarm, tell);
        let outcome = meanwhile();
        let ended = keeper.stop()?;
        self.grant = ended.grant;
        self.report.renewals = ended.renewals;
        Ok((self, outcome))
    }

    fn tell_kept(&self) -> Box<dyn FnMut(Kept<'_>) + Send> {
        if !self.messages.are_wanted() {
            return Box::new(|_| {});
        }
        let (gate, port) = (self.gate.clone(), self.port.unwrap_or_default());
        Box::new(move |kept| match kept {
            Kept::Sent(sent) => tell_one_aside(&gate, sent),
            Kept::Open(open, sent) => note(&words::opened(open, sent)),
            Kept::NotOpen(limit, sent) => {
                note(&not_open(&format!("tcp/{port}"), limit, sent).message);
            }
            Kept::Failed(error) => note(&format!("cannot renew the grant yet: {error}")),
        })
    }

    /// Asks the gate to close the grant, and reports.
    pub(super) fn close(
        mut self,
        command: &str,
        ended: Option<CommandExit>,
    ) -> Result<(), ExitError> {
        let wants_words = self.messages.are_wanted();
        if !self.grant.can_close() && wants_words {
            note("a knock of this profile cannot close; the grant ends by itself");
        }
        match self.grant.close() {
            Ok(closings) => {
                if wants_words {
                    tell_aside(&self.gate, &closings);
                }
                self.report.closings = KnockJson::all(&closings);
            }
            // The grant ends by itself; the outcome of the command matters more.
            Err(error) => note(&format!("cannot ask the gate to close: {error}")),
        }
        if self.messages.json {
            self.report.gate = self.gate.to_string();
            self.report.exit_status = ended.and_then(|ended| ended.status);
            self.report.signal = ended.and_then(|ended| ended.signal);
            json::write_aside(command, &self.report)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_needs_a_length_and_new_codes() {
        let program = CodeSource::Program(vec!["oathtool".to_owned()]);
        let interval = |seconds: Option<u64>, code_stdin, code| {
            let duration = seconds.map(Duration::from_secs);
            let interval =
                renewal_interval("run", duration, code_stdin, code, Duration::from_secs(4));
            interval
                .map(|interval| interval.as_secs())
                .map_err(|error| error.code)
        };
        assert_eq!(interval(Some(60), false, None), Ok(15));
        assert_eq!(interval(Some(8), false, None), Ok(4));
        assert_eq!(interval(Some(3), false, None), Ok(2));
        assert_eq!(interval(Some(1), false, None), Ok(1));
        assert_eq!(interval(Some(60), false, Some(&program)), Ok(40));
        assert_eq!(interval(None, false, None), Err(USAGE));
        assert_eq!(interval(Some(60), true, None), Err(USAGE));
        assert_eq!(interval(Some(60), true, Some(&program)), Err(USAGE));
        let expected = Err(USAGE);
        assert_eq!(interval(Some(60), false, Some(&CodeSource::Ask)), expected);
    }
}
