//! The metrics file for a node exporter: rewritten at every interval, removed when the monitor stops.
//!
//! The monitor writes only its own text around numbers, so a hostile engine can change nothing but numbers.

use std::path::PathBuf;

use tracing::{info, warn};

use crate::adapters::files;
use crate::adapters::metrics::Snapshot;
use crate::model::settings::Metrics;
use crate::model::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct MetricsFile {
    next: Timestamp,
    written: Option<PathBuf>,
    failure: Option<String>,
}

impl MetricsFile {
    pub(super) fn update(
        &mut self,
        now: Timestamp,
        wanted: &Metrics,
        snapshot: impl FnOnce() -> Snapshot,
    ) {
        if self.written.is_some() && self.written != wanted.file {
            self.remove();
        }
        let Some(path) = wanted.file.as_ref().filter(|_| now >= self.next) else {
            return;
        };
        self.next = now.plus(wanted.interval);
        let failure = files::publish(path, &snapshot().prometheus()).err();
        let failure = failure.map(|error| format!("{}: {error}", path.display()));
        match (&failure, &self.failure) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                warn!("the metrics can't be written to {now}; trying again")
            }
            (None, Some(_)) => info!("the metrics are written to {} again", path.display()),
            _ => {}
        }
        if failure.is_none() {
            self.written = Some(path.clone());
        }
        self.failure = failure;
    }

    /// Removes the file, because the figures of a stopped daemon would be reported for ever.
    pub(super) fn remove(&mut self) {
        self.next = Timestamp::default();
        if let Some(path) = self.written.take()
            && let Err(error) = files::withdraw(&path)
        {
            let path = path.display();
            warn!("the metrics in {path} are old now and can't be removed: {error}");
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
    fn file_is_rewritten_moved_and_removed() {
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
            file.update(at(second), &wanted(&one), grants(count));
            assert!(
                fs::read_to_string(&one)
                    .unwrap()
                    .contains(&format!("\npostern_grants {told}\n")),
                "{second}"
            );
        }
        file.update(at(101), &wanted(&other), grants(7));
        assert!(!one.exists() && other.exists());
        file.update(at(102), &Metrics::default(), grants(8));
        assert!(!other.exists());
        file.update(at(103), &wanted(&one), grants(9));
        file.remove();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn missing_folder_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/postern.prom");
        let wanted = Metrics {
            file: Some(path.clone()),
            interval: Duration::from_secs(1),
            listen: None,
        };
        let mut file = MetricsFile::default();
        file.update(at(0), &wanted, grants(1));
        fs::create_dir(folder.path().join("later")).unwrap();
        file.update(at(1), &wanted, grants(1));
        assert!(path.exists());
    }
}
