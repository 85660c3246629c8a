//! Opens the source of the log sensor for an engine, and keeps it going: follows the rotation of a file, starts `journalctl` again.

use std::fs::{File, Metadata};
use std::io::{Seek, SeekFrom, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::adapters::clock;
use crate::adapters::files::open_to_read;
use crate::adapters::process::{self, find};
use crate::core::order::Report;
use crate::model::exit::{CONFIG, ExitError, SYSTEM};
use crate::model::settings::LogSource;
use crate::model::time::human;

pub(super) const JOURNALCTL: &str = "journalctl";
/// New entries of the kernel. The facility tells them from what user space wrote to `/dev/kmsg`.
const ARGUMENTS: [&str; 8] = [
    "--follow",
    "--lines=0",
    "--quiet",
    "--no-pager",
    "--output=json",
    "--output-fields=MESSAGE,_TRANSPORT,SYSLOG_FACILITY",
    "_TRANSPORT=kernel",
    "SYSLOG_FACILITY=0",
];
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
const KMSG: &str = "/dev/kmsg";
/// Read in place of a file that does not exist yet.
const NOTHING: &str = "/dev/null";

const CHECK_EVERY: Duration = Duration::from_millis(500);
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// After a run of this length the next one starts without a longer pause.
const RAN_WELL: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_millis(300);

/// The source that one engine reads.
#[derive(Debug)]
pub(super) struct OpenLog {
    kind: Kind,
    checked: Instant,
    /// What the engine was told last.
    told: Option<Report>,
}

#[derive(Debug)]
enum Kind {
    Kmsg,
    File {
        path: PathBuf,
        /// The device and number of the file that the engine reads.
        identity: Option<(u64, u64)>,
    },
    Journal(Journal),
}

#[derive(Debug)]
struct Journal {
    program: PathBuf,
    /// Also held here, so that the engine's end stays open.
    writer: OwnedFd,
    child: Option<Child>,
    started: Instant,
    pause: Duration,
    restarts: u64,
    why: Option<String>,
}

/// What the engine must know.
pub(super) type Change = (Report, Option<OwnedFd>);

impl OpenLog {
    /// Opens the source at its end. Also returns what the engine reads.
    pub(super) fn open(source: &LogSource) -> Result<(Self, OwnedFd), ExitError> {
        let (kind, descriptor) = match source {
            LogSource::Kmsg => (Kind::Kmsg, open_kmsg()?),
            LogSource::File(path) => open_file(path)?,
            LogSource::Journal => {
                let (journal, pipe) = Journal::start()?;
                (Kind::Journal(journal), pipe)
            }
        };
        let checked = clock::instant();
        let told = None;
        let log = Self {
            kind,
            checked,
            told,
        };
        Ok((log, descriptor))
    }

    /// What changed, if anything did.
    pub(super) fn step(&mut self) -> Option<Change> {
        if self.told.is_some() && clock::elapsed(self.checked) < CHECK_EVERY {
            return None;
        }
        self.checked = clock::instant();
        let (lost, restarts, descriptor) = match &mut self.kind {
            Kind::Kmsg => return None,
            Kind::File { path, identity } => {
                let (lost, file) = next_file(path, identity);
                (lost, 0, file)
            }
            Kind::Journal(journal) => {
                journal.keep();
                (journal.why.clone(), journal.restarts, None)
            }
        };
        let report = Report::LogSensor { lost, restarts };
        let is_new = descriptor.is_some() || self.told.as_ref() != Some(&report);
        self.told = Some(report.clone());
        is_new.then_some((report, descriptor))
    }

    /// The program that it runs.
    pub(super) fn process_id(&self) -> Option<u32> {
        match &self.kind {
            Kind::Journal(journal) => journal.child.as_ref().map(Child::id),
            _ => None,
        }
    }
}

/// What would keep a gate with this source from starting.
pub(crate) fn check(source: &LogSource) -> Result<(), ExitError> {
    match source {
        LogSource::Kmsg => open_kmsg().map(drop),
        LogSource::Journal => program().map(drop),
        LogSource::File(_) => Ok(()),
    }
}

fn open_kmsg() -> Result<OwnedFd, ExitError> {
    let opened = open_to_read(Path::new(KMSG)).and_then(|mut file| {
        file.seek(SeekFrom::End(0))?;
        Ok(file.into())
    });
    opened.map_err(|error| {
        let what = format!(
            "capture: opening {KMSG}: {error}; it needs CAP_SYSLOG, and the device: see kmsg in posternd.toml(5)"
        );
        ExitError::new(SYSTEM, what)
    })
}

fn open_file(path: &Path) -> Result<(Kind, OwnedFd), ExitError> {
    let doing = || format!("capture: opening {}", path.display());
    let (identity, file) = match regular(path) {
        Ok((file, metadata)) => {
            let mut file = file;
            file.seek(SeekFrom::End(0))
                .map_err(ExitError::system(doing()))?;
            (Some(identity_of(&metadata)), file)
        }
        Err(_) => {
            let nothing = open_to_read(Path::new(NOTHING));
            (None, nothing.map_err(ExitError::system(doing()))?)
        }
    };
    let path = path.to_owned();
    Ok((Kind::File { path, identity }, file.into()))
}

/// Why there is no file now, and the file that replaces the one that is read.
fn next_file(path: &Path, identity: &mut Option<(u64, u64)>) -> (Option<String>, Option<OwnedFd>) {
    let found = path.metadata().map(|metadata| identity_of(&metadata));
    if matches!((&found, &identity), (Ok(found), Some(known)) if found == known) {
        return (None, None);
    }
    match regular(path) {
        Ok((file, metadata)) => {
            info!("reading {} from its beginning", path.display());
            *identity = Some(identity_of(&metadata));
            (None, Some(file.into()))
        }
        Err(error) => (Some(error.to_string()), None),
    }
}

fn identity_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn regular(path: &Path) -> std::io::Result<(File, Metadata)> {
    let file = open_to_read(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(std::io::Error::other("it is not a regular file"))
    }
}

fn program() -> Result<PathBuf, ExitError> {
    find(JOURNALCTL).ok_or_else(|| {
        let what = "capture: the program journalctl was not found; use kmsg = true";
        ExitError::new(CONFIG, what)
    })
}

impl Journal {
    fn start() -> Result<(Self, OwnedFd), ExitError> {
        let program = program()?;
        let failed = || ExitError::system("capture: starting journalctl");
        let (reader, writer) = pipe().map_err(failed())?;
        rustix::io::ioctl_fionbio(&reader, true).map_err(|error| failed()(error.into()))?;
        let mut journal = Self {
            program,
            writer: writer.into(),
            child: None,
            started: clock::instant(),
            pause: PAUSE_MIN,
            restarts: 0,
            why: None,
        };
        journal.run().map_err(failed())?;
        Ok((journal, reader.into()))
    }

    fn run(&mut self) -> std::io::Result<()> {
        self.started = clock::instant();
        let output = self.writer.try_clone()?;
        let outputs = [output.into(), Stdio::inherit()];
        let child = process::start_program(&self.program, &ARGUMENTS, outputs)?;
        self.child = Some(child);
        Ok(())
    }

    /// Notices its end, and starts it again after a pause.
    fn keep(&mut self) {
        if let Some(child) = &mut self.child {
            let ended = match child.try_wait() {
                Ok(None) => {
                    let has_journal = JOURNALS.iter().any(|folder| Path::new(folder).is_dir());
                    let why = "there is no journal in /var/log/journal or /run/log/journal";
                    self.why = (!has_journal).then(|| why.to_owned());
                    return;
                }
                Ok(Some(status)) => format!("journalctl ended: {status}"),
                Err(error) => format!("journalctl: {error}"),
            };
            self.child = None;
            self.pause = if clock::elapsed(self.started) > RAN_WELL {
                PAUSE_MIN
            } else {
                self.pause.saturating_mul(2).min(PAUSE_MAX)
            };
            warn!(
                "no log lines, starting journalctl again in {}: {ended}",
                human(self.pause)
            );
            self.why = Some(ended);
            self.started = clock::instant();
            return;
        }
        if clock::elapsed(self.started) < self.pause {
            return;
        }
        self.restarts = self.restarts.saturating_add(1);
        self.why = self
            .run()
            .err()
            .map(|error| format!("starting journalctl: {error}"));
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = process::end(child, END_WITHIN);
        }
    }
}
