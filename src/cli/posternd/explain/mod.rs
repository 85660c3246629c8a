//! `posternd explain`: why a datagram was not let in, one line each, in text or JSON.
//!
//! Owns its arguments and how accounts are told; what they say is `gate::explain`'s.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use postern_proto::GateName;

use super::arguments::Report;
use super::say::{is_heard, json_line, note};
use crate::adapters::clock;
use crate::admin::explain::{
    Account, Cause, Explain, ExplainedStep, Input, Kind, Live, Outcome, Summary, Told, What,
};
use crate::model::exit::{ExitError, USAGE};
use crate::model::time::{self, Timestamp};

mod json;

/// What to explain, and how to tell it.
#[derive(Debug, Args)]
pub(super) struct Explaining {
    #[command(flatten)]
    report: Report,
    /// A packet in base64 as `postern knock --print` writes it, a file of such packets, or a recording that tcpdump or Wireshark wrote (pcap, pcapng); - or nothing reads standard input
    #[arg(value_name = "PACKET|FILE")]
    input: Option<String>,
    /// Listen beside the running gate, and explain knocks as they come
    #[arg(long, conflicts_with_all = ["input", "at", "source", "all"])]
    live: bool,
    /// With --live: listen on this interface alone [default: where the config says]
    #[arg(long, value_name = "NAME", requires = "live")]
    interface: Option<String>,
    /// With --live: end after this time, such as 30s or 10m
    #[arg(long = "for", value_name = "TIME", requires = "live", value_parser = time::parse_duration)]
    length: Option<Duration>,
    /// End after so many datagrams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// When the packets came: 2026-11-22T10:41:00Z, seconds since 1970 as @1795344060, or 5m for so long ago [default: now]
    #[arg(long, value_name = "TIME", value_parser = When::read)]
    at: Option<When>,
    /// Where the packets came from
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Another gate's name that the client may have; may be repeated. This host's own names and addresses are tried in any case
    #[arg(long = "gate-name", value_name = "NAME", value_parser = GateName::new)]
    gate_names: Vec<GateName>,
    /// Tell of every packet of a recording, also of those that are for no knock port
    #[arg(long)]
    all: bool,
    /// Tell every step of each datagram
    #[arg(short, long)]
    verbose: bool,
}

/// A time as people say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    At(Timestamp),
    Ago(Duration),
}

/// How datagrams are told of, and how many may still come.
struct Teller<'a> {
    arguments: &'a Explaining,
    left: Option<u64>,
    /// Whether packets have numbers rather than times.
    numbered: bool,
}

pub(super) fn explain(arguments: &Explaining) -> Result<ExitCode, ExitError> {
    let mut explain = Explain::open(&arguments.report.config.config, &arguments.gate_names)?;
    let mut teller = Teller {
        arguments,
        left: arguments.count,
        numbered: false,
    };
    if arguments.live {
        let live = Live {
            interface: arguments.interface.clone(),
            length: arguments.length,
        };
        explain.live(&live, &mut |said| note(said), &mut |told| {
            teller.tell(&told)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let Input { kind, source } = Input::of(match arguments.input.as_deref() {
        Some(input) => input,
        None if std::io::stdin().is_terminal() => {
            return Err(ExitError::new(
                USAGE,
                "nothing to explain; give a packet or a file, or listen with --live",
            ));
        }
        None => "-",
    })?;
    match kind {
        Kind::Packets => {
            teller.numbered = true;
            let at = arguments.at.map(|when| when.since(clock::wall()));
            explain.packets(source, at, arguments.source, &mut |told| teller.tell(&told))?;
        }
        Kind::Recording if arguments.at.is_some() || arguments.source.is_some() => {
            return Err(ExitError::new(
                USAGE,
                "a recording says by itself when and from where packets came; leave out --at and --source",
            ));
        }
        Kind::Recording => {
            let summary =
                explain.recording(source, arguments.all, &mut |told| teller.tell(&told))?;
            conclude(summary, &explain);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a recording had besides, or that it had nothing.
fn conclude(summary: Summary, explain: &Explain) {
    if let Some(number) = summary.unknown_link {
        note(&format!(
            "some packets were recorded with link type {number}, which is not read here; record on another interface"
        ));
    }
    if summary.told == 0 {
        let packets = time::count(
            usize::try_from(summary.packets).unwrap_or(usize::MAX),
            "packet",
        );
        note(&format!(
            "{packets}, and none to UDP port {}; --all tells what they are",
            ports(&explain.gate().ports)
        ));
    }
}

fn ports(ports: &[u16]) -> String {
    ports
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Teller<'_> {
    /// Tells of one, and says whether more is wanted.
    fn tell(&mut self, told: &Told) -> Result<ControlFlow<()>, ExitError> {
        let text = if self.arguments.report.json {
            json_line(&json::object(told))?
        } else {
            self.as_text(told)
        };
        self.left = self.left.map(|left| left.saturating_sub(1));
        let more = is_heard(&text)? && self.left != Some(0);
        Ok(if more {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    }

    fn as_text(&self, told: &Told) -> String {
        let source = match &told.what {
            What::Account(account) => account.source,
            What::Other(other) => other.source,
        };
        let from = source
            .map(|source| format!(" {source}"))
            .unwrap_or_default();
        let label = match told.at {
            Some(at) if !self.numbered => format!("{at}{from}"),
            _ => format!("packet {}{from}", told.number),
        };
        match &told.what {
            What::Other(other) => format!("{label}: no knock: {other}\n"),
            What::Account(account) => {
                let mut text = format!("{label}: {}{}\n", account.line(), self.hint(account));
                if self.arguments.verbose {
                    account
                        .steps()
                        .iter()
                        .for_each(|step| text.push_str(&step_line(step)));
                }
                text
            }
        }
    }

    /// A packet by itself does not say when it came.
    fn hint(&self, account: &Account) -> &'static str {
        let depends =
            matches!(account.cause, Cause::Clock) && self.numbered && self.arguments.at.is_none();
        if depends {
            " (if the packet came earlier than now, say when with --at)"
        } else {
            ""
        }
    }
}

fn step_line(step: &ExplainedStep) -> String {
    let sign = match step.outcome {
        Outcome::Passed => "✓",
        Outcome::Failed => "✗",
        Outcome::NotReached => "-",
    };
    format!(
        "  {sign} {:>2} {:<7} {}",
        step.number, step.name, step.found
    )
    .trim_end()
    .to_owned()
        + "\n"
}

impl When {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no time; write 2026-11-22T10:41:00Z, @1795344060, or 5m for so long ago"
            )
        };
        if let Some(seconds) = text.strip_prefix('@') {
            let seconds: u64 = seconds.parse().map_err(|_| wrong())?;
            return Ok(Self::At(Timestamp::from_millis(
                seconds.saturating_mul(1000),
            )));
        }
        if let Ok(length) = time::parse_duration(text) {
            return Ok(Self::Ago(length));
        }
        time::parse_timestamp(text).map(Self::At).ok_or_else(wrong)
    }

    fn since(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(length) => now.minus(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_say_them() {
        let at = |millis| Ok(When::At(Timestamp::from_millis(millis)));
        assert_eq!(When::read("2025-10-09T08:53:20Z"), at(1_760_000_000_000));
        assert_eq!(
            When::read("2025-10-09T10:53:20.5+02:00"),
            at(1_760_000_000_500)
        );
        assert_eq!(When::read("@1760000000"), at(1_760_000_000_000));
        assert_eq!(
            When::read("5m").map(|when| when.since(Timestamp::from_millis(1_000_000))),
            Ok(Timestamp::from_millis(700_000))
        );
        for text in ["", "now", "@", "@-1", "2025-10-09", "10:41", "5"] {
            assert!(
                When::read(text).unwrap_err().contains("is no time; write "),
                "{text}"
            );
        }
    }
}
