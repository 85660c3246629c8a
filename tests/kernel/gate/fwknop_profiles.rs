//! Profiles of `postern` with the keys of fwknop's client: at our gate, and at Debian's unchanged fwknopd.

use std::process::{Child, Command, Stdio};

use postern_harness::world::seed;
use postern_harness::{Family, GateConfig, SERVICE, World, now, wait_for};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const LOCAL: &str = "[service.local]\nports = [\"tcp/2400\"]\nredirect = \"tcp/2222\"";

fn key(which: &str) -> String {
    STANDARD.encode(seed(&format!("fwknop {which} of alice")))
}

pub(crate) fn imported_stanza_knocks_the_gate(backend: &'static str) {
    let (key, hmac) = (key("key"), key("mac"));
    let lines = format!(
        "fwknop = {{ key = \"{key}\", hmac_key = \"{hmac}\", username = \"alice\" }}\nservices = [\"tcp/{SERVICE}\", \"local\"]"
    );
    let plan = GateConfig::empty(backend).quiet().section(LOCAL);
    let world = World::start(&plan.user_with("alice", &lines));
    let rc = format!(
        "[default]\nKEY_BASE64 {key}\nHMAC_KEY_BASE64 {hmac}\nSPOOF_USER alice\nSPA_SERVER 10.77.0.1\nACCESS tcp/{SERVICE}\n\
         [office]\nALLOW_IP source\nFW_TIMEOUT 50\n[local]\nALLOW_IP 10.77.0.2\nNAT_LOCAL Y\nNAT_PORT 2400\n"
    );
    let rc = world.write("rc", &rc).display().to_string();
    let client = &world.first;
    let said = client.postern("imported", &["import", &rc]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(0), ""),
        "{}",
        said.out
    );
    client.expect_shut_out(Family::V4);
    let ran = client.postern("imported", &["run", "office", "--quiet", "--", "/bin/true"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    // there is no close
    client.expect_let_in(Family::V4);
    let left = world.wait_for_grants(1)[0].until.since(now()).as_secs();
    assert!((30..=50).contains(&left), "FW_TIMEOUT: {left}");
    world.second.expect_shut_out(Family::V4);
    let ran = client.postern("imported", &["knock", "local", "--wait"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("10.77.0.1:2400 is open"), "{}", ran.out);
    world.wait_for_grants(2);
    // closed on both sides: the port of another service, and IPv6
    let ran = client.postern("imported", &["knock", "office", "-s", "tcp/23"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    world.daemon.wait_for_count("refuse services", 1);
}

/// A key of each kind, and its stanza.
const KINDS: [(&str, &str, &str); 3] = [
    (
        "hmac",
        "passphrase = \"one\", hmac_passphrase = \"two\", hmac = \"sha512\"",
        "KEY one\nHMAC_KEY two\nHMAC_DIGEST_TYPE SHA512\n",
    ),
    (
        "cbc",
        "passphrase = \"three\", insecure_without_hmac = true",
        "KEY three\n",
    ),
    (
        "legacy",
        "passphrase = \"four\", mode = \"legacy\", insecure_without_hmac = true",
        "KEY four\nENCRYPTION_MODE legacy\n",
    ),
];

/// The types 1 to 6: what the profile has, for how long, and what fwknopd does.
const TYPES: [(u8, &str, &str, &str); 6] = [
    (1, "", "", OPEN),
    (2, NAT, "", FORWARD),
    (3, "", "20s", OPEN),
    (4, NAT, "20s", FORWARD),
    (5, NAT_LOCAL, "", FORWARD),
    (6, NAT_LOCAL, "20s", FORWARD),
];
const NAT: &str = ", nat_access = \"10.88.0.5:22\"";
const NAT_LOCAL: &str = ", nat_local = \"10.77.0.1:22\"";
const OPEN: &str = "access rule to FWKNOP_INPUT";
const FORWARD: &str = "DNAT rule to FWKNOP_PREROUTING";

pub(crate) fn fwknopd_accepts_all_types(backend: &'static str) {
    let world = World::prepare(&GateConfig::empty(backend));
    let server = Fwknopd::start(&world);
    // another port for each: fwknopd adds no rule twice
    let mut ports = 3000..;
    for (kind, keys, _) in KINDS {
        for (number, nat, time, expected) in TYPES {
            let port = format!("tcp/{}", ports.next().unwrap());
            let profile = format!(
                "[x]\ngate = \"10.77.0.1\"\nservices = [\"{port}\"]\nallow = \"source\"\nfwknop = {{ {keys}, username = \"{kind}\"{nat} }}\n"
            );
            world.write("server.toml", &profile);
            let before = server.log().len();
            let time: &[&str] = if time.is_empty() {
                &[]
            } else {
                &["--for", time]
            };
            let ran = world
                .first
                .postern("server", &[&["knock", "x"], time].concat());
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let kind_said = format!("Message Type: {number} ");
            let rule = format!("Added {expected} for 10.77.0.2 -> 0.0.0.0/0 {port}, expires");
            wait_for(&format!("{kind}: type {number}"), || {
                let log = &server.log()[before..];
                (log.contains(&kind_said) && log.contains(&rule)).then_some(())
            });
        }
    }
}

/// Debian's server, in the namespace of the gate. It ends with the value.
struct Fwknopd<'w> {
    child: Child,
    world: &'w World,
}

impl<'w> Fwknopd<'w> {
    fn start(world: &'w World) -> Self {
        let folder = world.folder().display().to_string();
        let stanzas =
            KINDS.map(|(_, _, keys)| format!("SOURCE ANY\nFW_ACCESS_TIMEOUT 60\n{keys}\n"));
        let access = world.write("access.conf", &stanzas.concat());
        let config = format!(
            "ENABLE_UDP_SERVER Y;\nENABLE_IPT_FORWARDING Y;\nENABLE_IPT_LOCAL_NAT Y;\nFWKNOP_RUN_DIR {folder};\nFWKNOP_CONF_DIR {folder};\n"
        );
        let config = world.write("fwknopd.conf", &config);
        let log = std::fs::File::create(world.folder().join("fwknopd.log")).unwrap();
        let child = world.gate.run(move || {
            Command::new("fwknopd")
                .args(["--foreground", "--verbose", "--config-file"])
                .args([
                    config.as_os_str(),
                    "--access-file".as_ref(),
                    access.as_os_str(),
                ])
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap()
        });
        let server = Self { child, world };
        wait_for("fwknopd", || {
            server.log().contains("UDP server to listen").then_some(())
        });
        server
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.world.folder().join("fwknopd.log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Fwknopd<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
