//! The cluster process as the monitor sees it: a child that serves one engine, started again after it ended.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{error, warn};

use super::engine_process::in_memory;
use crate::adapters::clock;
use crate::adapters::config::bundle::{Bundle, BundleFile};
use crate::adapters::config::disk;
use crate::adapters::files;
use crate::adapters::ipc::{self, Link, Received};
use crate::adapters::log;
use crate::adapters::process::{self, StartOptions};
use crate::core::claims::{Ask, ClusterStart, GateFacts, Opened, Told, one_line};
use crate::core::order::{self, Report};
use crate::daemon::monitor::rights::{self, RunAs};
use crate::model::cluster::Cluster;
use crate::model::exit::{ExitError, FAILED};

const CLUSTER_ARGUMENTS: [&str; 1] = ["cluster"];

/// Its own user, if there is one. Otherwise it has the engine's, which may not trace it.
const USER: &str = "postern-cluster";

const END_WITHIN: Duration = Duration::from_millis(300);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// After a process that ran this long the next one starts without a longer pause.
const RAN_WELL: Duration = Duration::from_secs(3);

const ENDED: &str = "the cluster process ended (its own log line is above)";

pub(super) const NO_PROCESS: &str = "no cluster process, knocks are refused";

pub(super) struct ClusterProcess {
    start: ClusterStart,
    /// `None`: none could be started yet.
    child: Option<Child>,
    /// The engine's end of the link, until the engine gets it.
    engine_end: Option<OwnedFd>,
    /// It says here that it has opened its settings.
    opening: Option<Link>,
    /// Rosters come from it.
    rosters: Option<Link>,
    started: Instant,
    has_ended: bool,
    pause: Duration,
}

impl ClusterProcess {
    /// [`Self::start`] starts it.
    pub(super) fn new(mut cluster: Cluster, gate: GateFacts, run_as: &RunAs) -> Self {
        if cluster.member.is_empty() {
            let name = files::read_system(Path::new("/proc/sys/kernel/hostname"));
            let name = name.unwrap_or_default();
            cluster.member = name.trim().to_owned();
        }
        let own = rights::run_as(USER).ok().and_then(|own| own.ids);
        Self {
            start: ClusterStart {
                run_as: own.or(run_as.ids),
                cluster,
                gate,
            },
            child: None,
            engine_end: None,
            opening: None,
            rosters: None,
            started: clock::instant(),
            has_ended: true,
            pause: PAUSE_MIN,
        }
    }

    /// If it fails, [`Self::step`] tries again.
    pub(super) fn start(&mut self) -> Result<(), ExitError> {
        self.started = clock::instant();
        let (child, engine_end, opening, rosters) = spawn(&self.start)?;
        (self.child, self.engine_end) = (Some(child), Some(engine_end));
        (self.opening, self.rosters) = (Some(opening), rosters);
        self.has_ended = false;
        Ok(())
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What to poll until it has opened its settings.
    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        let opening = self.opening.as_ref()?;
        Some(PollFd::new(opening, PollFlags::IN))
    }

    /// Whether it has opened its settings. Says once why it cannot.
    pub(super) fn has_opened(&mut self, buffer: &mut [u8]) -> Result<bool, String> {
        let Some(opening) = &self.opening else {
            return Ok(true);
        };
        let received = opening.try_receive(buffer);
        if matches!(received, Ok(Received::Nothing)) {
            return Ok(false);
        }
        self.opening = None;
        let Ok(Received::Message(len)) = received else {
            return Err(ENDED.to_owned());
        };
        match order::decode_first(buffer, len) {
            Ok(Opened::Yes) => Ok(true),
            Ok(Opened::No { why }) => Err(one_line(&why)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What the engine hears of it.
    pub(super) fn report(&self) -> Report {
        Report::Cluster {
            member: self.start.cluster.member.clone(),
            roster: self.start.gate.roster.map(|sought| sought.version),
        }
    }

    /// The engine's end of the link to a process that has just started.
    pub(super) fn take_engine_end(&mut self) -> Option<OwnedFd> {
        self.engine_end.take()
    }

    /// Rosters that it found at the coordinator come from here.
    pub(super) fn rosters(&self) -> Option<&Link> {
        self.rosters.as_ref()
    }

    /// The version of the roster that the gate has loaded, 0 for none.
    pub(super) fn loaded(&self) -> u64 {
        self.start.gate.roster.map_or(0, |sought| sought.version)
    }

    /// Starts it again if it ended, after a pause.
    pub(super) fn step(&mut self) {
        if let Some(child) = self.child.as_mut().filter(|_| !self.has_ended) {
            match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => warn!("the cluster process ended: {status}"),
                Err(error) => warn!("the cluster process can't be watched: {error}"),
            }
            self.has_ended = true;
            self.rosters = None;
            let has_run_well = clock::elapsed(self.started) > RAN_WELL;
            let longer = self.pause.saturating_mul(2).min(PAUSE_MAX);
            self.pause = if has_run_well { PAUSE_MIN } else { longer };
        }
        if clock::elapsed(self.started) < self.pause {
            return;
        }
        if let Err(stop) = self.start() {
            error!("{NO_PROCESS}: {}", stop.message);
            self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }
}

impl Drop for ClusterProcess {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            let _ = process::end(child, END_WITHIN);
        }
    }
}

/// Starts a cluster process, for `posternd check`, and asks it whether the coordinator can be used. Returns why it cannot. Fails if
/// the process cannot be started.
pub(crate) fn probe_cluster(
    cluster: &Cluster,
    gate: GateFacts,
    run_as: &RunAs,
    within: Duration,
) -> Result<Option<String>, ExitError> {
    let mut process = ClusterProcess::new(cluster.clone(), gate, run_as);
    process.start()?;
    let Some(socket) = process.take_engine_end() else {
        return Ok(None);
    };
    let (link, started) = (Link::from_socket(socket), clock::instant());
    let probe = order::encode(&Ask::Probe { number: 1 });
    let probe = probe.map_err(|error| ExitError::new(FAILED, error))?;
    link.send(&probe)
        .map_err(ExitError::system("asking the cluster process"))?;
    let mut buffer = vec![0; order::MESSAGE_MAX];
    let mut last = "the cluster process does not answer".to_owned();
    while let Some(left) = within.checked_sub(clock::elapsed(started)) {
        let left = Timespec::try_from(left).unwrap_or_default();
        let _ = poll(&mut [PollFd::new(&link, PollFlags::IN)], Some(&left));
        match link.try_receive(&mut buffer) {
            Ok(Received::Message(len)) => match order::decode_first(&buffer, len) {
                Ok(Told::Back { .. }) => return Ok(None),
                Ok(Told::Away { why, .. }) => last = one_line(&why),
                Ok(_) | Err(_) => {}
            },
            Ok(Received::Nothing) => {}
            Ok(Received::Gone) | Err(_) => {
                last = ENDED.to_owned();
                break;
            }
        }
    }
    Ok(Some(last))
}

/// The files that the section names, as they are now.
pub(crate) fn files_of(cluster: &Cluster) -> Result<Bundle, ExitError> {
    let read = cluster.files().map(|(path, is_secret)| {
        let read = if is_secret {
            files::read_private(path)
        } else {
            files::read_open(path).map(|(text, _)| text)
        };
        let text = read.map_err(disk::unreadable)?;
        Ok(BundleFile {
            path: path.clone(),
            text,
        })
    });
    Ok(Bundle {
        keys: read.collect::<Result<_, ExitError>>()?,
        ..Bundle::default()
    })
}

fn spawn(start: &ClusterStart) -> Result<(Child, OwnedFd, Link, Option<Link>), ExitError> {
    let files = files_of(&start.cluster)?;
    let pair = || ipc::pair().map_err(ExitError::system("making a link to the cluster process"));
    let ((ours, theirs), (engine_end, cluster_end)) = (pair()?, pair()?);
    let env = log::inherited();
    let options = StartOptions {
        stdin: theirs.into_socket().into(),
        stdout: Stdio::inherit(),
        stderr: Stdio::inherit(),
        env: &env,
    };
    let mut child = process::start_self(&CLUSTER_ARGUMENTS.map(OsStr::new), options)
        .map_err(ExitError::system("starting the cluster process"))?;
    let (rosters, takers) = start.gate.roster.map(|_| pair()).transpose()?.unzip();
    let handed = hand_over(&ours, start, &files, &cluster_end, takers.as_ref());
    if let Err(stop) = handed {
        let _ = process::end(&mut child, END_WITHIN);
        return Err(stop);
    }
    Ok((child, engine_end.into_socket(), ours, rosters))
}

fn hand_over(
    link: &Link,
    start: &ClusterStart,
    files: &Bundle,
    cluster_end: &Link,
    takers: Option<&Link>,
) -> Result<(), ExitError> {
    let failed = ExitError::system("handing over to the cluster process");
    let files = match in_memory(files) {
        Ok(files) => files,
        Err(error) => return Err(failed(error)),
    };
    let message = order::encode(start).map_err(|error| ExitError::new(FAILED, error))?;
    let mut descriptors = vec![files.as_fd(), cluster_end.as_fd()];
    descriptors.extend(takers.map(AsFd::as_fd));
    link.send_descriptors(&message, &descriptors)
        .map_err(ExitError::system("handing over to the cluster process"))
}
