//! `posternd status` of a running gate: datagrams that the kernel dropped, lost interfaces, quotas and grants.

use rustix::process::Signal;
use serde_json::Value;

use postern_harness::process::signal;
use postern_harness::{Family, GateConfig, World, text, wait_for};

fn status(world: &World) -> Value {
    serde_json::from_slice(&world.daemon.asked(&["status", "--json"]).stdout).unwrap()
}

/// A stopped engine reads nothing. Datagrams that do not fit into its socket are lost and counted.
pub(crate) fn status_counts_kernel_drops(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    assert_eq!(status(&world)["captures"][0]["dropped"], 0);
    let engine = world.daemon.engine();
    signal(engine, Signal::STOP);
    let sent = 60_000_u64;
    let to = std::net::SocketAddr::new(Family::V4.address(1), postern_harness::KNOCK);
    world.first.space.run(move || {
        let socket = postern_harness::socket_for(to);
        for _ in 0..sent {
            socket.send_to(&[7; 300], to).unwrap();
        }
    });
    signal(engine, Signal::CONT);
    let told = wait_for("every datagram to be received or dropped", || {
        let told = status(&world)["captures"][0].clone();
        let [received, dropped] =
            ["received", "dropped"].map(|field| told[field].as_u64().unwrap());
        (received + dropped == sent).then_some((received, dropped))
    });
    assert!(told.0 > 0 && told.1 > 0, "{told:?}");
    let said = text(&world.daemon.asked(&["status"]));
    assert!(
        said.contains(&format!(
            "listening on every interface: {} datagrams received, {} dropped by the kernel",
            told.0, told.1
        )),
        "{said}"
    );
    assert_eq!(world.daemon.status().count("drop unknown-hint"), told.0);
    world.first.knock("alice", Family::V4, &[]);
    world.daemon.wait_for_admitted(1);
}
