//! Where log lines go and what they look like. Decides no content.
//!
//! Readable lines on standard error, JSON where it is asked for; times in UTC. The level comes from `POSTERN_LOG`
//! (`info`, `debug`, or a tracing filter), which the engine inherits.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The environment variable that holds the level.
pub const LEVEL: &str = "POSTERN_LOG";

/// The environment variable that asks for JSON lines with the value `json`.
pub const FORMAT: &str = "POSTERN_LOG_FORMAT";

struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", crate::time::Timestamp::from_millis(now_millis()))
    }
}

/// The log's own look at the clock: adapters do not use one another.
#[expect(clippy::disallowed_methods, reason = "a log line's time decides nothing")]
fn now_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    crate::time::millis(since)
}

/// Starts logging in this process. Done once; a second call changes nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env(LEVEL).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_timer(Utc).with_target(false);
    let json = std::env::var(FORMAT).is_ok_and(|format| format == "json");
    // Only the first call in a process can succeed, and one is enough.
    let _ = if json { lines.json().flatten_event(true).try_init() } else { lines.with_ansi(std::io::stderr().is_terminal()).try_init() };
}
