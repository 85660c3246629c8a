//! A gate, a peer and perhaps a container in network namespaces, with the real programs.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use postern_harness::{LONGEST_WAIT, Namespace, join, wait_until};

const KEY: &str = "fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU=";

/// A finding of `posternd check --json`.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Found {
    pub(crate) level: String,
    pub(crate) id: String,
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) cure: Vec<String>,
}

pub(crate) fn ids(found: &[Found]) -> Vec<&str> {
    let mut ids: Vec<&str> = found.iter().map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

pub(crate) struct World {
    gate: Namespace,
    peer: Namespace,
    containers: Vec<Namespace>,
    folder: tempfile::TempDir,
    daemon: Option<Child>,
    /// Commands before `posternd` in a mount namespace.
    before: String,
}

impl World {
    pub(crate) fn new(backend: &str, firewall: &str, gate: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The engine's user must reach its state.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let world = Self {
            gate: Namespace::new(),
            peer: Namespace::new(),
            containers: Vec::new(),
            folder,
            daemon: None,
            before: String::new(),
        };
        join(&world.gate, &world.peer);
        world.gate.serve_echo(2222);
        let path = world.folder.path().display();
        let config = format!(
            "[gate]\nname = \"g\"\nstate_dir = \"{path}/state\"\ncontrol_socket = \"{path}/control.sock\"\n{gate}\n\
             [firewall]\nbackend = \"{backend}\"\n{firewall}\n\
             [[user]]\nname = \"alice\"\nkey = \"{KEY}\"\nservices = [\"tcp/2222\", \"tcp/8080\"]\n"
        );
        // Port 8080 is the container's.
        world.write("posternd.toml", &config.replace(", \"tcp/8080\"", ""));
        world.write("container.toml", &config);
        world.write("key", KEY);
        world
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn with_backend(self, backend: &str) -> Self {
        let text = std::fs::read_to_string(self.path("posternd.toml")).unwrap();
        self.write(
            "posternd.toml",
            &text.replace(
                "backend = \"nftables\"",
                &format!("backend = \"{backend}\""),
            ),
        );
        self
    }

    pub(crate) fn gate_sh(&self, script: &str) {
        let output = sh(&self.gate, script);
        assert!(output.status.success(), "{script}: {output:?}");
    }

    #[expect(clippy::print_stderr, reason = "what is not tested is said")]
    pub(crate) fn has_legacy_tables(&self) -> bool {
        let has = sh(&self.peer, "iptables-legacy -S").status.success();
        if !has {
            eprintln!("this kernel has no legacy tables: not tested");
        }
        has
    }

    pub(crate) fn load(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/rulesets")
            .join(name);
        let path = path.display();
        match name {
            "ufw.save" => self.gate_sh(&format!(
                "iptables-restore < {path}; ip6tables-restore < {}",
                path.to_string().replace("ufw", "ufw6")
            )),
            name if name.ends_with(".save") => self.gate_sh(&format!("iptables-restore < {path}")),
            _ => self.gate_sh(&format!("nft -f {path}")),
        };
    }

    /// Adds a container as Docker does, with a service on port 80. The config then names the published port.
    pub(crate) fn add_container(&mut self) {
        let container = Namespace::new();
        self.gate.ip(&format!(
            "link add docker0 type veth peer name eth0 netns {}",
            container.thread_id
        ));
        for (space, name, host) in [(&self.gate, "docker0", 1), (&container, "eth0", 2)] {
            space.ip(&format!("addr add 172.17.0.{host}/16 dev {name}"));
            space.ip(&format!("link set {name} up"));
        }
        self.gate.wait_for_carrier("docker0");
        container.ip("route add default via 172.17.0.1");
        self.peer.ip("route add default via 192.0.2.1");
        self.gate.ip("route add default via 192.0.2.2");
        self.gate_sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
        container.serve_echo(80);
        self.containers.push(container);
        std::fs::rename(self.path("container.toml"), self.path("posternd.toml")).unwrap();
    }

    /// Hides the programs for IPv6.
    pub(crate) fn hide_ip6tables(&mut self) {
        self.before = without("ip6tables-restore ip6tables-save", &self.path("sbin"));
    }

    fn posternd(&self, before: &str, arguments: &str) -> Output {
        sh(&self.gate, &self.script(before, arguments))
    }

    fn script(&self, before: &str, arguments: &str) -> String {
        let program = env!("CARGO_BIN_EXE_posternd");
        let config = self.path("posternd.toml").display().to_string();
        let script = format!("{before} exec {program} {arguments} --config {config}");
        if before.is_empty() {
            script
        } else {
            format!("exec unshare -m sh -ec '{script}'")
        }
    }

    pub(crate) fn check(&self) -> Vec<Found> {
        self.found(&self.before)
    }

    pub(crate) fn check_without_nft(&self) -> Vec<Found> {
        self.found(&without("nft", &self.path("sbin")))
    }

    fn found(&self, before: &str) -> Vec<Found> {
        let output = self.posternd(before, "check --json");
        assert!(output.status.success(), "{output:?}");
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found: Vec<Found> = serde_json::from_value(json["findings"].clone()).unwrap();
        let text = String::from_utf8(self.posternd(before, "check").stdout).unwrap();
        let is_first_line = |line: &&str| !line.starts_with("  ");
        assert_eq!(
            text.lines().filter(is_first_line).count(),
            found.len() + 1,
            "one first line for each finding, and the summary: {text}"
        );
        assert!(
            found
                .iter()
                .all(|one| text.contains(&format!("[{}]", one.id))),
            "{text}"
        );
        // The sandbox does not depend on the host's rules.
        found
            .into_iter()
            .filter(|one| one.id != "sandbox")
            .collect()
    }

    pub(crate) fn cure(&self, found: &Found) {
        assert!(!found.cure.is_empty(), "{found:?}");
        found.cure.iter().for_each(|line| self.gate_sh(line));
    }

    pub(crate) fn start(&mut self) {
        let script = self.script(&self.before, "run");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = self.gate.run(move || {
            Command::new("sh")
                .args(["-ec", &script])
                .stdin(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap()
        });
        self.daemon = Some(child);
        let waited = self.posternd("", "status --wait");
        let log = || std::fs::read_to_string(self.path("log")).unwrap();
        assert!(
            waited.status.success(),
            "posternd does not serve: {}",
            log()
        );
    }

    pub(crate) fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&daemon),
            rustix::process::Signal::TERM,
        );
        wait_until(LONGEST_WAIT, "end of posternd", || {
            daemon.try_wait().unwrap().is_some()
        });
    }

    /// Knocks over IPv4. True if the port opens within two seconds.
    pub(crate) fn knock(&self) -> bool {
        let key = self.path("key").display().to_string();
        let program = env!("CARGO_BIN_EXE_postern");
        let script = format!(
            "{program} knock --gate g --address 192.0.2.1:62201 --key-file {key} -s tcp/2222 --wait=2s"
        );
        let output = sh(&self.peer, &script);
        match output.status.code() {
            Some(0) => true,
            Some(3) => false,
            _ => panic!("{output:?}"),
        }
    }

    pub(crate) fn close(&self) {
        assert!(self.posternd("", "close --all").status.success());
    }

    pub(crate) fn admitted(&self) -> u64 {
        let status: Value =
            serde_json::from_slice(&self.posternd("", "status --json").stdout).unwrap();
        status["admitted"].as_u64().unwrap()
    }

    pub(crate) fn connects(&self, address: &str) -> bool {
        self.connect(address).is_some()
    }

    pub(crate) fn connect(&self, address: &str) -> Option<TcpStream> {
        let address: SocketAddr = address.parse().unwrap();
        self.peer
            .run(move || TcpStream::connect_timeout(&address, Duration::from_millis(700)).ok())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

fn sh(space: &Namespace, script: &str) -> Output {
    let script = format!("export PATH=/usr/sbin:/usr/bin:/sbin:/bin; {script}");
    space.run(move || {
        Command::new("sh")
            .args(["-ec", &script])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    })
}

/// A script for a mount namespace: /usr/sbin then holds only firewall programs, without these.
fn without(programs: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "mkdir -p {folder}; cp -a /usr/sbin/xtables* /usr/sbin/ip*tables* /usr/sbin/nft {folder}; \
         for program in {programs}; do rm {folder}/$program; done; mount --bind {folder} /usr/sbin;"
    )
}
