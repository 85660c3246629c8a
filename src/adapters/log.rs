//! Where log lines go, and their form.
//!
//! Under systemd they go to the journal with fields, else to standard error as text with UTC times. `POSTERN_LOG` sets the level (`info`,
//! `debug`, or a tracing filter), `POSTERN_LOG_FORMAT` the form. The journal's socket is opened at the start, because an engine cannot
//! open one later.

use std::io::{IsTerminal, Stderr};

use tracing::warn;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Layer;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::adapters::clock;

pub(crate) const LEVEL: &str = "POSTERN_LOG";

/// The environment variable that forces a form: `journal`, `json` or `text`.
pub(crate) const FORMAT: &str = "POSTERN_LOG_FORMAT";

/// Device and inode of the journal's stream, if systemd connected it to standard error (systemd.exec(5)).
pub(crate) const STREAM: &str = "JOURNAL_STREAM";

const INHERITED: [&str; 3] = [LEVEL, FORMAT, STREAM];

/// These variables with their values, for a process that logs as this one does.
pub(crate) fn inherited() -> Vec<(&'static str, String)> {
    let names = INHERITED.into_iter();
    names
        .filter_map(|name| Some((name, std::env::var(name).ok()?)))
        .collect()
}

/// The prefix of field names in the journal: `POSTERN_USER`.
pub(crate) const PREFIX: &str = "POSTERN";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Journal,
}

pub(crate) fn start() -> Form {
    let asked = form(
        std::env::var(FORMAT).ok().as_deref(),
        is_journal(std::env::var(STREAM).ok().as_deref()),
    );
    let registry = tracing_subscriber::registry()
        .with(EnvFilter::try_from_env(LEVEL).unwrap_or_else(|_| EnvFilter::new("info")));
    // Only the first call in a process can succeed, and one is enough.
    let _ = match asked {
        Form::Text => registry
            .with(lines().with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
        Form::Json => registry.with(lines().json().flatten_event(true)).try_init(),
        Form::Journal => match tracing_journald::layer() {
            Ok(layer) => registry.with(configured(layer)).try_init(),
            Err(error) => {
                let _ = registry.with(lines().with_ansi(false)).try_init();
                warn!("the journal can't be reached, log lines go to standard error: {error}");
                return Form::Text;
            }
        },
    };
    asked
}

fn form(asked: Option<&str>, is_journal: bool) -> Form {
    match asked {
        Some("json") => Form::Json,
        Some("text") => Form::Text,
        Some("journal") => Form::Journal,
        _ if is_journal => Form::Journal,
        _ => Form::Text,
    }
}

/// Whether standard error is this stream. A program may inherit the variable with another standard error.
fn is_journal(stream: Option<&str>) -> bool {
    let named = stream
        .and_then(|stream| stream.split_once(':'))
        .and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    let found = rustix::fs::fstat(std::io::stderr())
        .map(|found| (found.st_dev, found.st_ino))
        .ok();
    named.is_some() && named == found
}

type Lines<S> = Layer<S, DefaultFields, Format<Full, Utc>, fn() -> Stderr>;

fn lines<S>() -> Lines<S> {
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr as fn() -> Stderr)
        .with_timer(Utc)
        .with_target(false)
}

fn configured(layer: tracing_journald::Layer) -> tracing_journald::Layer {
    // The default maps info to notice, and takes the name of an engine from a link under /proc.
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    layer
        .with_field_prefix(Some(PREFIX.to_owned()))
        .with_priority_mappings(priorities)
        .with_syslog_identifier("posternd".to_owned())
}

struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", clock::wall())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_needs_its_stream_on_stderr() {
        let found = rustix::fs::fstat(std::io::stderr()).unwrap();
        let own = format!("{}:{}", found.st_dev, found.st_ino);
        assert!(is_journal(Some(&own)));
        for other in [
            None,
            Some(""),
            Some("8"),
            Some("x:y"),
            Some("8:"),
            Some(&*format!("{own}0")),
            Some(&*format!("1{own}")),
        ] {
            assert!(!is_journal(other), "{other:?}");
        }
    }

    #[test]
    fn requested_form_wins() {
        for is_journal in [false, true] {
            for (asked, wanted) in [
                ("json", Form::Json),
                ("text", Form::Text),
                ("journal", Form::Journal),
            ] {
                assert_eq!(form(Some(asked), is_journal), wanted);
            }
            for asked in [None, Some(""), Some("xml")] {
                assert_eq!(
                    form(asked, is_journal),
                    if is_journal {
                        Form::Journal
                    } else {
                        Form::Text
                    },
                    "{asked:?}"
                );
            }
        }
    }
}
