//! `postern connect` to a gate of which only one address family lets the user in.

use std::io::Write;
use std::net::TcpListener;
use std::process::Output;

use postern_harness::{FAMILIES, Family, GATE_NAME, GateConfig, World, key, postern, run, text};

const PORT: u16 = 2200;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One name for both families, and a policy that lets in only one of them: the client uses the family that opened.
pub(crate) fn connect_uses_the_family_that_opened(backend: &'static str) {
    for (family, networks) in [(Family::V4, "10.0.0.0/8"), (Family::V6, "fd00::/8")] {
        let plan = GateConfig::empty(backend).user(
            "alice",
            &format!("services = [\"tcp/{PORT}\"]\nnetworks = [\"{networks}\"]"),
        );
        let world = World::start(&plan);
        let listener = world.gate.run(|| TcpListener::bind(("::", PORT)).unwrap());
        std::thread::spawn(move || {
            let mut streams = listener.incoming();
            streams.try_for_each(|stream| stream?.write_all(b"welcome"))
        });
        let hosts = FAMILIES.map(|family| format!("{} the-gate\n", family.address(1)));
        let hosts = world.write("hosts", &hosts.concat());
        let key = key("alice");
        let config = world.write(
            "both.toml",
            &format!("[both]\ngate = \"{GATE_NAME}\"\naddress = \"the-gate\"\nkey = \"{key}\"\n"),
        );
        let postern = |words: &[&str]| {
            let script = "mount --bind \"$1\" /etc/hosts && export POSTERN_CONFIG=\"$2\" && shift 2 && exec \"$0\" \"$@\"";
            let mount = [
                "--mount",
                "sh",
                "-c",
                script,
                postern(),
                hosts.to_str().unwrap(),
                config.to_str().unwrap(),
            ];
            run(&world.first.space, "unshare", &[&mount, words].concat())
        };
        let port = std::net::SocketAddr::new(family.address(1), PORT);

        let waited = postern(&["knock", "both", "-s", &format!("tcp/{PORT}"), "--wait=20s"]);
        assert_eq!(waited.status.code(), Some(0), "{}", said(&waited));
        let printed = text(&waited);
        let third = printed.lines().nth(2).unwrap();
        assert!(
            third.starts_with(&format!("{port} is open after ")),
            "{printed}"
        );
        world.wait_for_grants(1);
        assert_eq!(postern(&["close", "both"]).status.code(), Some(0));
        world.wait_until_closed();
        let before = world.daemon.status().admitted;

        let ran = postern(&["connect", "both", "the-gate", &PORT.to_string(), "--json"]);
        assert_eq!(
            (ran.status.code(), text(&ran).as_str()),
            (Some(0), "welcome"),
            "{}",
            said(&ran)
        );
        let told: serde_json::Value = serde_json::from_str(&said(&ran)).unwrap();
        assert_eq!(told["knocks"].as_array().unwrap().len(), 2, "{told}");
        assert_eq!(told["wait"]["address"], port.to_string());
        let status = world.daemon.wait_for_count("refuse networks", 2);
        assert_eq!(
            (status.admitted, world.daemon.grants().len()),
            (before + 1, 1)
        );
    }
}
