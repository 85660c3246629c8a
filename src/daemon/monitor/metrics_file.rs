//! The file for a node exporter: written anew every so often, taken away when the monitor stops.
//!
//! The monitor has the right to, and writes nothing but its own words around numbers: an engine that lies can change those alone.

use std::path::PathBuf;

use tracing::{info, warn};

use crate::adapters::files::public;
use crate::adapters::metrics::Snapshot;
use crate::model::settings::Metrics;
use crate::model::time::Timestamp;

/// What was written last.
#[derive(Debug, Default)]
pub(super) struct MetricsFile {
    next: Timestamp,
    written: Option<PathBuf>,
    /// What was last said about a file that can't be written, so as to say it once.
    trouble: Option<String>,
}

impl MetricsFile {
    /// Writes it where the config wants it and its time has come.
    pub(super) fn keep(
        &mut self,
        now: Timestamp,
        wanted: &Metrics,
        snapshot: impl FnOnce() -> Snapshot,
    ) {
        if self.written.is_some() && self.written != wanted.file {
            self.withdraw();
        }
        let Some(path) = wanted.file.as_ref().filter(|_| now >= self.next) else {
            return;
        };
        self.next = now.plus(wanted.interval);
        let trouble = public::publish(path, &snapshot().prometheus())
            .err()
            .map(|error| format!("{}: {error}", path.display()));
        match (&trouble, &self.trouble) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                warn!("the metrics can't be written to {now}; trying again")
            }
            (None, Some(_)) => info!("the metrics are written to {} again", path.display()),
            _ => {}
        }
        if trouble.is_none() {
            self.written = Some(path.clone());
        }
        self.trouble = trouble;
    }

    /// Takes it away: figures of a daemon that is gone would be told for ever.
    pub(super) fn withdraw(&mut self) {
        self.next = Timestamp::default();
        if let Some(path) = self.written.take()
            && let Err(error) = public::withdraw(&path)
        {
            warn!(
                "the metrics in {} are old now and can't be removed: {error}",
                path.display()
            );
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::model::counters::MonitorCounters;

    const START: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    fn at(second: u64) -> Timestamp {
        START.plus(Duration::from_secs(second))
    }

    fn grants(grants: usize) -> impl FnOnce() -> Snapshot {
        move || Snapshot {
            figures: None,
            captures: Vec::new(),
            tally: MonitorCounters {
                grants,
                ..MonitorCounters::default()
            },
        }
    }

    #[test]
    fn it_is_written_every_interval_moved_when_the_config_says_so_and_taken_away_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one.prom", "other.prom"].map(|name| folder.path().join(name));
        let wanted = |file: &PathBuf| Metrics {
            file: Some(file.clone()),
            interval: Duration::from_secs(15),
            listen: None,
        };
        let mut file = MetricsFile::default();
        for (second, count, told) in [
            (0, 1, 1),
            (1, 2, 1),
            (14, 3, 1),
            (15, 4, 4),
            (29, 5, 4),
            (100, 6, 6),
        ] {
            file.keep(at(second), &wanted(&one), grants(count));
            assert!(
                fs::read_to_string(&one)
                    .unwrap()
                    .contains(&format!("\npostern_grants {told}\n")),
                "{second}"
            );
        }
        file.keep(at(101), &wanted(&other), grants(7));
        assert!(!one.exists() && other.exists());
        file.keep(at(102), &Metrics::default(), grants(8));
        assert!(!other.exists());
        file.keep(at(103), &wanted(&one), grants(9));
        file.withdraw();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_missing_hinders_nothing_and_is_written_to_once_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/postern.prom");
        let wanted = Metrics {
            file: Some(path.clone()),
            interval: Duration::from_secs(1),
            listen: None,
        };
        let mut file = MetricsFile::default();
        file.keep(at(0), &wanted, grants(1));
        fs::create_dir(folder.path().join("later")).unwrap();
        file.keep(at(1), &wanted, grants(1));
        assert!(path.exists());
    }
}
