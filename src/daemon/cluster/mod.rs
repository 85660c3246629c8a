//! The cluster process: it alone talks to the coordinator, and holds the credentials for it.
//!
//! It has no rights but its connections. It can burn knocks and delay them, but it opens nothing: the engine asks only about knocks
//! that it has admitted, and the monitor checks each order.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tracing::{debug, info};
use zeroize::Zeroizing;

use crate::adapters::config::bundle::Bundle;
use crate::adapters::coordinator;
use crate::adapters::ipc::{Link, Received};
use crate::adapters::sandbox;
use crate::core::claims::ClusterStart;
use crate::core::order::{self, MESSAGE_MAX};
use crate::daemon::engine::privileges;
use crate::model::cluster::{Cluster, Credentials};
use crate::model::exit::{CONFIG, ExitError, IO, SYSTEM};

mod keeper;
mod publications;
mod serve;
mod tell;
mod watcher;

/// Serves one engine until it ends.
pub fn run() -> Result<(), ExitError> {
    let link = Link::from_stdin().map_err(ExitError::system("the link to the monitor"))?;
    let (start, [files, engine]) = receive(&link)?;
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
    let credentials = credentials(&start.cluster, files)?;
    let coordinator = coordinator::open(start.cluster, credentials, &start.gate);
    let coordinator =
        coordinator.map_err(|why| ExitError::new(CONFIG, format!("cluster: {why}")))?;
    serve::serve(Link::from_socket(engine), Arc::from(coordinator))
}

fn receive(link: &Link) -> Result<(ClusterStart, [OwnedFd; 2]), ExitError> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let waiting =
        "waiting for the monitor (the cluster process is started by `posternd run`, not by hand)";
    let received = link.receive_descriptors(&mut buffer);
    let (received, descriptors) = received.map_err(ExitError::system(waiting))?;
    let Received::Message(len) = received else {
        let what = "the monitor was gone before the cluster process had started";
        return Err(ExitError::new(SYSTEM, what));
    };
    let start = order::decode(buffer.get(..len).unwrap_or_default())
        .map_err(|error| ExitError::new(SYSTEM, error))?;
    let descriptors = <[OwnedFd; 2]>::try_from(descriptors);
    let what = "the monitor did not hand over two descriptors";
    Ok((
        start,
        descriptors.map_err(|_| ExitError::new(SYSTEM, what))?,
    ))
}

/// What the files of the section contain. The hand-over is wiped.
fn credentials(cluster: &Cluster, descriptor: OwnedFd) -> Result<Credentials, ExitError> {
    let failed = |error: std::io::Error| {
        let what = format!("reading the files that the monitor handed over: {error}");
        ExitError::new(IO, what)
    };
    let bundle = Bundle::take(std::fs::File::from(descriptor)).map_err(failed)?;
    let text = |path: &Option<std::path::PathBuf>| {
        let text = bundle.key_file(path.as_deref()?)?;
        Some(Zeroizing::new(text.to_owned()))
    };
    let password = text(&cluster.password_file);
    Ok(Credentials {
        ca: text(&cluster.ca_file),
        cert: text(&cluster.cert_file),
        cert_key: text(&cluster.cert_key_file),
        password: password
            .map(|text| Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())),
    })
}
