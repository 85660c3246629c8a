//! `postern run`: a command behind an open door, and the door closed after it.
//!
//! Owns the order of things and what is said of them, on standard error; the exit status is the command's.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use postern_proto::GateName;

use super::arguments::{Run, Telling};
use super::json::{KnockedAt, RanBehind, Waited};
use super::plan::Plan;
use super::{code, json, knock, note, words};
use crate::adapters::clock;
use crate::client::profile::CodeSource;
use crate::client::{self, Ended, Exit, Failure, Hold, Task};

/// A renewal that failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: Run, config: Option<&Path>) -> Result<ExitCode, Failure> {
    let Run {
        gate,
        asking,
        target,
        length,
        keep_open,
        code_stdin,
        patience,
        telling,
        command,
    } = arguments;
    let Plan {
        wish,
        way,
        keys,
        code,
    } = Plan::to_open(gate, asking, target, length.duration, config)?;
    wish.items()?;
    let every = if keep_open {
        Some(renewal(wish.duration, code_stdin, code.as_ref())?)
    } else {
        None
    };
    let port = wish.tcp_port();
    let gate = wish.gate.clone();
    let first = code::obtain(code_stdin, code.as_ref(), &gate)?;
    // From here on the door is closed however this ends, but by SIGKILL.
    let task = Task::begin().map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot take signals: {error}"),
            "try again",
        )
    })?;
    let mut story = Story {
        gate,
        telling,
        code,
        every,
        hold: Hold::new(wish, way, keys),
        knocked: clock::instant(),
        told: RanBehind::default(),
    };
    let outcome = story
        .open(&task, first, port, patience.wait)
        .and_then(|stopped| match stopped {
            Some(signal) => Ok(Ended {
                status: None,
                signal: Some(signal),
            }),
            None => story.run(&task, &command),
        });
    story.close(outcome)
}

/// How long to wait until the next knock: two thirds of what one opens for, so that a lost one can be made up for.
fn renewal(
    duration: Option<Duration>,
    code_stdin: bool,
    code: Option<&CodeSource>,
) -> Result<Duration, Failure> {
    let usage = |what, cure| Err(Failure::new(Exit::Usage, what, cure));
    match duration {
        None => usage(
            "--keep-open must know for how long a knock opens",
            "say it with --for 60s, or as duration in the profile",
        ),
        Some(_) if !code::comes_again(code_stdin, code) => usage(
            "--keep-open needs a new one-time code for each knock",
            "name a code_command in the profile",
        ),
        Some(duration) => Ok((duration * 2 / 3).max(Duration::from_secs(1))),
    }
}

/// What happens from the first knock to the last one.
struct Story {
    gate: GateName,
    telling: Telling,
    code: Option<CodeSource>,
    /// From one knock to the next; none where nothing is renewed.
    every: Option<Duration>,
    hold: Hold,
    /// When it was last knocked: what that opened is open from about then on, whatever was waited for since.
    knocked: Instant,
    told: RanBehind,
}

impl Story {
    /// Knocks, and waits until the door is open; says the signal that came meanwhile.
    fn open(
        &mut self,
        task: &Task,
        code: Option<postern_proto::Code>,
        port: Option<u16>,
        limit: Duration,
    ) -> Result<Option<i32>, Failure> {
        let sent = self.knock(code)?;
        if self.tells() {
            knock::tell_aside(&self.gate, &sent);
        }
        self.told.knocks = KnockedAt::all(&sent);
        let Some(port) = port else {
            return Ok(task.stopped());
        };
        match task.wait(client::doors(&sent, port), limit) {
            client::Waited::Open(opening) => {
                self.told.wait = Some(Waited::of(Some(opening)));
                if self.tells() {
                    note(&words::opened(&opening));
                }
                Ok(None)
            }
            client::Waited::Shut => {
                self.told.wait = Some(Waited::of(None));
                Err(knock::in_vain(&format!("tcp/{port}"), limit))
            }
            client::Waited::Stopped(signal) => Ok(Some(signal)),
        }
    }

    fn run(&mut self, task: &Task, command: &[OsString]) -> Result<Ended, Failure> {
        let first = self.left();
        let ended = task.run(command, first, &mut || self.renew().unwrap_or(AGAIN));
        ended.map_err(|error| {
            let name = command
                .first()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let exit = if error.kind() == io::ErrorKind::NotFound {
                Exit::NotFound
            } else {
                Exit::NotRunnable
            };
            Failure::new(
                exit,
                format!("cannot run {name}: {error}"),
                "name a program, or its path",
            )
        })
    }

    fn knock(&mut self, code: Option<postern_proto::Code>) -> Result<Vec<client::Sent>, Failure> {
        let now = clock::instant();
        let sent = self.hold.knock(code)?;
        self.knocked = now;
        Ok(sent)
    }

    /// Until the next renewal.
    fn left(&self) -> Option<Duration> {
        self.every
            .map(|every| every.saturating_sub(clock::elapsed(self.knocked)))
    }

    /// Knocks once more; says when to do so again. A failure is told and is not the command's end.
    fn renew(&mut self) -> Option<Duration> {
        let source = self.code.as_ref();
        let knocked = source
            .map(|source| code::of(source, &self.gate))
            .transpose()
            .and_then(|code| self.knock(code));
        match knocked {
            Ok(_) => {
                self.told.renewals = self.told.renewals.saturating_add(1);
                self.left()
            }
            Err(failure) => {
                if self.tells() {
                    note(&format!("not knocked again, trying on: {failure}"));
                }
                None
            }
        }
    }

    /// Asks the gate to close, tells, and ends as the command did.
    fn close(mut self, outcome: Result<Ended, Failure>) -> Result<ExitCode, Failure> {
        match self.hold.close() {
            Ok(closings) => {
                if self.tells() {
                    knock::tell_aside(&self.gate, &closings);
                }
                self.told.closings = KnockedAt::all(&closings);
            }
            // The grant ends by itself; how the command ended counts for more.
            Err(failure) => note(&format!("not asked to close: {failure}")),
        }
        if self.telling.json {
            self.told.gate = self.gate.to_string();
            let ended = outcome.as_ref().ok();
            self.told.exit_status = ended.and_then(|ended| ended.status);
            self.told.signal = ended.and_then(|ended| ended.signal);
            json::write_aside("run", &self.told)?;
        }
        outcome.map(|ended| ExitCode::from(ended.code()))
    }

    fn tells(&self) -> bool {
        !self.telling.quiet && !self.telling.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_knocked_at_again_well_before_its_end_and_not_without_a_code_of_its_own() {
        let seconds = Duration::from_secs;
        assert_eq!(
            renewal(Some(seconds(60)), false, None).unwrap(),
            seconds(40)
        );
        assert_eq!(renewal(Some(seconds(1)), false, None).unwrap(), seconds(1));
        assert_eq!(renewal(None, false, None).unwrap_err().exit(), Exit::Usage);
        let program = CodeSource::Program(vec!["oathtool".to_owned()]);
        assert!(renewal(Some(seconds(60)), false, Some(&program)).is_ok());
        for (code_stdin, source) in [
            (true, None),
            (true, Some(&program)),
            (false, Some(&CodeSource::Ask)),
        ] {
            assert_eq!(
                renewal(Some(seconds(60)), code_stdin, source)
                    .unwrap_err()
                    .exit(),
                Exit::Usage
            );
        }
    }
}
