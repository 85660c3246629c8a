//! `posternd explain`: why a datagram was not admitted, one line each, as text or JSON.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use postern_fwknop::Opened;
use postern_proto::{GateName, Protocol};

use super::attempts;
use super::output::{json_line, note, print_while_read};
use super::shared_arguments::Report;
use crate::adapters::clock;
use crate::admin::explain::{
    Account, Cause, ClockOffset, Explain, ExplainedStep, Input, Kind, Live, Outcome, Summary, Told,
    What,
};
use crate::core::sequence::Expected;
use crate::model::exit::{ExitError, USAGE};
use crate::model::service;
use crate::model::time::{self, Timestamp};

mod json;

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    #[command(flatten)]
    report: Report,
    /// Explain a packet in base64 as `postern knock --print` writes it, one of fwknop as `fwknop -B` saves it, a file of such packets, or a recording of tcpdump or Wireshark (pcap, pcapng); - or nothing reads standard input
    #[arg(value_name = "PACKET|FILE")]
    input: Option<String>,
    /// With --source: explain these hits of a sequence in order, such as "tcp/7000 tcp/8000 udp/9000"; a port alone is of TCP
    #[arg(long, value_name = "PORTS", value_parser = Hits::read, requires = "source", conflicts_with_all = ["input", "listening", "all"])]
    hits: Option<Hits>,
    /// Capture packets while the gate runs, and explain knocks as they arrive
    #[arg(long, group = "listening", conflicts_with_all = ["input", "at", "source", "all"])]
    live: bool,
    /// For a minute, compare the clock of each user who knocks with this one, also if it is hours off
    #[arg(long, group = "listening", conflicts_with_all = ["input", "at", "source", "all", "gate_names", "verbose"])]
    clock: bool,
    /// With --live or --clock: receive on this interface only [default: the config's]
    #[arg(long, value_name = "NAME", requires = "listening")]
    interface: Option<String>,
    /// With --live or --clock: stop after this time, such as 30s or 10m
    #[arg(long = "for", value_name = "TIME", requires = "listening", value_parser = time::parse_duration)]
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
    /// Also try this gate name; may be repeated. This host's names and addresses are always tried
    #[arg(long = "gate-name", value_name = "NAME", value_parser = GateName::new)]
    gate_names: Vec<GateName>,
    /// Explain every packet of a recording, including those to other ports
    #[arg(long)]
    all: bool,
    /// Print every step for each datagram
    #[arg(short, long)]
    verbose: bool,
}

/// How long --clock runs without --for.
const CLOCK_FOR: Duration = Duration::from_secs(60);

/// Hits on the command line.
#[derive(Debug, Clone)]
struct Hits(Vec<Expected>);

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
    let mut live = Live {
        interface: arguments.interface.clone(),
        length: arguments.length,
    };
    if arguments.clock {
        live.length = live.length.or(Some(CLOCK_FOR));
        let has_told =
            explain.clocks(&live, &mut note, &mut |offset| printer.print_clock(offset))?;
        if !has_told {
            note("no knock of a user arrived; knock now, and run it again");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.live {
        explain.live(&live, &mut note, &mut |told| printer.print(&told))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(Hits(hits)), Some(source)) = (&arguments.hits, arguments.source) {
        printer.numbered = true;
        let at = arguments.at.map(|when| when.since(clock::wall()));
        explain.hits(hits, at, source, &mut |told| printer.print(&told))?;
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
    printer.numbered = kind == Kind::Packets;
    let tell = &mut |told| printer.print(&told);
    match kind {
        Kind::Packets => {
            let at = arguments.at.map(|when| when.since(clock::wall()));
            explain.packets(source, at, arguments.source, tell)?;
        }
        Kind::Recording if arguments.at.is_some() || arguments.source.is_some() => {
            let what = "a recording has times and sources of its own; leave out --at and --source";
            return Err(ExitError::new(USAGE, what));
        }
        Kind::Recording => {
            let summary = explain.recording(source, arguments.all, tell)?;
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
        let packets = time::count(summary.packets, "packet");
        let ports = service::list(&explain.gate().ports);
        note(&format!(
            "{packets}, and none to UDP port {ports}; --all shows what they are"
        ));
    }
}

impl Printer<'_> {
    fn print_clock(&mut self, offset: &ClockOffset) -> Result<ControlFlow<()>, ExitError> {
        let text = if self.arguments.report.json {
            json_line(&json::clock(offset))?
        } else {
            format!("{}: {}\n", offset.at, offset.sentence())
        };
        self.print_one(&text)
    }

    /// Prints one explanation. Breaks if no more is wanted.
    fn print(&mut self, told: &Told) -> Result<ControlFlow<()>, ExitError> {
        let text = if self.arguments.report.json {
            json_line(&json::object(told))?
        } else {
            self.as_text(told)
        };
        if matches!(told.what, What::Unused(_)) {
            let goes_on = print_while_read(&text)?;
            return Ok(if goes_on {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            });
        }
        self.print_one(&text)
    }

    fn print_one(&mut self, text: &str) -> Result<ControlFlow<()>, ExitError> {
        self.left = self.left.map(|left| left.saturating_sub(1));
        let more = print_while_read(text)? && self.left != Some(0);
        Ok(if more {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    }

    fn as_text(&self, told: &Told) -> String {
        let (source, mut text) = match &told.what {
            What::Other(other) => (other.source, format!("no knock: {other}\n")),
            What::Hit(account) => (Some(account.hit.source), format!("{}\n", account.line())),
            What::Unused(unused) => (None, attempts::unused_lines(unused, None)),
            What::Account(account) => {
                let text = format!("{}{}\n", account.line(), self.hint(account));
                (account.source, text)
            }
        };
        if let What::Account(account) = &told.what
            && self.arguments.verbose
        {
            text.extend(account.steps().iter().map(step_line));
            text.extend(account.fwknop.as_deref().map(fields_of_fwknop));
        }
        let label = match told.at {
            Some(at) if !self.numbered => at.to_string(),
            _ if matches!(told.what, What::Hit(_)) => {
                return format!("hit {}: {text}", told.number);
            }
            _ => format!("packet {}", told.number),
        };
        match source {
            Some(source) => format!("{label} {source}: {text}"),
            None => format!("{label}: {text}"),
        }
    }

    /// A packet does not say when it arrived.
    fn hint(&self, account: &Account) -> &'static str {
        match account.cause {
            Cause::Clock if self.numbered && self.arguments.at.is_none() => {
                " (if the packet arrived earlier, give the time with --at)"
            }
            _ => "",
        }
    }
}

/// Every field of a packet of fwknop.
fn fields_of_fwknop(opened: &Opened) -> String {
    let request = &opened.request;
    let none = || "none".to_owned();
    let auth = opened.server_auth.as_deref();
    let rows = [
        ("random", opened.random.clone()),
        ("user", request.user.clone()),
        (
            "time",
            Timestamp::from_millis(request.timestamp_s.saturating_mul(1000)).to_string(),
        ),
        ("version", opened.version.clone()),
        ("type", request.type_number().to_string()),
        ("message", request.message_text()),
        (
            "nat",
            request.target().map_or_else(none, ToString::to_string),
        ),
        (
            "auth",
            auth.map_or_else(none, |auth| time::count(auth.len(), "byte")),
        ),
        (
            "timeout",
            request
                .timeout_s
                .map_or_else(none, |seconds| format!("{seconds} s")),
        ),
        (
            "digest",
            format!("{:?}, {}", opened.digest_kind, opened.digest),
        ),
    ];
    let lines = rows.map(|(name, value)| format!("       {name:<7} {}\n", value.escape_debug()));
    lines.concat()
}

fn step_line(step: &ExplainedStep) -> String {
    let sign = match step.outcome {
        Outcome::Passed => "✓",
        Outcome::Failed => "✗",
        Outcome::NotReached => "-",
    };
    let line = format!(
        "  {sign} {:>2} {:<7} {}",
        step.number, step.name, step.found
    );
    line.trim_end().to_owned() + "\n"
}

impl Hits {
    fn read(text: &str) -> Result<Self, String> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let hits: Option<Vec<Expected>> = words.map(hit).collect();
        let hits = hits.filter(|hits| !hits.is_empty());
        let form = || "write ports like tcp/7000 or udp/9000, with blanks between".to_owned();
        hits.map(Self).ok_or_else(form)
    }
}

fn hit(word: &str) -> Option<Expected> {
    let (protocol, port) = word.split_once('/').unwrap_or(("tcp", word));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some(Expected::port(protocol, port))
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
            let millis = seconds.saturating_mul(1000);
            return Ok(Self::At(Timestamp::from_millis(millis)));
        }
        if let Ok(length) = time::parse_duration(text) {
            return Ok(Self::Ago(length));
        }
        let time = time::parse_time(text.trim());
        time.map(Self::At).map_err(|_| wrong())
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
