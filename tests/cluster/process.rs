//! A cluster process by itself: the test is its engine and its monitor.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use postern::adapters::config::bundle::Bundle;
use postern::core::claims::{
    Answer, Ask, Claim, ClusterStart, GateFacts, Publish, PublishKind, Told, gate_hash,
};
use postern::core::order;
use postern::model::cluster::{Cluster, CoordinatorEndpoint, CoordinatorKind};
use postern_harness::cluster::cluster;
use postern_harness::{Namespace, posternd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, send, sendmsg, socketpair,
};

const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

pub(crate) struct Process {
    pub(crate) child: Child,
    engine: OwnedFd,
    _monitor: OwnedFd,
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

impl Process {
    /// Of the gate with this name among those of one name, with the coordinator at this address of the namespace.
    pub(crate) fn start(space: &Namespace, kind: &str, member: &str) -> Self {
        let port = if kind == "etcd" { 2379 } else { 6379 };
        Self::start_at(space, kind, member, &[("127.0.0.2", port)])
    }

    pub(crate) fn start_at(
        space: &Namespace,
        kind: &str,
        member: &str,
        endpoints: &[(&str, u16)],
    ) -> Self {
        let endpoints = endpoints.iter().map(|(host, port)| CoordinatorEndpoint {
            secure: false,
            host: (*host).to_owned(),
            port: *port,
        });
        let start = ClusterStart {
            run_as: None,
            cluster: Cluster {
                coordinator: if kind == "etcd" {
                    CoordinatorKind::Etcd
                } else {
                    CoordinatorKind::Redis
                },
                endpoints: endpoints.collect(),
                fleet_key_file: Some("fleet.key".into()),
                deadline: Duration::from_secs(1),
                member: member.to_owned(),
                ..cluster()
            },
            gate: GateFacts {
                name_hash: gate_hash("gate"),
                window_ms: 30_000,
                longest_grant_ms: 3_600_000,
                roster: None,
            },
        };
        let ((monitor, stdin), (engine, theirs)) = (pair(), pair());
        let mut files = tempfile::tempfile().unwrap();
        Bundle::default().write_to(&mut files).unwrap();
        let child = space.run(move || {
            let mut command = Command::new(posternd());
            command.arg("cluster").stdin(File::from(stdin));
            command.spawn().unwrap()
        });
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let both = [files.as_fd(), theirs.as_fd()];
        assert!(rights.push(SendAncillaryMessage::ScmRights(&both)));
        let message = order::encode(&start).unwrap();
        let parts = [IoSlice::new(&message)];
        sendmsg(&monitor, &parts, &mut rights, SendFlags::empty()).unwrap();
        Self {
            child,
            engine,
            _monitor: monitor,
        }
    }

    pub(crate) fn ask(&self, ask: &Ask) {
        let message = order::encode(ask).unwrap();
        send(&self.engine, &message, SendFlags::empty()).unwrap();
    }

    pub(crate) fn told(&self, within: Duration) -> Option<Told> {
        let within = Timespec::try_from(within).unwrap();
        poll(
            &mut [PollFd::new(&self.engine, PollFlags::IN)],
            Some(&within),
        )
        .unwrap();
        let mut buffer = vec![0; order::MESSAGE_MAX];
        let (_, length) = recv(&self.engine, &mut buffer[..], RecvFlags::DONTWAIT).ok()?;
        assert!(length > 0, "the cluster process has ended");
        Some(order::decode(&buffer[..length]).unwrap())
    }

    /// What it tells until something fits, which is the last.
    pub(crate) fn told_until(&self, what: &str, fits: impl Fn(&Told) -> bool) -> Vec<Told> {
        let (start, mut all) = (Instant::now(), Vec::new());
        while start.elapsed() < ANSWERS_WITHIN {
            if let Some(told) = self.told(Duration::from_millis(100)) {
                let is_last = fits(&told);
                all.push(told);
                if is_last {
                    return all;
                }
            }
        }
        panic!("{what} did not come; told {all:?}");
    }

    /// Waits until it asks claims.
    pub(crate) fn wait_until_back(&self) {
        self.ask(&Ask::Probe { number: 1 });
        self.told_until("the coordinator", |told| *told == Told::Back { number: 1 });
    }

    pub(crate) fn claim(&self, mark: u64, publish: Option<Publish>) -> Answer {
        self.claim_within(mark, publish, Duration::from_secs(5))
    }

    pub(crate) fn claim_within(
        &self,
        mark: u64,
        publish: Option<Publish>,
        within: Duration,
    ) -> Answer {
        self.ask(&Ask::Claim {
            ticket: mark,
            claim: claim(mark),
            within_ms: u64::try_from(within.as_millis()).unwrap(),
            publish,
        });
        let told = self.told_until(
            "an answer",
            |told| matches!(told, Told::Claimed { ticket, .. } if *ticket == mark),
        );
        match told.into_iter().last() {
            Some(Told::Claimed { answer, .. }) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Watches, and returns all that is live.
    pub(crate) fn live(&self) -> Vec<String> {
        self.ask(&Ask::Watch);
        self.until_current()
    }

    /// What is told until all that is live is known.
    pub(crate) fn until_current(&self) -> Vec<String> {
        published(self.told_until("all that is live", |told| *told == Told::Current))
    }

    pub(crate) fn wait_for(&self, sealed: &str) {
        let fits =
            |told: &Told| matches!(told, Told::Published { sealed: found } if found == sealed);
        self.told_until(sealed, fits);
    }

    pub(crate) fn wait_until_behind(&self) -> String {
        let told = self.told_until("a gap", |told| matches!(told, Told::Behind { .. }));
        match told.into_iter().last() {
            Some(Told::Behind { why }) => why,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn published(told: Vec<Told>) -> Vec<String> {
    let sealed = told.into_iter().filter_map(|told| match told {
        Told::Published { sealed } => Some(sealed),
        _ => None,
    });
    let mut sealed: Vec<String> = sealed.collect();
    sealed.sort();
    sealed.dedup();
    sealed
}

fn claim(mark: u64) -> Claim {
    let hash = gate_hash("gate");
    let text = format!(
        r#"{{"mark":"{hash}{mark:032x}","code":null,"made":{},"lasts_ms":60000}}"#,
        postern_harness::now().as_millis()
    );
    serde_json::from_str(&text).unwrap()
}

/// A grant of ten minutes.
pub(crate) fn grant(name: u64, sealed: &str) -> Publish {
    Publish {
        kind: PublishKind::Grant,
        name: format!("{name:x}"),
        sealed: sealed.to_owned(),
        lasts_ms: 600_000,
    }
}

pub(crate) fn memory_kb(process: &Process) -> u64 {
    postern_harness::process::memory(process.child.id())
}
