//! `posternd explain`: why a datagram was not admitted, one line each, as text or JSON.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use postern_proto::GateName;

use super::output::{json_line, note, print_while_read};
use super::shared_arguments::Report;
use crate::adapters::clock;
use crate::admin::explain::{
    Account, Cause, Explain, ExplainedStep, Input, Kind, Live, Outcome, Summary, Told, What,
};
use crate::model::exit::{ExitError, USAGE};
use crate::model::time::{self, Timestamp};

mod json;

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    #[command(flatten)]
    report: Report,
    /// Explain a packet in base64 as `postern knock --print` writes it, a file of such packets, or a recording of tcpdump or Wireshark (pcap, pcapng); - or nothing reads standard input
    #[arg(value_name = "PACKET|FILE")]
    input: Option<String>,
    /// Receive packets beside the running gate, and explain knocks as they arrive
    #[arg(long, conflicts_with_all = ["input", "at", "source", "all"])]
    live: bool,
    /// With --live: receive on this interface only [default: the config's]
    #[arg(long, value_name = "NAME", requires = "live")]
    interface: Option<String>,
    /// With --live: stop after this time, such as 30s or 10m
    #[arg(long = "for", value_name = "TIME", requires = "live", value_parser = time::parse_duration)]
    length: Option<Duration>,
    /// Stop after this number of datagrams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Assume that the packets arrived at this time: 2026-11-22T10:41:00Z, seconds since 1970 as @1795344060, or 5m for five minutes ago [default: now]
    #[arg(long, value_name = "TIME", value_parser = When::read)]
    at: Option<When>,
    /// Assume that the packets came from this address
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Try this gate name, too, in case the client uses it; may be repeated. This host's names and addresses are always tried
    #[arg(long = "gate-name", value_name = "NAME", value_parser = GateName::new)]
    gate_names: Vec<GateName>,
    /// Explain every packet of a recording, also those to other ports
    #[arg(long)]
    all: bool,
    /// Print every step for each datagram
    #[arg(short, long)]
    verbose: bool,
}

/// A time on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    At(Timestamp),
    Ago(Duration),
}

/// Prints explanations.
struct Printer<'a> {
    arguments: &'a ExplainArguments,
    /// How many datagrams remain.
    left: Option<u64>,
    /// Packets have numbers, not times.
    numbered: bool,
}

pub(super) fn explain(arguments: &ExplainArguments) -> Result<ExitCode, ExitError> {
    let mut explain = Explain::open(&arguments.report.config.config, &arguments.gate_names)?;
    let mut printer = Printer {
        arguments,
        left: arguments.count,
        numbered: false,
    };
    if arguments.live {
        let live = Live {
            interface: arguments.interface.clone(),
            length: arguments.length,
        };
        explain.live(&live, &mut |text| note(text), &mut |told| {
            printer.print(&told)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let Input { kind, source } = Input::of(match arguments.input.as_deref() {
        Some(input) => input,
        None if std::io::stdin().is_terminal() => {
            let what = "nothing to explain; give a packet, a file or --live";
            return Err(ExitError::new(USAGE, what));
        }
        None => "-",
    })?;
    match kind {
        Kind::Packets => {
            printer.numbered = true;
            let at = arguments.at.map(|when| when.since(clock::wall()));
            explain.packets(source, at, arguments.source, &mut |told| {
                printer.print(&told)
            })?;
        }
        Kind::Recording if arguments.at.is_some() || arguments.source.is_some() => {
            let what = "a recording has times and sources of its own; leave out --at and --source";
            return Err(ExitError::new(USAGE, what));
        }
        Kind::Recording => {
            let summary =
                explain.recording(source, arguments.all, &mut |told| printer.print(&told))?;
            conclude(summary, &explain);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Notes what a recording also had, or that it had nothing.
fn conclude(summary: Summary, explain: &Explain) {
    if let Some(number) = summary.unknown_link {
        note(&format!(
            "some packets have link type {number}, which is not supported; record on another interface"
        ));
    }
    if summary.told == 0 {
        let packets = time::count(
            usize::try_from(summary.packets).unwrap_or(usize::MAX),
            "packet",
        );
        note(&format!(
            "{packets}, and none to UDP port {}; --all shows what they are",
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

impl Printer<'_> {
    /// Prints one explanation. Breaks if no more is wanted.
    fn print(&mut self, told: &Told) -> Result<ControlFlow<()>, ExitError> {
        let text = if self.arguments.report.json {
            json_line(&json::object(told))?
        } else {
            self.as_text(told)
        };
        self.left = self.left.map(|left| left.saturating_sub(1));
        let more = print_while_read(&text)? && self.left != Some(0);
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

    /// A packet does not say when it arrived.
    fn hint(&self, account: &Account) -> &'static str {
        let depends =
            matches!(account.cause, Cause::Clock) && self.numbered && self.arguments.at.is_none();
        if depends {
            " (if the packet arrived earlier, give the time with --at)"
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
                "\"{text}\" is not a time; write 2026-11-22T10:41:00Z, @1795344060, or 5m for five minutes ago"
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
        time::parse_time(text.trim())
            .map(Self::At)
            .map_err(|_| wrong())
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
    fn times_are_read_in_three_forms() {
        let at = |millis| Ok(When::At(Timestamp::from_millis(millis)));
        assert_eq!(When::read("2025-10-09T08:53:20Z"), at(1_760_000_000_000));
        let found = When::read("2025-10-09T10:53:20.5+02:00");
        assert_eq!(found, at(1_760_000_000_500));
        assert_eq!(When::read("@1760000000"), at(1_760_000_000_000));
        assert_eq!(
            When::read("5m").map(|when| when.since(Timestamp::from_millis(1_000_000))),
            Ok(Timestamp::from_millis(700_000))
        );
        for text in ["", "now", "@", "@-1", "2025-10-09", "10:41", "5"] {
            assert!(
                When::read(text)
                    .unwrap_err()
                    .contains("is not a time; write "),
                "{text}"
            );
        }
    }
}
