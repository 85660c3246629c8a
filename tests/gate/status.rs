//! `posternd status` of a gate at work: what the kernel dropped, which interface is lost, quotas and grants that count down.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use postern_harness::{Family, GateConfig, SERVICE, World, text, wait_for};

fn status(world: &World) -> Value {
    serde_json::from_slice(&world.daemon.asked(&["status", "--json"]).stdout).unwrap()
}

/// An engine that is stopped reads nothing: what finds no room in its socket is lost, and afterwards it says how much that was.
pub(crate) fn kernel_drops_are_told(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    assert_eq!(status(&world)["captures"][0]["dropped"], 0);
    let engine = Pid::from_raw(i32::try_from(world.daemon.engine()).unwrap()).unwrap();
    kill_process(engine, Signal::STOP).unwrap();
    let sent = 60_000_u64;
    let to = std::net::SocketAddr::new(Family::V4.address(1), postern_harness::KNOCK);
    world.first.space.run(move || {
        let socket = postern_harness::socket_for(to);
        for _ in 0..sent {
            socket.send_to(&[7; 300], to).unwrap();
        }
    });
    kill_process(engine, Signal::CONT).unwrap();
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

pub(crate) fn lost_interface_is_told(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend).gate("interfaces = [\"gate2\"]"));
    let hears = |listening: bool| {
        wait_for(&format!("gate2 to be heard: {listening}"), || {
            let told = status(&world)["captures"][0].clone();
            (told["listening"] == listening).then_some(told)
        })
    };
    let told = hears(true);
    assert_eq!(
        (&told["name"], &told["why"]),
        (&"gate2".into(), &Value::Null)
    );
    world.gate.ip("link set gate2 down");
    let told = hears(false);
    assert!(told["why"].as_str().unwrap().contains("down"), "{told}");
    assert!(text(&world.daemon.asked(&["status"])).contains("NOT listening on gate2: "));
    world.first.configure_cable(&world.gate);
    hears(true);
    world.first.knock("alice", Family::V4, &[]);
    world.daemon.wait_for_admitted(1);
}

pub(crate) fn quotas_and_grants_count_down(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend).user(
        "bob",
        &format!("services = [\"tcp/{SERVICE}\"]\nquota = \"5/h\""),
    ));
    world.first.knock("alice", Family::V4, &["--for", "10m"]);
    world.first.knock("bob", Family::V4, &["--for", "5m"]);
    world.first.knock("bob", Family::V6, &["--for", "5m"]);
    world.wait_for_grants(3);
    let told = status(&world);
    let quota = |told: &Value, user: &str| {
        let quotas = told["quotas"].as_array().unwrap();
        quotas
            .iter()
            .find(|quota| quota["user"] == user)
            .cloned()
            .unwrap_or_else(|| panic!("{told}"))
    };
    assert_eq!(
        (&quota(&told, "bob")["left"], &quota(&told, "bob")["quota"]),
        (&3.into(), &"5/h".into()),
        "{told}"
    );
    assert_eq!(
        told["quotas"][0]["user"], "bob",
        "the least left comes first"
    );
    assert_eq!(
        (&told["backend"], &told["admitted"]),
        (&backend.into(), &3.into())
    );
    assert_eq!(
        (&told["store"]["marks"], told["store"]["last"].is_u64()),
        (&3.into(), true),
        "{told}"
    );

    let left = |told: &Value| {
        told["grants"]
            .as_array()
            .unwrap()
            .iter()
            .map(|grant| grant["left_ms"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let first = left(&told);
    assert!(first.is_sorted() && first.len() == 3, "{told}");
    wait_for("less time left", || {
        (left(&status(&world))
            .iter()
            .zip(&first)
            .all(|(now, then)| now < then))
        .then_some(())
    });
    let table = text(&world.daemon.asked(&["grants"]));
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["ID", "USER", "ADDRESS", "SERVICES", "TARGET", "LEFT"],
        "{table}"
    );
    assert_eq!(
        rows[1..].iter().map(|row| row[1]).collect::<Vec<_>>(),
        ["bob", "bob", "alice"],
        "{table}"
    );
    assert_eq!(rows[3][2..5], ["10.77.0.2/32", "tcp/2222", "-"], "{table}");
}
