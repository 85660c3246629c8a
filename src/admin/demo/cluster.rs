//! `posternd demo --cluster`: three gates of one name and their etcd. A knock opens once, whichever gate it comes to.
//!
//! ```text
//!   client and etcd (the process's own namespace)      a gate (a thread's own namespace)
//!   10.77.0.2  client1 ═══════════════════════════════ gate0  10.77.0.11   posternd, and a service on tcp/2222
//!   10.77.0.2  client2, client3 ══════════════════════ two more, 10.77.0.12 and 10.77.0.13
//! ```

use std::ops::Range;
use std::thread;
use std::time::Duration;

use super::cluster_world::Cluster;
use super::interrupt::Interrupt;
use super::progress::Progress;
use crate::model::exit::ExitError;

pub(super) fn all_steps(
    progress: &mut Progress,
    interrupt: &Interrupt,
    backend: &str,
) -> Result<(), ExitError> {
    let mut cluster = Cluster::start(interrupt, backend)?;
    let gates = cluster.addresses().join(", ");
    progress.say(&format!(
        "Three gates named demo run posternd: {gates}. They share an etcd."
    ))?;
    open(progress, &cluster, "The port is hidden at each gate", 0)?;

    let knock = cluster.knock()?;
    cluster.send(&knock, 0..2)?;
    let title = "One knock comes to two gates at once, and opens one";
    open(progress, &cluster, title, 1)?;
    let title = "The other gate says that it was not the first";
    counted(progress, &cluster, title, 0..2, "drop duplicate")?;
    // Within a second it is a copy of one knock, later a replay.
    thread::sleep(Duration::from_millis(1100));
    cluster.send(&knock, 2..3)?;
    let title = "A copy to the third gate is refused, with the reason";
    counted(progress, &cluster, title, 2..3, "drop replay")?;
    ended(progress, &cluster)?;

    cluster.etcd.stop();
    cluster.send(&cluster.knock()?, 0..1)?;
    let title = "etcd stops: a knock is refused, with the reason";
    counted(progress, &cluster, title, 0..1, "refuse coordinator")?;
    open(progress, &cluster, "The port stays hidden", 0)?;

    cluster.etcd.start()?;
    cluster.wait_for_etcd()?;
    cluster.send(&cluster.knock()?, 0..1)?;
    open(progress, &cluster, "etcd is back: a knock opens", 1)?;
    ended(progress, &cluster)
}

/// So many gates have the port open, and the others do not answer.
fn open(
    progress: &mut Progress,
    cluster: &Cluster,
    title: &str,
    expected: usize,
) -> Result<(), ExitError> {
    cluster.wait_for(|| (cluster.grants() >= expected).then_some(()));
    let attempts = cluster.connect();
    let is_open = |line: &&String| line.contains(": open after ");
    let open = attempts.iter().filter(is_open).count();
    progress.step(title, open == expected, &attempts.join("\n"))
}

/// One of these gates counts a knock under this reason, and logs it.
fn counted(
    progress: &mut Progress,
    cluster: &Cluster,
    title: &str,
    gates: Range<usize>,
    reason: &str,
) -> Result<(), ExitError> {
    let line = cluster.wait_for(|| cluster.logged(gates.clone(), reason));
    progress.step(title, line.is_some(), &line.unwrap_or_default())
}

fn ended(progress: &mut Progress, cluster: &Cluster) -> Result<(), ExitError> {
    let is_over = cluster.wait_for(|| (cluster.grants() == 0).then_some(()));
    progress.step("The grant ends by itself", is_over.is_some(), "")
}
