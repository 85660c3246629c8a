//! `postern run`: knocks, runs a command, and asks the gate to close the grant.
//!
//! Messages go to standard error; the exit status is that of the command.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use postern_proto::{Action, GateName};
use serde::Serialize;

use super::arguments::{Messages, Run};
use super::json::{self, KnockJson, WaitJson};
use super::output::note;
use super::plan::Plan;
use super::report::{not_open, tell_aside, tell_failures, tell_one_aside};
use super::{code, words};
use crate::adapters::clock;
use crate::client::profile::CodeSource;
use crate::client::{
    self, Alarm, Awaited, Codes, CommandExit, CommandRunner, OpenGrant, SentKnock, Waited,
};
use crate::model::exit::{ExitError, FAILED, NOT_FOUND, NOT_RUNNABLE, USAGE};

/// The pause after a failed renewal.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

#[derive(Default, Serialize)]
struct RunJson {
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

pub(super) fn run(arguments: Run, config: Option<&Path>) -> Result<ExitCode, ExitError> {
    let code_stdin = arguments.code_stdin;
    let duration = arguments.grant.duration;
    let plan = Plan::new(Action::Open, arguments.request, duration, config)?;
    plan.request.items()?;
    let interval = || {
        let (duration, code) = (plan.request.duration, plan.code.as_ref());
        renewal_interval(duration, code_stdin, code, plan.knock_pause())
    };
    let interval = arguments.keep_open.then(interval).transpose()?;
    let port = plan.request.tcp_port();
    let gate = plan.request.gate.clone();
    let codes = code::obtain_more(code_stdin, plan.code.as_ref(), &gate)?;
    // From here on, only SIGKILL prevents the closing of the grant.
    let runner = CommandRunner::new().map_err(|error| {
        ExitError::new(FAILED, format!("cannot handle signals: {error}; try again"))
    })?;
    let mut guarded = GuardedRun {
        gate,
        messages: arguments.messages,
        code: plan.code.clone(),
        interval,
        grant: plan.into_grant(arguments.wait.once),
        knocked: clock::instant(),
        report: RunJson::default(),
    };
    let outcome = match guarded.open(&runner, codes, port, arguments.wait.limit) {
        Ok(None) => guarded.run(&runner, &arguments.command),
        Ok(signal) => Ok(CommandExit {
            status: None,
            signal,
        }),
        Err(error) => Err(error),
    };
    guarded.close(outcome)
}

/// A quarter of the grant's length, because nothing tells whether a knock was lost. At most two thirds, and in between as often
/// as half of the quota admits. A program is not asked for more codes than are needed.
fn renewal_interval(
    duration: Option<Duration>,
    code_stdin: bool,
    code: Option<&CodeSource>,
    shortest: Duration,
) -> Result<Duration, ExitError> {
    let what = match duration {
        Some(_) if !code::is_renewable(code_stdin, code) => {
            "--keep-open needs a new one-time code for each knock; name a code_command in the profile"
        }
        Some(duration) => {
            let longest = (duration * 2 / 3).max(Duration::from_secs(1));
            let often = (duration / 4).max(shortest).min(longest);
            return Ok(code.map_or(often, |_| longest));
        }
        None => {
            "--keep-open needs the length of the grant; set it with --for 60s, or as duration in the profile"
        }
    };
    Err(ExitError::new(USAGE, what))
}

struct GuardedRun {
    gate: GateName,
    messages: Messages,
    code: Option<CodeSource>,
    /// The time between knocks; `None` without renewals.
    interval: Option<Duration>,
    grant: OpenGrant,
    knocked: Instant,
    report: RunJson,
}

impl GuardedRun {
    /// Knocks until the port is open. Returns a signal that came first.
    fn open(
        &mut self,
        runner: &CommandRunner,
        codes: Codes,
        port: Option<u16>,
        limit: Duration,
    ) -> Result<Option<i32>, ExitError> {
        let is_wanted = self.messages.are_wanted();
        let Some(port) = port else {
            let sent = self.knock(codes)?;
            if is_wanted {
                tell_aside(&self.gate, &sent);
            }
            self.report.knocks = KnockJson::all(&sent);
            return Ok(runner.pending_signal());
        };
        self.knocked = clock::instant();
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
        if is_wanted {
            note(&words::opened(&open, &sent));
        }
        Ok(None)
    }

    fn run(
        &mut self,
        runner: &CommandRunner,
        command: &[OsString],
    ) -> Result<CommandExit, ExitError> {
        let first = self.until_renewal();
        let ended = runner.run(command, first, &mut || self.renew());
        ended.map_err(|error| {
            let name = command.first().map(|name| name.to_string_lossy());
            let name = name.unwrap_or_default();
            let code = match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_RUNNABLE,
            };
            let what = format!("cannot run {name}: {error}; name a program, or its path");
            ExitError::new(code, what)
        })
    }

    fn knock(&mut self, codes: Codes) -> Result<Vec<SentKnock>, ExitError> {
        let now = clock::instant();
        let sent = self.grant.knock(codes)?;
        self.knocked = now;
        Ok(sent)
    }

    fn until_renewal(&self) -> Option<Duration> {
        let interval = self.interval?;
        Some(interval.saturating_sub(clock::elapsed(self.knocked)))
    }

    /// Knocks again and returns the time until the next knock. A failure does not end the command.
    fn renew(&mut self) -> Duration {
        let source = self.code.as_ref();
        let code = source.map(|source| code::from_source(source, &self.gate));
        let codes = code.transpose().map(|first| Codes { first, more: None });
        match codes.and_then(|codes| self.knock(codes)) {
            Ok(_) => {
                self.report.renewals = self.report.renewals.saturating_add(1);
                self.until_renewal().unwrap_or(RETRY_PAUSE)
            }
            Err(error) => {
                if self.messages.are_wanted() {
                    note(&format!("cannot renew the grant yet: {error}"));
                }
                RETRY_PAUSE
            }
        }
    }

    /// Asks the gate to close the grant, reports, and returns the exit status of the command.
    fn close(mut self, outcome: Result<CommandExit, ExitError>) -> Result<ExitCode, ExitError> {
        match self.grant.close() {
            Ok(closings) => {
                if self.messages.are_wanted() {
                    tell_aside(&self.gate, &closings);
                }
                self.report.closings = KnockJson::all(&closings);
            }
            // The grant ends by itself; the outcome of the command matters more.
            Err(error) => note(&format!("cannot ask the gate to close: {error}")),
        }
        if self.messages.json {
            self.report.gate = self.gate.to_string();
            let ended = outcome.as_ref().ok();
            self.report.exit_status = ended.and_then(|ended| ended.status);
            self.report.signal = ended.and_then(|ended| ended.signal);
            json::write_aside("run", &self.report)?;
        }
        outcome.map(|ended| ExitCode::from(ended.code()))
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
            let interval = renewal_interval(duration, code_stdin, code, Duration::from_secs(4));
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
