//! Connections that are older than connection tracking outlive the first installation, and no listener answers a stranger for it.

use std::net::{TcpListener, TcpStream};

use postern::adapters::conntrack::Conntrack;
use postern::adapters::conntrack::kernel::KernelConntrack;
use postern::model::settings::DriverKind;

use crate::space::echoes;
use crate::{DRIVERS, V4, V6, World, settings};

/// A gate where nothing tracks connections yet, with one of each family to a socket of that family, and one of IPv4 to one of IPv6.
fn old_connections(world: &World) -> Vec<TcpStream> {
    world.gate.serve(22);
    let listeners = world.gate.run(|| {
        ["192.0.2.1:80", "[2001:db8::1]:80"].map(|address| TcpListener::bind(address).unwrap())
    });
    for listener in listeners {
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
    }
    let places = [(V4, 22), (V6, 22), (V4, 80), (V6, 80)];
    let mut all: Vec<TcpStream> = places
        .iter()
        .map(|([gate, client], port)| world.connect(client, gate, *port))
        .collect();
    assert!(all.iter_mut().all(echoes));
    assert!(
        world.entries("").is_empty(),
        "nothing tracks connections yet"
    );
    all
}

pub fn connections_older_than_connection_tracking_outlive_the_first_installation() {
    for driver in DRIVERS {
        let world = World::with_a_client();
        let mut old = old_connections(&world);
        world.start(driver, settings("", ""));
        assert_eq!(world.entries("ESTABLISHED").len(), 4, "{driver:?}");
        for connection in &mut old {
            assert!(
                echoes(connection),
                "{driver:?}: {:?} was cut",
                connection.peer_addr()
            );
        }
        for [gate, client] in [V4, V6] {
            assert!(
                !world.client.reaches(client, gate, 22) && !world.client.reaches(client, gate, 80),
                "{driver:?}: closed for new ones"
            );
        }
    }
}

pub fn without_adoption_an_old_connection_is_cut() {
    for driver in DRIVERS {
        let world = World::with_a_client();
        let mut old = old_connections(&world);
        world.start_with(driver, settings("", ""), false);
        assert!(
            !old.iter_mut().any(echoes),
            "{driver:?}: then the tests beside this one prove nothing"
        );
    }
}

pub fn an_adopted_connection_ends_with_a_grant_as_any_other() {
    for driver in DRIVERS {
        let world = World::with_a_client();
        let mut old = old_connections(&world);
        world.start(driver, settings("", "end_connections = true"));
        world.open(crate::request("alice", "192.0.2.7/32", &["tcp/22"]));
        world.executor(|executor| executor.serve(crate::now().plus(crate::HOUR), Vec::new()));
        let live: Vec<bool> = old.iter_mut().map(echoes).collect();
        assert_eq!(live, [false, true, true, true], "{driver:?}");
    }
}

pub fn adoption_takes_each_connection_of_a_protected_port_once_and_no_other() {
    let world = World::with_a_client();
    let _old = old_connections(&world);
    let adopt = |services: &'static [&str]| {
        world.gate.run(move || {
            let ports: Vec<_> = services.iter().map(|text| text.parse().unwrap()).collect();
            KernelConntrack::open().unwrap().adopt(&ports).unwrap()
        })
    };
    assert_eq!(adopt(&["udp/22", "icmp", "tcp/23-79"]), 0);
    assert_eq!(adopt(&["tcp/22"]), 2);
    assert_eq!(world.entries("dport=22 ").len(), 2);
    assert_eq!(
        adopt(&["tcp/20-22", "tcp/80"]),
        2,
        "those of port 22 are known already"
    );
    assert_eq!(adopt(&["tcp/22", "tcp/80"]), 0);
    assert_eq!(world.entries("ASSURED").len(), 4);
}

pub fn a_stray_segment_draws_no_reset_where_the_listener_is_bound_to_one_address() {
    for driver in DRIVERS {
        let world = World::with_a_client();
        let _listeners = world.gate.run(|| {
            ["192.0.2.1:22", "192.0.2.1:81"].map(|address| TcpListener::bind(address).unwrap())
        });
        assert!(
            world.client.gets_reset(22),
            "{driver:?}: as it is without protection"
        );
        world.start(driver, settings("", ""));
        assert!(!world.client.gets_reset(22), "{driver:?}");
        assert!(
            world.client.gets_reset(81),
            "{driver:?}: an unprotected port answers"
        );
    }
}

pub fn a_reload_that_protects_more_ports_adopts_their_connections_first() {
    let world = World::with_a_client();
    world.gate.serve(443);
    let mut old = world.connect(V4[1], V4[0], 443);
    assert!(echoes(&mut old));
    world.start(DriverKind::Nftables, settings("", ""));
    let user = format!(
        "[[user]]\nname = \"bob\"\nkey = \"{}=\"\nservices = [\"tcp/443\"]",
        "A".repeat(43)
    );
    world.executor(move |executor| {
        executor
            .reload(
                &crate::read(format!("[gate]\nname = \"g\"\n{user}")),
                crate::now(),
            )
            .unwrap()
    });
    assert!(!world.client.reaches(V4[1], V4[0], 443));
    assert!(echoes(&mut old));
}
