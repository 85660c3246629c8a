//! What the gate says when an admitted knock does not open, and when a client's clock is wrong.
//!
//! ```text
//!   home: 192.168.7.2, fd07::2 ══ home0 first client of the harness, translates only TCP ══ gate
//! ```

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use postern_harness::world::CLIENT_INTERFACE;
use postern_harness::{
    FAMILIES, Family, GateConfig, Namespace, SERVICE, World, find, posternd, wait_for,
};

use super::explain::Running;

fn home(world: &World) -> Namespace {
    let (router, home) = (&world.first.space, Namespace::new());
    let [outer, inner] = [
        ["192.168.7.1/24", "fd07::1/64"],
        ["192.168.7.2/24", "fd07::2/64"],
    ];
    router.link(&home, "home0", &outer, &inner);
    home.ip_batch("route add 0.0.0.0/0 via 192.168.7.1\nroute add ::/0 via fd07::1");
    router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    for program in ["iptables", "ip6tables"] {
        router.sh(&format!(
            "{program} -t nat -A POSTROUTING -o {CLIENT_INTERFACE} -p tcp -j MASQUERADE"
        ));
    }
    home
}

/// Runs `posternd explain` in the gate's namespace; returns it and the file that it writes to.
fn explain(world: &World, words: &[&str]) -> (Running, std::path::PathBuf) {
    let config = world.folder().join("posternd.toml").display().to_string();
    let said = world.folder().join("explained");
    let file = File::create(&said).unwrap();
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let child = world.gate.run(move || {
        let mut command = Command::new(posternd());
        command
            .arg("explain")
            .args(words)
            .args(["--config", &config]);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap());
        command.stderr(file).spawn().unwrap()
    });
    wait_for("it to listen", || {
        let said = fs::read_to_string(&said).unwrap();
        said.contains(" to UDP port 62201 on every interface")
            .then_some(())
    });
    (Running(child), said)
}

fn wait_until_said(said: &std::path::Path, words: &str) {
    wait_for(words, || {
        let said = fs::read_to_string(said).unwrap();
        said.contains(words).then_some(())
    });
}

pub(crate) fn other_address_of_hairpin_is_named(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let home = home(&world);
    let (_live, said) = explain(&world, &["--live"]);
    for (family, inner) in FAMILIES.into_iter().zip(["192.168.7.2", "fd07::2"]) {
        let inner: IpAddr = inner.parse().unwrap();
        let outer = world.first.address(family);
        let packet = world
            .first
            .packet("alice", family, &["--allow", &inner.to_string()]);
        world.first.send(family, &packet);
        wait_for("the grant", || {
            let grants = world.daemon.grants();
            grants
                .iter()
                .any(|grant| grant.allow.addr() == inner)
                .then_some(())
        });
        let to = SocketAddr::new(family.address(1), SERVICE);
        let connected = home.run(move || TcpStream::connect_timeout(&to, Duration::from_secs(2)));
        assert!(connected.is_err(), "only the other address is let in");
        let told = format!("alice was admitted for {inner}; since then ");
        let status = wait_for("the attempts", || {
            Some(world.at_gate(&["status"])).filter(|status| status.contains(&told))
        });
        for words in [
            format!("at tcp/{SERVICE} from {outer}"),
            format!(
                "knock with --allow {outer}; else run: posternd check --from {inner} tcp/{SERVICE}"
            ),
        ] {
            assert!(status.contains(&words), "{words}: {status}");
        }
        wait_until_said(&said, &told);
    }
    let status = world.at_gate(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let unused = &status["unused"][1];
    let of = (&unused["allow"], &unused["attempts"][0]["source"]);
    assert_eq!(
        of,
        (&"192.168.7.2/32".into(), &"10.77.0.2".into()),
        "{status}"
    );
    world.daemon.expect_logged(0, &["another program changed"]);
    // A grant for the address that tries leaves nothing to tell.
    world.first.knock("alice", Family::V4, &[]);
    world.first.expect_let_in(Family::V4);
    let status = world.at_gate(&["status"]);
    assert!(
        !status.contains("without a grant: 1 attempt at tcp/2222 from 10.77.0.2"),
        "{status}"
    );
}

pub(crate) fn wrong_clocks_are_named(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend).user("bob", "services = [\"tcp/9\"]"));
    let (_running, said) = explain(&world, &["--clock"]);
    for (user, offset, told) in [
        ("alice", "-7m", "alice's clock is 7 minutes behind"),
        ("bob", "-61m", "bob's clock is 61 minutes behind"),
        ("alice", "61m", "alice's clock is 61 minutes ahead"),
        ("bob", "0s", "bob's clock is right"),
    ] {
        world.first.send(Family::V4, &[7; 200]);
        let offset = format!("--time-offset={offset}");
        world
            .first
            .knock(user, Family::V4, &["-s", "tcp/9", &offset]);
        wait_until_said(&said, told);
    }
}

/// The kernel's filter still passes such a knock.
pub(crate) fn slightly_wrong_clock_is_logged_once(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    for count in 1..=2 {
        world
            .first
            .knock("alice", Family::V4, &["--time-offset=35s"]);
        world.daemon.wait_for_count("drop too-new", count);
    }
    let words = [
        "WARN",
        "alice's clock is 3",
        "s ahead",
        "posternd explain --clock",
    ];
    world.daemon.expect_logged(1, &words);
}

/// Another program binds a group of NFLOG.
pub(super) fn bind_group(world: &World, group: u16) -> Running {
    const BIND: &str = "import socket, struct, sys, time
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack('=IHHIIBBHHHI', 28, 0x401, 5, 1, 0, 0, 0, socket.htons(int(sys.argv[1])), 5, 1, 1))
assert s.recv(64)[16:20] == bytes(4)
print('bound', flush=True)
time.sleep(600)";
    let mut other = Running(world.gate.run(move || {
        let mut python = Command::new(find("python3").unwrap());
        python.args(["-c", BIND, &group.to_string()]);
        python.stdout(Stdio::piped());
        python.spawn().unwrap()
    }));
    let mut bound = [0; 5];
    other
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut bound)
        .unwrap();
    other
}

/// Another program logs packets through a group.
pub(crate) fn busy_nflog_group_is_left_alone(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    let _other = bind_group(&world, 62201);
    for (line, group) in [
        ("", "62202"),
        ("nflog_group = 7", "7"),
        ("nflog_group = 62201", "null"),
        ("nflog_group = \"none\"", "null"),
    ] {
        world.rewrite(&GateConfig::new(backend).firewall(line));
        world.start_again();
        let status = world.at_gate(&["status", "--json"]);
        let expected = format!("\"nflog_group\": {group},");
        assert!(status.contains(&expected), "{line}: {status}");
        world.second.expect_both_shut_out();
        assert!(world.daemon.stop().success());
    }
}
