//! The cluster process: it alone talks to the coordinator, and holds the credentials for it.
//!
//! It has no rights but its connections. It can burn knocks and delay them, but it opens nothing: the engine asks only about knocks
//! that it has admitted, and the monitor checks each order.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use tracing::{debug, info};
use zeroize::Zeroizing;

use crate::adapters::config::bundle::Bundle;
use crate::adapters::coordinator;
use crate::adapters::ipc::{Link, Received};
use crate::adapters::sandbox;
use crate::core::claims::{ClusterStart, Coordinator, GateFacts, Opened};
use crate::core::order::{self, MESSAGE_MAX};
use crate::daemon::engine::privileges;
use crate::daemon::monitor::cluster_files;
use crate::model::cluster::{Cluster, Credentials};
use crate::model::exit::{CONFIG, ExitError, IO, SYSTEM};
use crate::model::settings::Settings;

mod complaint;
mod keeper;
mod publications;
mod roster;
mod serve;
mod tell;
mod watcher;

pub(crate) use roster::fetch as fetch_roster;

use roster::Pauses;

/// Serves one engine until it ends.
pub fn run() -> Result<(), ExitError> {
    let link = Link::from_stdin().map_err(ExitError::system("the link to the monitor"))?;
    let (start, files, engine, takers) = receive(&link)?;
    let _ = rustix::thread::set_name(c"posternd");
    let locked = privileges::lock_memory().is_none();
    privileges::give_up(start.run_as)?;
    let ports: Vec<u16> = start.cluster.endpoints.iter().map(|one| one.port).collect();
    for gap in sandbox::cluster(&ports).map_err(|error| ExitError::new(SYSTEM, error))? {
        info!(
            "{}",
            sandbox::gap_line(&format!("the cluster process: {gap}"))
        );
    }
    debug!(locked, "the cluster process has given up all rights");
    let failed = |error: std::io::Error| {
        let what = format!("reading the files that the monitor handed over: {error}");
        ExitError::new(IO, what)
    };
    let files = Bundle::take(std::fs::File::from(files)).map_err(failed)?;
    let credentials = credentials(&start.cluster, &files);
    let sought = start.gate.roster;
    let coordinator = coordinator::open(start.cluster, credentials, &start.gate);
    let opened = match &coordinator {
        Ok(_) => Opened::Yes,
        Err(why) => Opened::No { why: why.clone() },
    };
    // The monitor waits for it at a reload.
    if let Ok(opened) = order::encode(&opened) {
        let _ = link.try_send(&opened);
    }
    let coordinator =
        coordinator.map_err(|why| ExitError::new(CONFIG, format!("cluster: {why}")))?;
    let coordinator: Arc<dyn Coordinator> = Arc::from(coordinator);
    let mut rosters = None;
    if let Some((sought, takers)) = sought.zip(takers) {
        let (asks, asked) = sync_channel(1);
        let (by, link) = (Arc::clone(&coordinator), Link::from_socket(takers));
        serve::start(move || {
            roster::follow(by.as_ref(), sought, Pauses::DEFAULT, &link, &asked);
        })?;
        let (by, asks_of_watch) = (Arc::clone(&coordinator), asks.clone());
        serve::start(move || roster::watch(by.as_ref(), Pauses::DEFAULT, &asks_of_watch))?;
        rosters = Some(asks);
    }
    serve::serve(Link::from_socket(engine), coordinator, rosters.as_ref())
}

fn receive(link: &Link) -> Result<(ClusterStart, OwnedFd, OwnedFd, Option<OwnedFd>), ExitError> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let waiting =
        "waiting for the monitor (the cluster process is started by `posternd run`, not by hand)";
    let received = link.receive_descriptors(&mut buffer);
    let (received, descriptors) = received.map_err(ExitError::system(waiting))?;
    let Received::Message(len) = received else {
        let what = "the monitor was gone before the cluster process had started";
        return Err(ExitError::new(SYSTEM, what));
    };
    let start = order::decode_first(&buffer, len).map_err(|error| ExitError::new(SYSTEM, error))?;
    let mut descriptors = descriptors.into_iter();
    let (Some(files), Some(engine)) = (descriptors.next(), descriptors.next()) else {
        let what = "the monitor did not hand over two descriptors";
        return Err(ExitError::new(SYSTEM, what));
    };
    Ok((start, files, engine, descriptors.next()))
}

/// The coordinator of these settings, for a command.
pub(crate) fn open_here(
    cluster: &Cluster,
    settings: &Settings,
) -> Result<Box<dyn Coordinator>, ExitError> {
    let files = cluster_files(cluster)?;
    let credentials = credentials(cluster, &files);
    let opened = coordinator::open(cluster.clone(), credentials, &GateFacts::of(settings));
    opened.map_err(|why| ExitError::new(CONFIG, format!("cluster: {why}")))
}

/// What the files of the section contain.
fn credentials(cluster: &Cluster, files: &Bundle) -> Credentials {
    let text = |path: &Option<std::path::PathBuf>| {
        let text = files.key_file(path.as_deref()?)?;
        Some(Zeroizing::new(text.to_owned()))
    };
    let password = text(&cluster.password_file);
    Credentials {
        ca: text(&cluster.ca_file),
        cert: text(&cluster.cert_file),
        cert_key: text(&cluster.cert_key_file),
        password: password
            .map(|text| Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())),
    }
}
