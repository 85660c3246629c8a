//! One-time codes through a whole posternd: from an independent authenticator to the grant.

use std::net::SocketAddr;

use postern_harness::{FAMILIES, Family, GATE_NAME, GateConfig, KNOCK, Ran, SERVICE, World, key};

/// RFC 4648's base32 of RFC 6238's example secret.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// RFC 6238 in Python's own library.
const AUTHENTICATOR: &str = "
import base64, hmac, struct, sys, time
mac = hmac.new(base64.b32decode(sys.argv[1]), struct.pack('>Q', int(time.time()) // 30), 'sha1').digest()
at = mac[-1] & 15
print('%06d' % (struct.unpack('>I', mac[at:at + 4])[0] % 2**31 % 10**6))
";

fn start(backend: &str) -> World {
    let plan = GateConfig::empty(backend)
        .member("alice", &format!("quota = \"100/s\"\ntotp = \"{SECRET}\""))
        .member("bob", "quota = \"100/s\"");
    World::start(&plan)
}

/// A knock over both families at once, with what the authenticator shows now, unless `words` say otherwise.
fn knock(world: &World, words: &[&str]) -> Ran {
    let [four, six] = FAMILIES.map(|family| SocketAddr::new(family.address(1), KNOCK));
    let profile = format!(
        "[both]\ngate = \"{}\"\naddress = [\"{four}\", \"{six}\"]\nkey = \"{}\"\nservices = [\"tcp/{SERVICE}\"]\n\
         code_command = [\"/usr/bin/python3\", \"-c\", \"\"\"{AUTHENTICATOR}\"\"\", \"{SECRET}\"]\n",
        GATE_NAME,
        key("alice")
    );
    world.write("both.toml", &profile);
    let words = [&["knock", "both"], words].concat();
    world.first.postern("both", &words)
}

pub(crate) fn one_time_code_opens_once(backend: &'static str) {
    let world = start(backend);
    for family in FAMILIES {
        world.first.knock("alice", family, &[]);
    }
    world.daemon.wait_for_count("refuse code (missing)", 2);
    world.expect_nothing_open();

    let ran = knock(&world, &["--wait=20s"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    world.wait_for_grants(2);
    world.first.expect_both_let_in();
    // The same code again, or the one of the next 30 seconds if they have begun: then it opens what is open.
    let admitted = world.daemon.status().admitted;
    knock(&world, &[]);
    let verdict = || {
        let now = world.daemon.status();
        Some((now.count("refuse code (used)"), now.admitted - admitted))
            .filter(|(used, more)| used + more == 2)
    };
    postern_harness::wait_for("a verdict on a code that may be used", verdict);
    // Closing needs no code; a user who needs none may send one.
    for family in FAMILIES {
        world.first.close("alice", family);
    }
    world.wait_until_closed();
    world.first.knock("bob", Family::V4, &[]);
    world.wait_for_grants(1);
}

pub(crate) fn wrong_codes_are_throttled(backend: &'static str) {
    let world = start(backend);
    for _ in 0..3 {
        assert_eq!(
            knock(&world, &["--code-stdin"]).code,
            Some(2),
            "standard input is empty"
        );
    }
    for (count, guess) in (1..=5).zip(["000001", "000002", "000003", "000004", "000005"]) {
        guess_code(&world, guess);
        world.daemon.wait_for_count("refuse code (wrong)", count);
    }
    knock(&world, &[]);
    world.daemon.wait_for_count("refuse code (blocked)", 2);
    world.expect_nothing_open();
    let log = world.daemon.log();
    assert!(
        log.contains("the one-time code is wrong")
            && !log.contains("00000")
            && !log.contains(&SECRET[..8]),
        "{log}"
    );
}

fn guess_code(world: &World, code: &'static str) {
    let config = world.folder().join("alice.toml");
    let ran = world.first.space.run(move || {
        let mut command = std::process::Command::new(postern_harness::postern());
        command
            .args(["knock", "v4"])
            .env("POSTERN_CONFIG", config)
            .env("POSTERN_CODE", code)
            .output()
            .unwrap()
    });
    assert!(ran.status.success());
}
