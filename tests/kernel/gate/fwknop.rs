//! Debian's unchanged client of fwknop knocks at a whole posternd.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::model::grant::Grant;
use postern::model::service::list;
use postern_harness::{
    Client, Family, GateConfig, Ran, SERVICE, World, now, run, seed, wait_until,
};

const INNER: &str = "[service.inner]\nports = [\"tcp/2200\"]\nforward = \"10.88.0.5:22\"";
const LOCAL: &str = "[service.local]\nports = [\"tcp/2400\"]\nredirect = \"tcp/2222\"";
const RESTART: &str = "[service.restart]\nports = [\"tcp/2300\"]";

/// Both keys of a user, in base64.
fn keys(user: &str) -> [String; 2] {
    ["key", "mac"].map(|which| STANDARD.encode(seed(&format!("fwknop {which} of {user}"))))
}

/// The keys of a user who may open the service.
pub(super) fn lines(user: &str) -> String {
    let [key, hmac] = keys(user);
    format!("fwknop = {{ key = \"{key}\", hmac_key = \"{hmac}\" }}\nservices = [\"tcp/{SERVICE}\"]")
}

fn plan(backend: &str) -> GateConfig {
    let [key, hmac] = keys("alice");
    let lines = format!(
        "fwknop = {{ key = \"{key}\", hmac_key = \"{hmac}\", commands = {{ \"restart web\" = \"restart\" }} }}\n\
         services = [\"tcp/{SERVICE}\", \"tcp/80\", \"inner\", \"local\", \"restart\"]\nmax_duration = \"100s\"\nquota = \"100/s\""
    );
    GateConfig::empty(backend)
        .quiet()
        .section(INNER)
        .section(LOCAL)
        .section(RESTART)
        .user_with("alice", &lines)
        .member("bob", "")
}

/// Runs the client with the keys of this user.
fn fwknop(client: &Client, user: &str, words: &str) -> Ran {
    fwknop_with(client, user, &words.split(' ').collect::<Vec<_>>())
}

fn fwknop_with(client: &Client, user: &str, words: &[&str]) -> Ran {
    let [key, hmac] = keys(user);
    let common = [
        "--no-rc-file",
        "--no-save-args",
        "--key-base64-rijndael",
        &key,
        "--use-hmac",
        "--key-base64-hmac",
        &hmac,
        "-D",
        "10.77.0.1",
    ];
    let output = run(&client.space, "fwknop", &[&common[..], words].concat());
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code(),
        out: said(&output.stdout),
        err: said(&output.stderr),
    }
}

pub(super) fn knock(client: &Client, user: &str, words: &str) {
    let ran = fwknop(client, user, words);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// The packet that the client saved instead of sending it.
fn packet(world: &World, user: &str, words: &str) -> Vec<u8> {
    let file = world.folder().join("packet");
    let _ = std::fs::remove_file(&file);
    knock(
        &world.first,
        user,
        &format!("{words} --test -B {}", file.display()),
    );
    let mut packet = std::fs::read(file).unwrap();
    packet.truncate(packet.trim_ascii_end().len());
    packet
}

pub(crate) fn fwknop_client_opens_the_port(backend: &'static str) {
    let world = World::start(&plan(backend));
    world.first.expect_shut_out(Family::V4);
    knock(&world.first, "alice", "-A tcp/2222 -a 10.77.0.2");
    world.first.expect_let_in(Family::V4);
    world.second.expect_shut_out(Family::V4);
    knock(&world.second, "alice", "-A tcp/2222,tcp/80 -s -f 1000");
    world.second.expect_let_in(Family::V4);
    let lines = world.daemon.wait_for_lines(2, &["open: grant"]);
    assert!(
        lines[1].contains("alice, 10.77.0.3/32 to tcp/80, tcp/2222"),
        "{lines:?}"
    );
    let grants = world.daemon.grants();
    let left = grants
        .iter()
        .map(|grant| grant.until.since(now()).as_secs());
    let left: Vec<u64> = left.collect();
    assert!(
        left[0] <= 30 && (80..=101).contains(&left[1]),
        "duration, and max_duration: {left:?}"
    );
    // a user of ours beside them
    world.at_gate(&["close", "--all"]);
    world.first.expect_shut_out(Family::V4);
    world.first.open("bob", Family::V4, &[]);
}

pub(crate) fn imported_access_conf_admits_its_client(backend: &'static str) {
    let world = World::start(&GateConfig::empty(backend).quiet().member("bob", ""));
    let [key, hmac] = keys("alice");
    let access = format!(
        "#### fwknopd access.conf stanzas ###\n\nSOURCE              10.77.0.0/24\nOPEN_PORTS          tcp/{SERVICE}\n\
         FW_ACCESS_TIMEOUT   60\nREQUIRE_SOURCE      Y\nKEY_BASE64          {key}\nHMAC_KEY_BASE64     {hmac}\n"
    );
    let access = world.write("access.conf", &access);
    knock(&world.first, "alice", "-A tcp/2222 -a 10.77.0.2");
    world.first.expect_shut_out(Family::V4);
    let said = world.at_gate(&["import", &access.display().to_string()]);
    assert!(said.contains("user fwknop-1 from"), "{said}");
    knock(&world.first, "alice", "-A tcp/23 -a 10.77.0.2");
    world.daemon.wait_for_count("refuse services", 1);
    knock(&world.first, "alice", "-A tcp/2222 -a 10.77.0.2");
    world.first.expect_let_in(Family::V4);
    world.second.expect_shut_out(Family::V4);
    let left = world.wait_for_grants(1)[0].until.since(now()).as_secs();
    assert!((30..=61).contains(&left), "FW_ACCESS_TIMEOUT: {left}");
}

pub(crate) fn fwknop_packets_are_refused_by_reason(backend: &'static str) {
    let world = World::start(&plan(backend));
    let first = packet(&world, "alice", "-A tcp/2222 -a 10.77.0.2");
    world.first.send(Family::V4, &first);
    world.first.expect_let_in(Family::V4);
    // within a second it is a duplicate
    wait_until("a replay", || {
        world.first.send(Family::V4, &first);
        world.daemon.status().count("drop replay") > 0
    });
    knock(&world.first, "eve", "-A tcp/2222 -a 10.77.0.2");
    world.daemon.wait_for_count("drop fwknop (mac)", 1);
    knock(&world.first, "alice", "-A tcp/23 -a 10.77.0.2");
    world.daemon.wait_for_count("refuse services", 1);
    for (shift, reason) in [("minus", "drop too-old"), ("plus", "drop too-new")] {
        knock(
            &world.first,
            "alice",
            &format!("-A tcp/2222 -s --time-offset-{shift} 200"),
        );
        world.daemon.wait_for_count(reason, 1);
    }
    // one of the longest packets of this client: 631 bytes
    let many: Vec<String> = (0..28).map(|n| format!("tcp/{}", n % 9 + 1)).collect();
    let (many, long) = (many.join(","), "u".repeat(48));
    knock(
        &world.first,
        "alice",
        &format!(
            "-A {many} -a 255.255.255.255 -U {long} -N a-host-behind-the-gate.example.org:22 -f 1000"
        ),
    );
    world.daemon.wait_for_count("refuse services", 2);
    assert_eq!(world.daemon.status().admitted, 1);
}

pub(crate) fn fwknop_nat_and_commands_follow_the_config(backend: &'static str) {
    let world = World::start(&plan(backend));
    for wrong in ["10.88.0.5:5432", "10.88.0.6:22"] {
        knock(
            &world.first,
            "alice",
            &format!("-A tcp/2200 -s --nat-access {wrong}"),
        );
    }
    world.daemon.wait_for_count("refuse forward", 2);
    knock(
        &world.first,
        "alice",
        "-A tcp/2200 -s -f 50 --nat-access 10.88.0.5:22",
    );
    let grants = world.wait_for_grants(1);
    assert_eq!(
        grants[0].forwards[0].to_string(),
        "tcp/2200 forwarded to 10.88.0.5:22"
    );
    assert!(grants[0].services.is_empty(), "{grants:?}");
    knock(
        &world.first,
        "alice",
        "-A tcp/5432 -s --nat-local --nat-port 2400",
    );
    world.daemon.wait_for_count("refuse forward", 3);
    knock(
        &world.first,
        "alice",
        "-A tcp/2222 -s --nat-local --nat-port 2400",
    );
    world.wait_for_grants(2);
    wait_until("the redirect", || {
        world.first.connect(Family::V4, 2400).is_ok()
    });
    // the port itself stays hidden
    world.first.expect_shut_out(Family::V4);
    let command = |text| fwknop_with(&world.first, "alice", &["-s", "--server-cmd", text]);
    assert_eq!(command("restart mail").code, Some(0));
    world.daemon.wait_for_count("refuse commands", 1);
    assert_eq!(command("restart web").code, Some(0));
    let grants = world.wait_for_grants(3);
    let opens = |grant: &Grant| list(&grant.services) == "tcp/2300";
    assert!(grants.iter().any(opens), "{grants:?}");
}
