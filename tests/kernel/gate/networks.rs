//! Which address a client lets in, on the networks that people have: routed, translated, and both in a row.
//!
//! ```text
//!   home: 192.168.7.2, 2001:db8:7::2 ══ home7 first client of the harness: 10.77.0.2 ══ gate
//! ```

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern_harness::process::signal;
use postern_harness::{
    Family, GateConfig, Namespace, Ran, World, find, postern, run, wait_at_most, wait_until,
};
use rustix::process::Signal;

const MASQUERADE: &str = "iptables -t nat -A POSTROUTING -j MASQUERADE";
/// The gate, through tayga's prefix and through one of RFC 8215.
const BY_OWN_PREFIX: &str = "2001:db8:64::a4d:1";
const BY_LOCAL_PREFIX: &str = "64:ff9b:1:fffe::a4d:1";

/// A namespace behind `router`, which forwards but does not translate.
fn behind(router: &Namespace, network: u8) -> Namespace {
    let inner = Namespace::new();
    let [outer, own] = [1, 2].map(|host| {
        [
            format!("192.168.{network}.{host}"),
            format!("2001:db8:{network}::{host}"),
        ]
    });
    let ends = [&outer, &own].map(|[v4, v6]| [format!("{v4}/24"), format!("{v6}/64")]);
    let [here, there] = ends
        .each_ref()
        .map(|end| end.each_ref().map(String::as_str));
    router.link(&inner, &format!("home{network}"), &here, &there);
    for gateway in outer {
        inner.ip(&format!("route add default via {gateway}"));
    }
    router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    inner
}

/// Runs `postern` there with alice's profiles, and this line in each.
fn postern_at(space: &Namespace, world: &World, line: &str, words: &[&str]) -> Ran {
    let profiles = world.lines_in("alice.toml").join("\n");
    let profiles = profiles.replace("gate = ", &format!("{line}\ngate = "));
    let config = world.write("home.toml", &profiles);
    let hosts = world.write(
        "hosts",
        &format!("{BY_OWN_PREFIX} gate64.test\n2001:db8:64::c000:aa ipv4only.arpa\n"),
    );
    let script = "mount --bind \"$1\" /etc/hosts && export POSTERN_CONFIG=\"$2\" && shift 2 && exec \"$0\" \"$@\"";
    let files = [hosts, config].map(|path| path.display().to_string());
    let [hosts, config] = files.each_ref().map(String::as_str);
    let mount = ["--mount", "sh", "-c", script, postern(), hosts, config];
    let ran = run(space, "unshare", &[&mount, words].concat());
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: ran.status.code(),
        out: said(&ran.stdout),
        err: said(&ran.stderr),
    }
}

/// Knocks from there until the service answers. Returns the addresses of all grants.
fn opened(space: &Namespace, world: &World, line: &str, words: &[&str]) -> Vec<String> {
    let ran = postern_at(
        space,
        world,
        line,
        &[&["knock", "--wait=5s"], words].concat(),
    );
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let grants = world.daemon.grants();
    let mut allowed: Vec<String> = grants.iter().map(|one| one.allow.to_string()).collect();
    allowed.sort();
    allowed
}

pub(crate) fn translated_client_opens_without_an_option(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let router = behind(&world.first.space, 5);
    let home = behind(&router, 7);
    router.sh(MASQUERADE);
    world.first.space.sh(MASQUERADE);
    assert_eq!(opened(&home, &world, "", &["v4"]), ["10.77.0.2/32"]);
}

pub(crate) fn routed_client_claims_as_its_policy_says(backend: &'static str) {
    let config = GateConfig::empty(backend).member("alice", "grant_to = \"claimed\"");
    let world = World::start(&config);
    let home = behind(&world.first.space, 7);
    world.gate.ip("route add 192.168.7.0/24 via 10.77.0.2");
    let line = "grant_to = \"claimed\"";
    assert_eq!(opened(&home, &world, line, &["v4"]), ["192.168.7.2/32"]);
}

pub(crate) fn both_addresses_open_with_two_knocks(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let home = behind(&world.first.space, 7);
    world.first.space.sh(MASQUERADE);
    let allowed = opened(&home, &world, "", &["v4", "--allow", "both"]);
    assert_eq!(allowed, ["10.77.0.2/32", "192.168.7.2/32"]);
}

/// tayga, which translates between IPv6 and the gate's IPv4.
struct Translator(Child);

impl Translator {
    fn start(world: &World) -> Self {
        let folder = world.folder().display();
        let config = format!(
            "tun-device nat64\nipv4-addr 192.168.255.1\nprefix 2001:db8:64::/96\n\
             dynamic-pool 192.168.255.0/24\ndata-dir {folder}\n"
        );
        let config = world.write("tayga.conf", &config).display().to_string();
        let space = &world.first.space;
        space.sh(&format!("tayga --mktun -c {config}"));
        space.ip_batch(
            "link set nat64 up\naddr add 192.168.254.1/32 dev nat64\naddr add 2001:db8:7f::1/128 dev nat64\n\
             route add 192.168.255.0/24 dev nat64\nroute add 2001:db8:64::/96 dev nat64",
        );
        // tayga itself refuses this prefix.
        space.sh(&format!(
            "ip6tables -t nat -A PREROUTING -d {BY_LOCAL_PREFIX} -j DNAT --to-destination {BY_OWN_PREFIX}"
        ));
        Self(space.run(move || {
            let mut command = Command::new(find("tayga").unwrap());
            command.args(["-d", "-c", &config]).stdin(Stdio::null());
            let command = command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        }))
    }
}

impl Drop for Translator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn client_behind_nat64_opens(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let home = behind(&world.first.space, 7);
    home.ip("route del 0.0.0.0/0");
    let _translator = Translator::start(&world);
    world.first.space.sh(MASQUERADE);
    for address in [BY_LOCAL_PREFIX, "gate64.test"] {
        let words = ["v6", "--address", address];
        assert_eq!(opened(&home, &world, "", &words), ["10.77.0.2/32"]);
        world.first.close("alice", Family::V4);
        world.wait_until_closed();
    }
    // Without an IPv4 route a name may be one of NAT64; an address is none.
    let own: IpAddr = "2001:db8:7::2".parse().unwrap();
    let words = ["knock", "v6", "--address", "2001:db8:65::1", "--dry-run"];
    let ran = postern_at(&home, &world, "", &words);
    assert!(ran.out.contains(&format!("allow     {own}")), "{ran:?}");
}

pub(crate) fn new_address_is_let_in_at_once(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let client = &world.first.space;
    world.gate.ip("route add 10.77.0.9 dev gate2");
    let address =
        |change: &str, host| format!("addr {change} 10.77.0.{host} peer 10.77.0.1 dev wire0");
    for (words, old, new) in [
        (
            &[
                "run",
                "v4",
                "--keep-open",
                "--for",
                "60s",
                "--",
                "sleep",
                "60",
            ][..],
            2,
            9,
        ),
        (&["keep", "v4"], 9, 2),
    ] {
        let config = world.folder().join("alice.toml");
        let mut kept = client.run(move || {
            let mut command = Command::new(postern());
            command.args(words).env("POSTERN_CONFIG", config);
            command.stdin(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        });
        let allowed = |host: u8| IpAddr::from([10, 77, 0, host]).into();
        wait_until("the first grant", || {
            let grants = world.daemon.grants();
            grants.iter().any(|grant| grant.allow == allowed(old))
        });
        client.ip_batch(&format!("{}\n{}", address("del", old), address("add", new)));
        let start = Instant::now();
        world.first.expect_let_in(Family::V4);
        let took = start.elapsed();
        assert!(took < Duration::from_millis(2500), "{words:?}: {took:?}");
        // The grant for the old address is closed, and at the end the one for the new address.
        // A renewal would close it later.
        wait_at_most(Duration::from_secs(5), "close of the old address", || {
            let grants = world.daemon.grants();
            (grants.len() == 1 && grants[0].allow == allowed(new)).then_some(())
        });
        signal(kept.id(), Signal::TERM);
        kept.wait().unwrap();
        world.wait_until_closed();
    }
}
