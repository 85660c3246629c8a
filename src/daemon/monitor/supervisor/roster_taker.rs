//! Starts the process that verifies a roster of the coordinator, when the cluster process hands one on. Reads nothing of it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tracing::warn;

use super::cluster_process::ClusterProcess;
use super::reload_requests::ReloadRequests;
use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::adapters::log;
use crate::adapters::process::{self, StartOptions};

/// A cluster process can have no more of them started.
const PAUSE: Duration = Duration::from_secs(1);

/// One that takes longer is ended. Ten thousand users take less than a second.
const TAKE_WITHIN: Duration = Duration::from_secs(120);
const END_WITHIN: Duration = Duration::from_millis(300);

#[derive(Default)]
pub(super) struct RosterTaker {
    child: Option<(Child, Option<OwnedFd>)>,
    started: Option<Instant>,
}

impl RosterTaker {
    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(|(child, _)| child.id())
    }

    /// What to poll: a roster that waits, or the end of the process that takes one.
    pub(super) fn poll_fd<'f>(&'f self, cluster: Option<&'f ClusterProcess>) -> Option<PollFd<'f>> {
        match &self.child {
            Some((_, end)) => Some(PollFd::new(end.as_ref()?, PollFlags::IN)),
            None if self.is_paused() => None,
            None => Some(PollFd::new(cluster?.rosters()?, PollFlags::IN)),
        }
    }

    /// After a process that took one, the config is loaded again.
    pub(super) fn step(
        &mut self,
        cluster: Option<&ClusterProcess>,
        config: &Path,
        reloads: &mut ReloadRequests,
    ) {
        if let Some((child, _)) = &mut self.child {
            let is_late = self
                .started
                .is_some_and(|at| clock::elapsed(at) > TAKE_WITHIN);
            let ended = if is_late {
                process::end(child, END_WITHIN)
            } else {
                child.try_wait().ok().flatten()
            };
            let Some(status) = ended else {
                return;
            };
            self.child = None;
            if status.success() {
                reloads.signal();
            }
            return;
        }
        let link = cluster.and_then(ClusterProcess::rosters);
        let Some(link) = link.filter(|_| !self.is_paused()) else {
            return;
        };
        let events = events(link);
        if events.is_empty() {
            return;
        }
        // Also if the other end is closed: that would wake the monitor without a pause.
        self.started = Some(clock::instant());
        // It is no roster.
        if events.contains(PollFlags::HUP) {
            return;
        }
        let loaded = cluster.map_or(0, ClusterProcess::loaded);
        match start(link, config, loaded) {
            Ok(child) => {
                let end = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
                self.child = Some((child, end.ok()));
            }
            Err(error) => warn!("the coordinator's roster can't be taken: {error}"),
        }
    }

    fn is_paused(&self) -> bool {
        self.started.is_some_and(|at| clock::elapsed(at) < PAUSE)
    }
}

fn events(link: &Link) -> PollFlags {
    let now = Timespec::default();
    let mut polled = [PollFd::new(link, PollFlags::IN)];
    let _ = poll(&mut polled, Some(&now));
    let [polled] = &polled;
    polled.revents()
}

fn start(link: &Link, config: &Path, loaded: u64) -> std::io::Result<Child> {
    let env = log::inherited();
    let options = StartOptions {
        stdin: link.try_clone()?.into_socket().into(),
        stdout: Stdio::inherit(),
        stderr: Stdio::inherit(),
        env: &env,
    };
    let loaded = format!("--loaded={loaded}");
    let arguments = ["take-roster", &loaded, "--config"].map(OsStr::new);
    process::start_self(&[&arguments[..], &[config.as_os_str()]].concat(), options)
}
