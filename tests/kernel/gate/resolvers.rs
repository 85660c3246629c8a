//! Gates whose names have a resolver that is slow, late or gives another address each time.
//!
//! The gate's host runs the resolver of the first client.

use std::net::UdpSocket;
use std::process::Output;
use std::time::{Duration, Instant};

use super::lossy::add_dead_host;
use postern_harness::{Family, GATE_NAME, GateConfig, SERVICE, World, key, postern, run, text};

/// Of the dead host.
const DEAD: u8 = 9;
const LATE: Duration = Duration::from_millis(600);

/// Answers for `silent` nothing, for `late` a failure at first, for `turns` the dead address and the gate's in turns.
fn serve(socket: &UdpSocket) {
    let (start, mut turn, mut buffer) = (Instant::now(), 0, [0; 512]);
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let question = &buffer[..length];
        let name = String::from_utf8_lossy(&question[13..13 + usize::from(question[12])]);
        let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let is_v4 = question[end - 3] == 1;
        let host = match name.as_ref() {
            "silent" => continue,
            "late" if start.elapsed() < LATE => None,
            "turns" if turn == 0 => Some(DEAD),
            _ => Some(1),
        };
        turn = (turn + usize::from(is_v4 && name == "turns")) % 2;
        let mut answer = question[..end].to_vec();
        answer[2..4].copy_from_slice(&[0x81, if host.is_none() { 0x82 } else { 0x80 }]);
        answer[6..12].fill(0);
        if let Some(host) = host.filter(|_| is_v4) {
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 77, 0, host]);
        }
        let _ = socket.send_to(&answer, from);
    }
}

fn client(world: &World, addresses: &[&str], words: &[&str]) -> (Output, Duration) {
    let resolver = format!("nameserver {}\n", Family::V4.address(1));
    let resolver = world.write("resolv.conf", &resolver);
    let key = key("alice");
    let config = world.write(
        "names.toml",
        &format!("[home]\ngate = \"{GATE_NAME}\"\naddress = {addresses:?}\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE}\"]\n"),
    );
    let script = "mount --bind \"$1\" /etc/resolv.conf && export POSTERN_CONFIG=\"$2\" && shift 2 && exec \"$0\" \"$@\"";
    let files = [&resolver, &config].map(|path| path.to_str().unwrap());
    let mount = ["--mount", "sh", "-c", script, postern()];
    let start = Instant::now();
    let arguments = [&mount[..], &files, words].concat();
    (
        run(&world.first.space, "unshare", &arguments),
        start.elapsed(),
    )
}

pub(crate) fn no_resolver_delays_a_live_address(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let service = world.service.try_clone().unwrap();
    std::thread::spawn(move || service.incoming().for_each(drop));
    let socket = world.gate.run(|| UdpSocket::bind("10.77.0.1:53").unwrap());
    std::thread::spawn(move || serve(&socket));
    add_dead_host(&world);
    let live = Family::V4.address(1).to_string();
    let port = SERVICE.to_string();
    let wait = ["knock", "home", "--wait=8s"];
    for (addresses, words) in [
        (&["silent.test", &live][..], &wait[..]),
        (&["late.test"], &wait),
        (&["turns.test"], &wait),
        (
            &["turns.test"],
            &["connect", "home", "turns.test", &port, "-q"],
        ),
    ] {
        let (ran, took) = client(&world, addresses, words);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{addresses:?}: {said}{}", text(&ran));
        assert!(
            took < Duration::from_millis(2500),
            "{addresses:?}: {took:?}"
        );
        world.at_gate(&["close", "--all"]);
    }
}
